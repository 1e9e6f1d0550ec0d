#include <algorithm>
#include <atomic>
#include <chrono>
#include <functional>
#include <memory>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "engram/v1/learning.grpc.pb.h"
#include "server/clock.h"
#include "server/errors.h"
#include "server/learn_stream.h"
#include "server/services.h"
#include "server/turns.h"
#include "server/unary_call.h"

namespace engram::server {
namespace {

using v1::Learning;
using RawLearning = Learning::WithRawCallbackMethod_Learn<
    Learning::WithRawCallbackMethod_LearnBatch<Learning::WithRawCallbackMethod_MarkBoundary<
        Learning::WithRawCallbackMethod_WaitApplied<
            Learning::WithRawCallbackMethod_Erase<Learning::Service>>>>>;

// What is larger is parsed and checked on the pool: behind a hundred kilobytes of examples a
// prediction waits a millisecond.
constexpr size_t kLearnedAtOnceBytes = 16 << 10;

class LearningService final : public RawLearning {
 public:
  explicit LearningService(const Edge& edge) : edge_(edge) {}

  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* Learn(
      grpc::CallbackServerContext* context) override {
    return StartLearnStream(edge_, context);
  }

  grpc::ServerUnaryReactor* LearnBatch(grpc::CallbackServerContext* context,
                                       const grpc::ByteBuffer* bytes,
                                       grpc::ByteBuffer* reply) override {
    auto call = UnaryCall::Start(edge_, Rpc::kLearnBatch, reply, UnaryCall::OnDrain::kFinish);
    const absl::StatusOr<Identity> caller = AdmitCall(edge_, Rpc::kLearnBatch, *context);
    absl::Status admitted = caller.status();
    // A flood over its rate is not worth parsing.
    if (admitted.ok()) {
      admitted = edge_.quotas->Of(*caller)->CheckExamples(SystemClock()->Monotonic());
    }
    if (!admitted.ok()) {
      Refuse(admitted, static_cast<int64_t>(bytes->Length()), call.get());
      return call.get();
    }
    call->Admitted(*caller, *context, v1::LearnBatchRequest::default_instance());
    // A copy: gRPC's bytes go with the call, which may be cancelled.
    const std::function<void()> learn = [this, call, bytes = *bytes] { LearnNow(bytes, call); };
    if (bytes->Length() <= kLearnedAtOnceBytes || !edge_.learning_pool->Run(learn).ok()) learn();
    return call.get();
  }

  grpc::ServerUnaryReactor* MarkBoundary(grpc::CallbackServerContext* context,
                                         const grpc::ByteBuffer* bytes,
                                         grpc::ByteBuffer* reply) override {
    return AnswerLater<v1::MarkBoundaryRequest>(
        edge_, Rpc::kMarkBoundary, context, UnaryCall::OnDrain::kFinish, bytes, reply,
        [this, bytes](v1::MarkBoundaryRequest request, std::shared_ptr<UnaryCall> call) {
          v1::LearnMessage message;
          message.set_producer_sequence(request.producer_sequence());
          *message.mutable_boundary() = std::move(*request.mutable_boundary());
          Submit<v1::MarkBoundaryResponse>(
              request, std::move(message), static_cast<int64_t>(bytes->Length()), std::move(call),
              [](const Accepted& accepted, v1::MarkBoundaryResponse* response) {
                response->set_sequence(accepted.first_sequence);
                response->set_ended_task(accepted.ended_task);
                response->set_next_task(accepted.next_task);
              });
        });
  }

  grpc::ServerUnaryReactor* WaitApplied(grpc::CallbackServerContext* context,
                                        const grpc::ByteBuffer* bytes,
                                        grpc::ByteBuffer* reply) override {
    const absl::Duration deadline = CallDeadline(*context, edge_.caps.wait_applied);
    return AnswerLater<v1::WaitAppliedRequest>(
        edge_, Rpc::kWaitApplied, context, UnaryCall::OnDrain::kAbandon, bytes, reply,
        [this, deadline](v1::WaitAppliedRequest request, std::shared_ptr<UnaryCall> call) {
          const auto model = FindModel(edge_, request.model());
          if (!model.ok()) return call->Finish(model.status());
          auto place = edge_.gate->ReserveWait();
          if (!place.ok()) return call->Finish(place.status());
          const uint64_t sequence =
              request.sequence() == 0 ? (*model)->DurableSequence() : request.sequence();
          (*model)->WaitApplied(
              sequence, request.evaluated(), deadline,
              [call, place = *std::move(place)](
                  const absl::StatusOr<v1::WaitAppliedResponse>& reached) mutable {
                place.reset();  // before the answer: its reader may wait again at once
                call->Finish(reached);
              });
        });
  }

  grpc::ServerUnaryReactor* Erase(grpc::CallbackServerContext* context,
                                  const grpc::ByteBuffer* bytes,
                                  grpc::ByteBuffer* reply) override {
    return AnswerLater<v1::EraseRequest>(
        edge_, Rpc::kErase, context, UnaryCall::OnDrain::kAbandon, bytes, reply,
        [this](const v1::EraseRequest& request, std::shared_ptr<UnaryCall> call) {
          const auto model = FindModel(edge_, request.model());
          if (!model.ok()) return call->Finish(model.status());
          (*model)->Erase(request, [call](const absl::StatusOr<v1::EraseResponse>& receipt) {
            call->Finish(receipt);
          });
        });
  }

 private:
  static void FillSequences(const ModelRuntime& model, v1::LearnBatchResponse* response) {
    response->set_durable_sequence(model.DurableSequence());
    response->set_applied_sequence(model.AppliedSequence());
  }
  static void FillSequences(const ModelRuntime&, v1::MarkBoundaryResponse*) {}

  // One message outside a stream: its rejection is the call's status.
  template <typename Response, typename Request, typename Fill>
  void Submit(const Request& request, v1::LearnMessage message, int64_t bytes,
              std::shared_ptr<UnaryCall> call, Fill fill) {
    absl::Status bound = AdmitProducer(edge_, call->caller(), request.producer());
    if (bound.ok()) bound = AdmitMessage(edge_, call->caller(), message);
    if (!bound.ok()) return call->Finish(bound);
    const auto found = FindModel(edge_, request.model());
    if (!found.ok()) return call->Finish(found.status());
    const std::shared_ptr<ModelRuntime> model = *found;
    const auto account = edge_.quotas->Of(call->caller());
    const auto room = account->HoldBytes(bytes);
    if (!room.ok()) return call->Finish(InTurn(room.status(), turns_.get()));
    const absl::Status charged = ChargeRate(message, account.get());
    if (!charged.ok()) return call->Finish(charged);
    model->Learn(request.producer(), request.epoch(), std::move(message),
                 [call, model, fill, turns = turns_,
                  room = *room](const absl::StatusOr<Accepted>& accepted) {
                   if (!accepted.ok()) return call->Finish(InTurn(accepted.status(), turns.get()));
                   if (!accepted->rejection.ok()) return call->Finish(accepted->rejection);
                   Response response;
                   response.set_duplicate(accepted->duplicate);
                   fill(*accepted, &response);
                   FillSequences(*model, &response);
                   call->Finish(absl::StatusOr<Response>(std::move(response)));
                 });
  }

  void LearnNow(const grpc::ByteBuffer& bytes, const std::shared_ptr<UnaryCall>& call) {
    if (call->finished()) return;  // given up while it waited for its turn
    v1::LearnBatchRequest request;
    const absl::Status parsed = ParseRequest(bytes, &request);
    if (!parsed.ok()) return call->Finish(parsed);
    v1::LearnMessage message;
    message.set_producer_sequence(request.producer_sequence());
    message.mutable_examples()->Swap(request.mutable_examples());
    Submit<v1::LearnBatchResponse>(
        request, std::move(message), static_cast<int64_t>(bytes.Length()), call,
        [](const Accepted& accepted, v1::LearnBatchResponse* response) {
          response->set_first_sequence(accepted.first_sequence);
        });
  }

  // Who is over his rate is slowed down, as on a stream: 64 callers that are refused at once and
  // call again take the time that predictions need.
  void Refuse(const absl::Status& refusal, int64_t bytes, UnaryCall* call) {
    const std::chrono::milliseconds delay = RetryDelay(refusal);
    if (!absl::IsResourceExhausted(refusal) || delay.count() == 0) return call->Finish(refusal);
    const std::shared_ptr<void> room(nullptr, [refused = refused_bytes_, bytes](void*) {
      refused->fetch_sub(bytes);
    });
    const bool fits = refused_bytes_->fetch_add(bytes) + bytes <= edge_.streams.refused_bytes;
    if (!fits) return call->Finish(refusal);
    const absl::Duration pause = edge_.streams.rejected_pause;
    const auto left = std::max(delay - absl::ToChronoMilliseconds(pause),
                               std::chrono::milliseconds(1));
    call->FinishIn(pause, WithRetryDelay(refusal, left), room);
  }

  // What was refused for want of room that comes free by itself.
  static absl::Status InTurn(const absl::Status& status, Turns* turns) {
    if (!absl::IsResourceExhausted(status) || RetryDelay(status).count() == 0) return status;
    const absl::Duration turn = turns->Next(SystemClock()->Monotonic());
    return WithRetryDelay(
        status, std::max(RetryDelay(status),
                         absl::ToChronoMilliseconds(absl::Ceil(turn, absl::Milliseconds(1)))));
  }

  const Edge& edge_;
  const std::shared_ptr<std::atomic<int64_t>> refused_bytes_ =  // of calls that wait in Refuse
      std::make_shared<std::atomic<int64_t>>(0);
  const std::shared_ptr<Turns> turns_ = std::make_shared<Turns>();
};

}  // namespace

std::unique_ptr<grpc::Service> MakeLearningService(const Edge& edge) {
  return std::make_unique<LearningService>(edge);
}

}  // namespace engram::server
