#include <utility>

#include "engram/v1/model.grpc.pb.h"
#include "server/services.h"
#include "server/unary_call.h"
#include "server/weights_stream.h"

namespace engram::server {
namespace {

using v1::Models;
using RawModels = Models::WithRawCallbackMethod_CreateModel<
    Models::WithRawCallbackMethod_CreateModelFromWeights<
        Models::WithRawCallbackMethod_GetModel<Models::WithRawCallbackMethod_ListModels<
            Models::WithRawCallbackMethod_UpdateModel<Models::WithRawCallbackMethod_DeleteModel<
                Models::WithRawCallbackMethod_PauseTraining<
                    Models::WithRawCallbackMethod_ResumeTraining<Models::Service>>>>>>>>;

class ModelsService final : public RawModels {
 public:
  explicit ModelsService(const Edge& edge) : edge_(edge) {}

  // Creating and deleting write synced rows: on the pool.
  grpc::ServerUnaryReactor* CreateModel(grpc::CallbackServerContext* context,
                                        const grpc::ByteBuffer* bytes,
                                        grpc::ByteBuffer* reply) override {
    return AnswerOnPool<v1::CreateModelRequest>(
        edge_, Rpc::kCreateModel, context, bytes, reply,
        [this](const v1::CreateModelRequest& request) -> absl::StatusOr<v1::Model> {
          ENGRAM_RETURN_IF_ERROR(CheckEnums(request));
          return edge_.host->Create(request);
        });
  }

  grpc::ServerReadReactor<grpc::ByteBuffer>* CreateModelFromWeights(
      grpc::CallbackServerContext* context, grpc::ByteBuffer* reply) override {
    return StartWeightsStream(edge_, Rpc::kCreateModelFromWeights, *context, weights_bytes_,
                              reply);
  }

  grpc::ServerUnaryReactor* GetModel(grpc::CallbackServerContext* context,
                                     const grpc::ByteBuffer* bytes,
                                     grpc::ByteBuffer* reply) override {
    return AnswerNow<v1::GetModelRequest>(
        edge_, Rpc::kGetModel, context, bytes, reply,
        [this](const v1::GetModelRequest& request) -> absl::StatusOr<v1::Model> {
          ENGRAM_ASSIGN_OR_RETURN(const auto model, edge_.host->Find(request.name()));
          return model->Describe();
        });
  }

  grpc::ServerUnaryReactor* ListModels(grpc::CallbackServerContext* context,
                                       const grpc::ByteBuffer* bytes,
                                       grpc::ByteBuffer* reply) override {
    return AnswerNow<v1::ListModelsRequest>(
        edge_, Rpc::kListModels, context, bytes, reply,
        [this](const v1::ListModelsRequest&) -> absl::StatusOr<v1::ListModelsResponse> {
          v1::ListModelsResponse response;
          for (const auto& model : edge_.host->List()) *response.add_models() = model->Describe();
          return response;
        });
  }

  grpc::ServerUnaryReactor* UpdateModel(grpc::CallbackServerContext* context,
                                        const grpc::ByteBuffer* bytes,
                                        grpc::ByteBuffer* reply) override {
    return AnswerLater<v1::UpdateModelRequest>(
        edge_, Rpc::kUpdateModel, context, UnaryCall::OnDrain::kFinish, bytes, reply,
        [this](v1::UpdateModelRequest request, std::shared_ptr<UnaryCall> call) {
          const absl::Status known = CheckEnums(request);
          if (!known.ok()) return call->Finish(known);
          edge_.host->Update(request, [call](absl::StatusOr<v1::UpdateModelResponse> response) {
            call->Finish(response);
          });
        });
  }

  grpc::ServerUnaryReactor* DeleteModel(grpc::CallbackServerContext* context,
                                        const grpc::ByteBuffer* bytes,
                                        grpc::ByteBuffer* reply) override {
    return AnswerOnPool<v1::DeleteModelRequest>(
        edge_, Rpc::kDeleteModel, context, bytes, reply,
        [this](const v1::DeleteModelRequest& request) -> absl::StatusOr<v1::DeleteModelResponse> {
          ENGRAM_RETURN_IF_ERROR(edge_.host->Delete(request.name()));
          return v1::DeleteModelResponse();
        });
  }

  grpc::ServerUnaryReactor* PauseTraining(grpc::CallbackServerContext* context,
                                          const grpc::ByteBuffer* bytes,
                                          grpc::ByteBuffer* reply) override {
    return AnswerOnPool<v1::PauseTrainingRequest>(
        edge_, Rpc::kPauseTraining, context, bytes, reply,
        [this](const v1::PauseTrainingRequest& request) {
          return edge_.host->SetPaused(request.name(), true);
        });
  }

  grpc::ServerUnaryReactor* ResumeTraining(grpc::CallbackServerContext* context,
                                           const grpc::ByteBuffer* bytes,
                                           grpc::ByteBuffer* reply) override {
    return AnswerOnPool<v1::ResumeTrainingRequest>(
        edge_, Rpc::kResumeTraining, context, bytes, reply,
        [this](const v1::ResumeTrainingRequest& request) {
          return edge_.host->SetPaused(request.name(), false);
        });
  }

 private:
  const Edge& edge_;
  const WeightsBytes weights_bytes_ = std::make_shared<std::atomic<int64_t>>(0);
};

}  // namespace

std::unique_ptr<grpc::Service> MakeModelsService(const Edge& edge) {
  return std::make_unique<ModelsService>(edge);
}

}  // namespace engram::server
