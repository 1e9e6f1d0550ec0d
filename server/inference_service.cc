#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "inference/grpc_service.grpc.pb.h"
#include "server/inference_models.h"
#include "server/inference_request.h"
#include "server/predictor.h"
#include "server/services.h"
#include "server/unary_call.h"

namespace engram::server {
namespace {

using inference::GRPCInferenceService;
using RawInference = GRPCInferenceService::WithRawCallbackMethod_ServerLive<
    GRPCInferenceService::WithRawCallbackMethod_ServerReady<
        GRPCInferenceService::WithRawCallbackMethod_ModelReady<
            GRPCInferenceService::WithRawCallbackMethod_ServerMetadata<
                GRPCInferenceService::WithRawCallbackMethod_ModelMetadata<
                    GRPCInferenceService::WithRawCallbackMethod_ModelInfer<
                        GRPCInferenceService::WithRawCallbackMethod_ModelConfig<
                            GRPCInferenceService::WithRawCallbackMethod_ModelStatistics<
                                GRPCInferenceService::WithRawCallbackMethod_RepositoryIndex<
                                    GRPCInferenceService::Service>>>>>>>>>;

constexpr const char* kExtensions[] = {"classification", "model_configuration", "statistics",
                                       "binary_tensor_data", "parameters"};

// One ModelInfer whose model is known, from its arrival to its answer.
struct Inference {
  const std::shared_ptr<ModelRuntime> model;
  InferPlan plan;
  const absl::Duration arrived;

  // Makes the reply, and counts the call.
  grpc::ByteBuffer Reply(const ScoredRows& rows) const {
    grpc::ByteBuffer bytes = ToBytes(InferReply(plan, rows));
    model->statistics().inference.AddSuccess(rows.rows,
                                             {rows.began - arrived, rows.read - rows.began,
                                              rows.scored - rows.read, SteadyNow() - rows.scored},
                                             SystemClock()->Now());
    return bytes;
  }
  void CountFailure(const absl::Status& status) const {
    if (!status.ok()) model->statistics().inference.AddFailure(SteadyNow() - arrived);
  }
};

class InferenceService final : public RawInference {
 public:
  explicit InferenceService(const Edge& edge) : edge_(edge), predictor_(edge) {}

  grpc::ServerUnaryReactor* ServerLive(grpc::CallbackServerContext* context,
                                       const grpc::ByteBuffer* bytes,
                                       grpc::ByteBuffer* reply) override {
    inference::ServerLiveResponse response;
    response.set_live(true);
    return AnswerAlways<inference::ServerLiveRequest>(Rpc::kServerLive, context, *bytes, response,
                                                      reply);
  }

  // The gate closes at the beginning of a drain, the listener at its end.
  grpc::ServerUnaryReactor* ServerReady(grpc::CallbackServerContext* context,
                                        const grpc::ByteBuffer* bytes,
                                        grpc::ByteBuffer* reply) override {
    inference::ServerReadyResponse response;
    bool ready = edge_.gate->Admit().ok();
    if (ready) {
      for (const auto& model : edge_.host->List()) ready = ready && model->Ready().ok();
    }
    response.set_ready(ready);
    return AnswerAlways<inference::ServerReadyRequest>(Rpc::kServerReady, context, *bytes, response,
                                                       reply);
  }

  // The live version is looked at here; an older one has to be read.
  grpc::ServerUnaryReactor* ModelReady(grpc::CallbackServerContext* context,
                                       const grpc::ByteBuffer* bytes,
                                       grpc::ByteBuffer* reply) override {
    return AnswerLater<inference::ModelReadyRequest>(
        edge_, Rpc::kModelReady, context, UnaryCall::OnDrain::kAbandon, bytes, reply,
        [this](inference::ModelReadyRequest request, std::shared_ptr<UnaryCall> call) {
          const auto model = FindModel(edge_, request.name());
          if (!model.ok()) return call->Finish(model.status());
          if (request.version().empty()) {
            inference::ModelReadyResponse response;
            response.set_ready((*model)->Ready().ok());
            return call->Finish(absl::OkStatus(), ToBytes(response));
          }
          const absl::Status queued = edge_.pool->Run([call, model = *model, request] {
            call->Finish(VersionReady(model.get(), request.version()));
          });
          if (!queued.ok()) call->Finish(queued);
        });
  }

  grpc::ServerUnaryReactor* ServerMetadata(grpc::CallbackServerContext* context,
                                           const grpc::ByteBuffer* bytes,
                                           grpc::ByteBuffer* reply) override {
    return AnswerNow<inference::ServerMetadataRequest>(
        edge_, Rpc::kServerMetadata, context, bytes, reply,
        [this](const inference::ServerMetadataRequest&)
            -> absl::StatusOr<inference::ServerMetadataResponse> {
          inference::ServerMetadataResponse response;
          response.set_name("engram");
          response.set_version(edge_.fixed_info.version());
          for (const char* extension : kExtensions) response.add_extensions(extension);
          return response;
        });
  }

  grpc::ServerUnaryReactor* ModelMetadata(grpc::CallbackServerContext* context,
                                          const grpc::ByteBuffer* bytes,
                                          grpc::ByteBuffer* reply) override {
    return AnswerOnPool<inference::ModelMetadataRequest>(
        edge_, Rpc::kModelMetadata, context, bytes, reply,
        [this](const inference::ModelMetadataRequest& request)
            -> absl::StatusOr<inference::ModelMetadataResponse> {
          ENGRAM_ASSIGN_OR_RETURN(const auto model, FindModel(edge_, request.name()));
          return InferenceMetadata(model.get(), request.version());
        });
  }

  grpc::ServerUnaryReactor* ModelConfig(grpc::CallbackServerContext* context,
                                        const grpc::ByteBuffer* bytes,
                                        grpc::ByteBuffer* reply) override {
    return AnswerOnPool<inference::ModelConfigRequest>(
        edge_, Rpc::kModelConfig, context, bytes, reply,
        [this](const inference::ModelConfigRequest& request)
            -> absl::StatusOr<inference::ModelConfigResponse> {
          ENGRAM_ASSIGN_OR_RETURN(const auto model, FindModel(edge_, request.name()));
          return InferenceConfig(model.get(), request.version(), RowsMax());
        });
  }

  grpc::ServerUnaryReactor* ModelStatistics(grpc::CallbackServerContext* context,
                                            const grpc::ByteBuffer* bytes,
                                            grpc::ByteBuffer* reply) override {
    return AnswerOnPool<inference::ModelStatisticsRequest>(
        edge_, Rpc::kModelStatistics, context, bytes, reply,
        [this](const inference::ModelStatisticsRequest& request) { return Statistics(request); });
  }

  grpc::ServerUnaryReactor* RepositoryIndex(grpc::CallbackServerContext* context,
                                            const grpc::ByteBuffer* bytes,
                                            grpc::ByteBuffer* reply) override {
    return AnswerNow<inference::RepositoryIndexRequest>(
        edge_, Rpc::kRepositoryIndex, context, bytes, reply,
        [this](const inference::RepositoryIndexRequest& request)
            -> absl::StatusOr<inference::RepositoryIndexResponse> {
          if (!request.repository_name().empty()) {
            return NotFound("repository", request.repository_name(), "one, without a name");
          }
          return InferenceIndex(edge_.host->List(), request.ready());
        });
  }

  grpc::ServerUnaryReactor* ModelInfer(grpc::CallbackServerContext* context,
                                       const grpc::ByteBuffer* bytes,
                                       grpc::ByteBuffer* reply) override {
    const absl::Duration arrived = SteadyNow();
    std::shared_ptr<Inference> call;
    absl::optional<absl::Status> status = Begin(*context, *bytes, arrived, &call);
    if (status->ok()) status = predictor_.TryNow(call->plan.predict, RenderOf(call), reply);
    if (!status.has_value()) return InferLater(std::move(call), context, reply);
    if (call != nullptr) call->CountFailure(*status);
    edge_.rpcs->Observe(Rpc::kModelInfer, status->code(),
                        absl::ToDoubleSeconds(SteadyNow() - arrived));
    auto* reactor = context->DefaultReactor();
    reactor->Finish(ToGrpcStatus(*status));
    return reactor;
  }

 private:
  int64_t RowsMax() const { return edge_.config.limits().examples_per_message(); }

  // Whether or not the server takes calls.
  template <typename Request, typename Response>
  grpc::ServerUnaryReactor* AnswerAlways(Rpc rpc, grpc::CallbackServerContext* context,
                                         const grpc::ByteBuffer& bytes, const Response& response,
                                         grpc::ByteBuffer* reply) const {
    const absl::Duration start = SteadyNow();
    Request request;
    absl::Status status = AdmitCaller(edge_, rpc, *context).status();
    if (status.ok()) status = ParseRequest(bytes, &request);
    if (status.ok()) *reply = ToBytes(response);
    edge_.rpcs->Observe(rpc, status.code(), absl::ToDoubleSeconds(SteadyNow() - start));
    auto* reactor = context->DefaultReactor();
    reactor->Finish(ToGrpcStatus(status));
    return reactor;
  }

  static absl::StatusOr<inference::ModelReadyResponse> VersionReady(ModelRuntime* model,
                                                                    const std::string& version) {
    const absl::Status served = ServedVersion(model, version).status();
    if (!served.ok() && !absl::IsUnavailable(served)) return served;
    inference::ModelReadyResponse response;
    response.set_ready(served.ok());
    return response;
  }

  absl::StatusOr<inference::ModelStatisticsResponse> Statistics(
      const inference::ModelStatisticsRequest& request) const {
    inference::ModelStatisticsResponse response;
    if (request.name().empty()) {
      if (!request.version().empty()) return BadField("name", "required beside a version");
      for (const auto& model : edge_.host->List()) {
        *response.add_model_stats() = InferenceCountsOf(model.get());
      }
      return response;
    }
    ENGRAM_ASSIGN_OR_RETURN(const auto model, FindModel(edge_, request.name()));
    if (!request.version().empty()) {
      ENGRAM_RETURN_IF_ERROR(ServedVersion(model.get(), request.version()).status());
    }
    *response.add_model_stats() = InferenceCountsOf(model.get());
    return response;
  }

  // `*call` is there once the model is known, whatever comes of the rest.
  absl::Status Begin(const grpc::CallbackServerContext& context, const grpc::ByteBuffer& bytes,
                     absl::Duration arrived, std::shared_ptr<Inference>* call) const {
    ENGRAM_RETURN_IF_ERROR(AdmitCall(edge_, Rpc::kModelInfer, context).status());
    inference::ModelInferRequest request;
    ENGRAM_RETURN_IF_ERROR(ParseRequest(bytes, &request));
    if (request.model_name().empty()) return BadField("model_name", "required");
    ENGRAM_ASSIGN_OR_RETURN(auto model, FindModel(edge_, request.model_name()));
    *call = std::make_shared<Inference>(Inference{model, {}, arrived});
    const InputRules rules{model->name(), model->spec()->feature_count(), RowsMax()};
    ENGRAM_ASSIGN_OR_RETURN((*call)->plan, PlanInference(std::move(request), rules));
    return ChooseVersion(*model, &(*call)->plan);
  }

  // Elsewhere 0 means the live version; here it is the version of a model that learned nothing yet.
  static absl::Status ChooseVersion(const ModelRuntime& model, InferPlan* plan) {
    ENGRAM_ASSIGN_OR_RETURN(const uint64_t version, ParseVersion("model_version", plan->version));
    plan->predict.set_version(version);
    const Served live = model.Live();
    if (plan->version.empty() || version != 0 || live.snapshot == nullptr || live.version() == 0) {
      return absl::OkStatus();
    }
    return NotFound("version", "0", absl::StrCat(live.version(), " (live)"));
  }

  static Render RenderOf(const std::shared_ptr<Inference>& call) {
    return [call](const v1::PredictRequest&, const ScoredRows& rows) { return call->Reply(rows); };
  }

  grpc::ServerUnaryReactor* InferLater(std::shared_ptr<Inference> inference,
                                       grpc::CallbackServerContext* context,
                                       grpc::ByteBuffer* reply) {
    auto call = UnaryCall::Start(edge_, Rpc::kModelInfer, reply, UnaryCall::OnDrain::kAbandon);
    predictor_.Later(
        std::move(inference->plan.predict), CallDeadline(*context, edge_.caps.predict),
        [call] { return call->finished(); },
        [call, inference](const absl::Status& status, grpc::ByteBuffer bytes) {
          inference->CountFailure(status);
          call->Finish(status, std::move(bytes));
        },
        RenderOf(inference));
    return call.get();
  }

  const Edge& edge_;
  const Predictor predictor_;
};

}  // namespace

std::unique_ptr<grpc::Service> MakeInferenceService(const Edge& edge) {
  return std::make_unique<InferenceService>(edge);
}

}  // namespace engram::server
