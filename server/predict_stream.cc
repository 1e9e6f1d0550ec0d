#include "server/predict_stream.h"

#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/byte_buffer_messages.h"
#include "server/call_admission.h"
#include "server/errors.h"
#include "storage/base/mutex.h"

namespace engram::server {
namespace {

using Reactor = grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>;

class PredictStream final : public Reactor, public OpenCall {
 public:
  PredictStream(const Edge& edge, const Predictor& predictor,
                const grpc::CallbackServerContext* context)
      : edge_(edge), predictor_(predictor), context_(context) {}

  void Open(std::shared_ptr<PredictStream> self) {
    self_ = std::move(self);
    ticket_ = edge_.gate->Enter(self_);
    const absl::Status admitted = AdmitCall(edge_, Rpc::kPredictStream, *context_).status();
    if (!admitted.ok()) return End(admitted);
    StartRead(&request_bytes_);
  }

  void OnReadDone(bool ok) override {
    if (!ok) return End(absl::OkStatus());
    ++messages_;
    const absl::Status allowed =
        StillAdmitted(edge_, Rpc::kPredictStream, *context_, &generation_);
    if (!allowed.ok()) return End(allowed);
    v1::PredictRequest* request = Predictor::ThreadRequest();
    if (!ParseMessage(request_bytes_, request)) {
      return End(absl::InvalidArgumentError(absl::StrCat("message ", messages_,
                                                         " is not a valid PredictRequest (",
                                                         request_bytes_.Length(), " bytes)")));
    }
    grpc::ByteBuffer reply;
    const absl::optional<absl::Status> status = predictor_.TryNow(*request, &reply);
    if (status.has_value()) return Answer(*status, std::move(reply));
    predictor_.Later(*request, SteadyNow() + edge_.caps.predict,
                     [self = self_] { return self->ended(); },
                     [self = self_](const absl::Status& later, grpc::ByteBuffer bytes) {
                       self->Answer(later, std::move(bytes));
                     });
  }

  void OnWriteDone(bool ok) override {
    if (!ok) return End(absl::CancelledError("the client went away"));
    base::MutexLock lock(&mutex_);
    if (!ended_) StartRead(&request_bytes_);
  }

  void OnCancel() override { End(absl::CancelledError("the client cancelled")); }
  void BeginDrain() override { End(CallGate::ShuttingDown()); }

  void OnDone() override {
    edge_.gate->Leave(ticket_);
    const std::shared_ptr<PredictStream> last = std::move(self_);
  }

 private:
  bool ended() ABSL_LOCKS_EXCLUDED(mutex_) {
    base::MutexLock lock(&mutex_);
    return ended_;
  }

  void Answer(const absl::Status& status, grpc::ByteBuffer reply) {
    if (!status.ok()) return End(status);
    base::MutexLock lock(&mutex_);
    if (ended_) return;
    reply_bytes_.Swap(&reply);
    StartWrite(&reply_bytes_);
  }

  void End(const absl::Status& status) ABSL_LOCKS_EXCLUDED(mutex_) {
    {
      base::MutexLock lock(&mutex_);
      if (ended_) return;
      ended_ = true;
    }
    edge_.rpcs->Observe(Rpc::kPredictStream, status.code(),
                        absl::ToDoubleSeconds(SteadyNow() - start_));
    Finish(ToGrpcStatus(status));
  }

  const Edge& edge_;
  const Predictor& predictor_;
  const grpc::CallbackServerContext* const context_;
  uint64_t generation_ = 0;  // of the tokens
  const absl::Duration start_ = SteadyNow();
  std::shared_ptr<PredictStream> self_;
  uint64_t ticket_ = 0;
  int64_t messages_ = 0;
  grpc::ByteBuffer request_bytes_;
  grpc::ByteBuffer reply_bytes_;
  base::Mutex mutex_;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
};

}  // namespace

Reactor* StartPredictStream(const Edge& edge, const Predictor& predictor,
                            grpc::CallbackServerContext* context) {
  auto stream = std::make_shared<PredictStream>(edge, predictor, context);
  PredictStream* const reactor = stream.get();
  reactor->Open(std::move(stream));
  return reactor;
}

}  // namespace engram::server
