#include "server/unary_call.h"

#include <algorithm>

namespace engram::server {

absl::Time CallDeadline(const grpc::CallbackServerContext& context, absl::Duration cap) {
  const absl::Time now = absl::Now();
  const absl::Time theirs = absl::FromChrono(context.deadline());
  // The client's clock stops the call at its deadline: an answer sent then comes too late.
  const absl::Duration margin =
      std::min(absl::Milliseconds(50), std::max(absl::ZeroDuration(), (theirs - now) / 10));
  return std::min(theirs - margin, now + cap);
}

std::shared_ptr<UnaryCall> UnaryCall::Start(const Edge& edge, Rpc rpc, grpc::ByteBuffer* reply,
                                            OnDrain on_drain) {
  std::shared_ptr<UnaryCall> call(new UnaryCall(edge, rpc, reply, on_drain));
  call->self_ = call;
  call->ticket_ = edge.gate->Enter(call);
  return call;
}

void UnaryCall::Finish(const absl::Status& status, grpc::ByteBuffer reply) {
  if (finished_.exchange(true, std::memory_order_acq_rel)) return;
  if (status.ok()) reply_->Swap(&reply);
  edge_.rpcs->Observe(rpc_, status.code(), absl::ToDoubleSeconds(absl::Now() - start_));
  ServerUnaryReactor::Finish(ToGrpcStatus(status));
}

void UnaryCall::OnDone() {
  edge_.gate->Leave(ticket_);
  const std::shared_ptr<UnaryCall> last = std::move(self_);
}

void UnaryCall::BeginDrain() {
  if (on_drain_ == OnDrain::kAbandon) Finish(CallGate::ShuttingDown());
}

}  // namespace engram::server
