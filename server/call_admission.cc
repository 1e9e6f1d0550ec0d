#include "server/call_admission.h"

#include <utility>

#include "absl/strings/string_view.h"
#include "server/authority.h"
#include "storage/base/status_macros.h"

namespace engram::server {

namespace {

absl::StatusOr<Identity> Identify(const Authority& authority,
                                  const grpc::CallbackServerContext& context) {
  return authority.Identify(context.client_metadata(), context.auth_context().get());
}

absl::Status CheckRole(const Identity& caller, Rpc rpc) {
  const RpcRow& row = RowOf(rpc);
  return Authority::CheckRole(caller, row.role, row.name.substr(row.name.find('/') + 1));
}

// Who tried what only an administrator may.
void RecordRefusal(const Edge& edge, Rpc rpc, const grpc::CallbackServerContext& context,
                   const absl::StatusOr<Identity>& caller, const absl::Status& refusal) {
  if (edge.audit == nullptr || RowOf(rpc).role != Role::kAdmin) return;
  v1::AuditEntry entry = MakeAuditEntry(RowOf(rpc).name, caller.ok() ? &*caller : nullptr,
                                        context.peer(), refusal);
  entry.set_refused(true);
  edge.audit->Append(std::move(entry), nullptr);
}

}  // namespace

absl::StatusOr<Identity> AdmitCaller(const Edge& edge, Rpc rpc,
                                     const grpc::CallbackServerContext& context) {
  if (edge.authority == nullptr) return Identity{Role::kAdmin, ""};
  absl::StatusOr<Identity> found = Identify(*edge.authority, context);
  const absl::Status allowed = found.ok() ? CheckRole(*found, rpc) : found.status();
  if (allowed.ok()) return found;
  RecordRefusal(edge, rpc, context, found, allowed);
  return allowed;
}

absl::StatusOr<Identity> AdmitCall(const Edge& edge, Rpc rpc,
                                   const grpc::CallbackServerContext& context) {
  ENGRAM_ASSIGN_OR_RETURN(Identity caller, AdmitCaller(edge, rpc, context));
  ENGRAM_RETURN_IF_ERROR(edge.gate->Admit());
  return caller;
}

absl::Status StillAdmitted(const Edge& edge, Rpc rpc, const grpc::CallbackServerContext& context,
                           uint64_t* generation) {
  if (edge.authority == nullptr) return absl::OkStatus();
  const uint64_t now = edge.authority->generation();
  if (now == *generation) return absl::OkStatus();
  *generation = now;
  ENGRAM_ASSIGN_OR_RETURN(const Identity caller, Identify(*edge.authority, context));
  return CheckRole(caller, rpc);
}

absl::Status AdmitProducer(const Edge& edge, const Identity& caller, absl::string_view producer) {
  if (edge.authority == nullptr) return absl::OkStatus();
  return edge.authority->bindings()->Admit(caller, producer);
}

absl::Status AdmitMessage(const Edge& edge, const Identity& caller,
                          const v1::LearnMessage& message) {
  if (edge.authority == nullptr || !message.has_boundary()) return absl::OkStatus();
  return edge.authority->bindings()->AdmitBoundary(caller);
}

}  // namespace engram::server
