#include "server/call_admission.h"

#include "absl/strings/string_view.h"
#include "server/authority.h"
#include "storage/base/status_macros.h"

namespace engram::server {

namespace {

absl::StatusOr<Identity> Identify(const Authority& authority, Rpc rpc,
                                  const grpc::CallbackServerContext& context) {
  const RpcRow& row = RowOf(rpc);
  ENGRAM_ASSIGN_OR_RETURN(
      Identity caller,
      authority.Identify(context.client_metadata(), context.auth_context().get()));
  ENGRAM_RETURN_IF_ERROR(
      Authority::CheckRole(caller, row.role, row.name.substr(row.name.find('/') + 1)));
  return caller;
}

}  // namespace

absl::StatusOr<Identity> AdmitCall(const Edge& edge, Rpc rpc,
                                   const grpc::CallbackServerContext& context) {
  Identity caller{Role::kAdmin, ""};
  if (edge.authority != nullptr) {
    ENGRAM_ASSIGN_OR_RETURN(caller, Identify(*edge.authority, rpc, context));
  }
  ENGRAM_RETURN_IF_ERROR(edge.gate->Admit());
  return caller;
}

absl::Status StillAdmitted(const Edge& edge, Rpc rpc, const grpc::CallbackServerContext& context,
                           uint64_t* generation) {
  if (edge.authority == nullptr) return absl::OkStatus();
  const uint64_t now = edge.authority->generation();
  if (now == *generation) return absl::OkStatus();
  *generation = now;
  return Identify(*edge.authority, rpc, context).status();
}

absl::Status AdmitProducer(const Edge& edge, const Identity& caller, absl::string_view producer) {
  if (edge.authority == nullptr) return absl::OkStatus();
  return edge.authority->bindings().Admit(caller, producer);
}

}  // namespace engram::server
