// Unary calls on the raw callback API: parse, admit, work, answer, count.
//
// Three ways to answer: AnswerNow on the gRPC thread (work that never blocks), AnswerOnPool (disk,
// many rows), and UnaryCall, which is finished later by whoever holds it (a commit, the trainer).
//
// Threading: UnaryCall::Finish from any thread; the first one wins, also against a cancellation.
//   What an administrator's call came to is recorded even when the client no longer waits.
// Ownership: a UnaryCall keeps itself alive until gRPC is done with it; holders share it.
// Failure: a request that does not parse is INVALID_ARGUMENT before any work.
#pragma once

#include <atomic>
#include <memory>
#include <type_traits>
#include <utility>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "google/protobuf/message.h"
#include "grpcpp/alarm.h"
#include "grpcpp/server_context.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/server_callback.h"
#include "server/byte_buffer_messages.h"
#include "server/call_admission.h"
#include "server/clock.h"
#include "server/edge.h"
#include "server/errors.h"
#include "storage/base/status_macros.h"

namespace engram::server {

// The client's deadline, a little early so that our own words reach it, and at most `cap` from now;
// on the line of SteadyNow().
absl::Duration CallDeadline(const grpc::CallbackServerContext& context, absl::Duration cap);

class UnaryCall : public grpc::ServerUnaryReactor, public OpenCall {
 public:
  // What a drain does to a call that is still open.
  enum class OnDrain { kFinish, kAbandon };

  static std::shared_ptr<UnaryCall> Start(const Edge& edge, Rpc rpc, grpc::ByteBuffer* reply,
                                          OnDrain on_drain);

  // `reply` is what OK answers with.
  void Finish(const absl::Status& status, grpc::ByteBuffer reply = {});
  template <typename Message>
  void Finish(const absl::StatusOr<Message>& reply) {
    reply.ok() ? Finish(absl::OkStatus(), ToBytes(*reply)) : Finish(reply.status());
  }
  // A refusal, after a pause, with `room` held until then. Before anybody else may finish the call.
  void FinishIn(absl::Duration pause, absl::Status refusal, std::shared_ptr<void> room);
  bool finished() const { return finished_.load(std::memory_order_acquire); }

  // Who called, and with what; before the work begins. From here on what comes of an
  // administrator's call is recorded, and answered once the record is on the disk.
  void Admitted(Identity caller, const grpc::CallbackServerContext& context,
                const google::protobuf::Message& request);
  const Identity& caller() const { return caller_; }

  // The work goes on, and its outcome is recorded.
  void OnCancel() override { Abandon(absl::CancelledError("the client cancelled")); }
  void OnDone() override;
  void BeginDrain() override;

 private:
  UnaryCall(const Edge& edge, Rpc rpc, grpc::ByteBuffer* reply, OnDrain on_drain)
      : edge_(edge), rpc_(rpc), reply_(reply), on_drain_(on_drain) {}

  void Abandon(const absl::Status& status);
  void Answer(const absl::Status& status, grpc::ByteBuffer reply);

  const Edge& edge_;
  const Rpc rpc_;
  grpc::ByteBuffer* const reply_;  // gRPC's, until OnDone
  const OnDrain on_drain_;
  const absl::Duration start_ = SteadyNow();
  Identity caller_;
  v1::AuditEntry entry_;
  std::atomic<bool> unrecorded_{false};  // an outcome is still to be recorded
  uint64_t ticket_ = 0;
  std::unique_ptr<grpc::Alarm> alarm_;  // of FinishIn
  std::atomic<bool> finished_{false};
  std::shared_ptr<UnaryCall> self_;
};

// Admission and parsing, the same for every unary call: who called.
template <typename Request>
absl::StatusOr<Identity> Open(const Edge& edge, Rpc rpc,
                              const grpc::CallbackServerContext& context,
                              const grpc::ByteBuffer& bytes, Request* request) {
  ENGRAM_ASSIGN_OR_RETURN(Identity caller, AdmitCall(edge, rpc, context));
  ENGRAM_RETURN_IF_ERROR(ParseRequest(bytes, request));
  return caller;
}

// `work`: absl::StatusOr<Response>(const Request&), or (const Request&, const Identity& caller),
// without blocking. Not for administrators' calls: what they did is recorded on a disk.
template <typename Request, typename Work>
grpc::ServerUnaryReactor* AnswerNow(const Edge& edge, Rpc rpc,
                                    grpc::CallbackServerContext* context,
                                    const grpc::ByteBuffer* bytes, grpc::ByteBuffer* reply,
                                    Work work) {
  const absl::Duration start = SteadyNow();
  Request request;
  const absl::StatusOr<Identity> caller = Open(edge, rpc, *context, *bytes, &request);
  absl::Status status = caller.status();
  if (status.ok()) {
    auto answer = [&] {
      if constexpr (std::is_invocable_v<Work, const Request&>) return work(request);
      else return work(request, *caller);
    }();
    status = answer.status();
    if (answer.ok()) *reply = ToBytes(*answer);
  }
  edge.rpcs->Observe(rpc, status.code(), absl::ToDoubleSeconds(SteadyNow() - start));
  auto* reactor = context->DefaultReactor();
  reactor->Finish(ToGrpcStatus(status));
  return reactor;
}

// `work`: absl::StatusOr<Response>(const Request&), may block.
template <typename Request, typename Work>
grpc::ServerUnaryReactor* AnswerOnPool(const Edge& edge, Rpc rpc,
                                       grpc::CallbackServerContext* context,
                                       const grpc::ByteBuffer* bytes, grpc::ByteBuffer* reply,
                                       Work work) {
  auto call = UnaryCall::Start(edge, rpc, reply, UnaryCall::OnDrain::kFinish);
  auto request = std::make_shared<Request>();
  absl::StatusOr<Identity> caller = Open(edge, rpc, *context, *bytes, request.get());
  absl::Status status = caller.status();
  if (status.ok()) {
    call->Admitted(*std::move(caller), *context, *request);
    status = edge.pool->Run([call, request, work = std::move(work)] {
      if (!call->finished()) call->Finish(work(*request));
    });
  }
  if (!status.ok()) call->Finish(status);
  return call.get();
}

// `work`: void(Request, std::shared_ptr<UnaryCall>), finishes the call some time.
template <typename Request, typename Work>
grpc::ServerUnaryReactor* AnswerLater(const Edge& edge, Rpc rpc,
                                      grpc::CallbackServerContext* context,
                                      UnaryCall::OnDrain on_drain, const grpc::ByteBuffer* bytes,
                                      grpc::ByteBuffer* reply, Work work) {
  auto call = UnaryCall::Start(edge, rpc, reply, on_drain);
  Request request;
  absl::StatusOr<Identity> caller = Open(edge, rpc, *context, *bytes, &request);
  if (caller.ok()) {
    call->Admitted(*std::move(caller), *context, request);
    work(std::move(request), call);
  } else {
    call->Finish(caller.status());
  }
  return call.get();
}

}  // namespace engram::server
