#include "server/unary_call.h"

#include <algorithm>

#include "server/steady_alarm.h"

namespace engram::server {

absl::Duration CallDeadline(const grpc::CallbackServerContext& context, absl::Duration cap) {
  const absl::Duration left = SteadyUntil(context.raw_deadline());
  // The client's clock stops the call at its deadline: an answer sent then comes too late.
  const absl::Duration margin =
      std::min(absl::Milliseconds(50), std::max(absl::ZeroDuration(), left / 10));
  return SteadyNow() + std::min(left - margin, cap);
}

std::shared_ptr<UnaryCall> UnaryCall::Start(const Edge& edge, Rpc rpc, grpc::ByteBuffer* reply,
                                            OnDrain on_drain) {
  std::shared_ptr<UnaryCall> call(new UnaryCall(edge, rpc, reply, on_drain));
  call->self_ = call;
  call->ticket_ = edge.gate->Enter(call);
  return call;
}

void UnaryCall::Admitted(Identity caller, const grpc::CallbackServerContext& context,
                         const google::protobuf::Message& request) {
  caller_ = std::move(caller);
  if (edge_.audit == nullptr || !IsRecorded(rpc_)) return;
  entry_ = MakeAuditEntry(RowOf(rpc_).name, &caller_, context.peer(), absl::OkStatus());
  NameSubject(request, &entry_);
  unrecorded_.store(true, std::memory_order_release);
}

void UnaryCall::Finish(const absl::Status& status, grpc::ByteBuffer reply) {
  const bool waits = !finished_.exchange(true, std::memory_order_acq_rel);
  if (!unrecorded_.exchange(false, std::memory_order_acq_rel)) {
    if (waits) Answer(status, std::move(reply));
    return;
  }
  v1::AuditEntry entry = entry_;
  SetOutcome(status, &entry);
  std::function<void()> answer;
  // A call that nobody has answered keeps itself alive.
  if (waits) answer = [this, status, reply] { Answer(status, reply); };
  edge_.audit->Append(std::move(entry), std::move(answer));
}

void UnaryCall::FinishIn(absl::Duration pause, absl::Status refusal, std::shared_ptr<void> room) {
  alarm_ = std::make_unique<grpc::Alarm>();
  // The call holds the alarm, so what the alarm holds has to go when it goes off.
  alarm_->Set(SteadyIn(pause), [call = self_, refusal = std::move(refusal),
                                room = std::move(room)](bool) mutable {
    const std::shared_ptr<UnaryCall> last = std::move(call);
    room.reset();
    last->Finish(refusal);
  });
}

void UnaryCall::Abandon(const absl::Status& status) {
  if (!finished_.exchange(true, std::memory_order_acq_rel)) Answer(status, {});
}

void UnaryCall::Answer(const absl::Status& status, grpc::ByteBuffer reply) {
  if (status.ok()) reply_->Swap(&reply);
  edge_.rpcs->Observe(rpc_, status.code(), absl::ToDoubleSeconds(SteadyNow() - start_));
  ServerUnaryReactor::Finish(ToGrpcStatus(status));
}

void UnaryCall::OnDone() {
  edge_.gate->Leave(ticket_);
  if (alarm_ != nullptr) alarm_->Cancel();
  const std::shared_ptr<UnaryCall> last = std::move(self_);
}

void UnaryCall::BeginDrain() {
  if (on_drain_ == OnDrain::kAbandon) Abandon(CallGate::ShuttingDown());
}

}  // namespace engram::server
