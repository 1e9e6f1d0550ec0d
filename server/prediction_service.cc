#include <utility>

#include "engram/v1/prediction.grpc.pb.h"
#include "server/predict_stream.h"
#include "server/predictor.h"
#include "server/services.h"
#include "server/unary_call.h"

namespace engram::server {
namespace {

using v1::Prediction;
using RawPrediction = Prediction::WithRawCallbackMethod_Predict<
    Prediction::WithRawCallbackMethod_PredictStream<Prediction::Service>>;

class PredictionService final : public RawPrediction {
 public:
  explicit PredictionService(const Edge& edge) : edge_(edge), predictor_(edge) {}

  grpc::ServerUnaryReactor* Predict(grpc::CallbackServerContext* context,
                                    const grpc::ByteBuffer* bytes,
                                    grpc::ByteBuffer* reply) override {
    const absl::Duration start = SteadyNow();
    v1::PredictRequest* request = Predictor::ThreadRequest();
    absl::optional<absl::Status> status = AdmitCall(edge_, Rpc::kPredict, *context).status();
    if (status->ok()) status = ParseRequest(*bytes, request);
    if (status->ok()) status = predictor_.TryNow(*request, reply);
    if (!status.has_value()) return PredictLater(*request, context, reply);
    edge_.rpcs->Observe(Rpc::kPredict, status->code(), absl::ToDoubleSeconds(SteadyNow() - start));
    auto* reactor = context->DefaultReactor();
    reactor->Finish(ToGrpcStatus(*status));
    return reactor;
  }

  grpc::ServerBidiReactor<grpc::ByteBuffer, grpc::ByteBuffer>* PredictStream(
      grpc::CallbackServerContext* context) override {
    return StartPredictStream(edge_, predictor_, context);
  }

 private:
  grpc::ServerUnaryReactor* PredictLater(const v1::PredictRequest& request,
                                         grpc::CallbackServerContext* context,
                                         grpc::ByteBuffer* reply) {
    auto call = UnaryCall::Start(edge_, Rpc::kPredict, reply, UnaryCall::OnDrain::kAbandon);
    predictor_.Later(request, CallDeadline(*context, edge_.caps.predict),
                     [call] { return call->finished(); },
                     [call](const absl::Status& status, grpc::ByteBuffer bytes) {
                       call->Finish(status, std::move(bytes));
                     });
    return call.get();
  }

  const Edge& edge_;
  const Predictor predictor_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakePredictionService(const Edge& edge) {
  return std::make_unique<PredictionService>(edge);
}

}  // namespace engram::server
