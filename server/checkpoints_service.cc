#include <algorithm>
#include <string>
#include <utility>

#include "absl/strings/str_cat.h"
#include "engram/v1/checkpoints.grpc.pb.h"
#include "server/export_stream.h"
#include "server/services.h"
#include "server/unary_call.h"
#include "server/weights_stream.h"

namespace engram::server {
namespace {

using v1::Checkpoints;
using RawCheckpoints = Checkpoints::WithRawCallbackMethod_CreateCheckpoint<
    Checkpoints::WithRawCallbackMethod_ListCheckpoints<
        Checkpoints::WithRawCallbackMethod_GetCheckpoint<
            Checkpoints::WithRawCallbackMethod_DeleteCheckpoint<
                Checkpoints::WithRawCallbackMethod_Rollback<
                    Checkpoints::WithRawCallbackMethod_Export<
                        Checkpoints::WithRawCallbackMethod_Import<Checkpoints::Service>>>>>>>;

class CheckpointsService final : public RawCheckpoints {
 public:
  explicit CheckpointsService(const Edge& edge) : edge_(edge) {}

  grpc::ServerUnaryReactor* CreateCheckpoint(grpc::CallbackServerContext* context,
                                             const grpc::ByteBuffer* bytes,
                                             grpc::ByteBuffer* reply) override {
    const absl::Duration deadline = CallDeadline(*context, edge_.caps.checkpoint);
    return AnswerLater<v1::CreateCheckpointRequest>(
        edge_, Rpc::kCreateCheckpoint, context, UnaryCall::OnDrain::kFinish, bytes, reply,
        [this, deadline](v1::CreateCheckpointRequest request, std::shared_ptr<UnaryCall> call) {
          Create(std::move(request), deadline, std::move(call));
        });
  }

  grpc::ServerUnaryReactor* ListCheckpoints(grpc::CallbackServerContext* context,
                                            const grpc::ByteBuffer* bytes,
                                            grpc::ByteBuffer* reply) override {
    return AnswerOnPool<v1::ListCheckpointsRequest>(
        edge_, Rpc::kListCheckpoints, context, bytes, reply,
        [this](const v1::ListCheckpointsRequest& request)
            -> absl::StatusOr<v1::ListCheckpointsResponse> {
          ENGRAM_ASSIGN_OR_RETURN(const auto model, FindModel(edge_, request.model()));
          ENGRAM_ASSIGN_OR_RETURN(auto checkpoints, model->ListCheckpoints());
          // Ids are ULIDs: their order is that of creation.
          std::sort(checkpoints.begin(), checkpoints.end(),
                    [](const auto& a, const auto& b) { return a.id() > b.id(); });
          v1::ListCheckpointsResponse response;
          for (auto& each : checkpoints) *response.add_checkpoints() = std::move(each);
          return response;
        });
  }

  grpc::ServerUnaryReactor* GetCheckpoint(grpc::CallbackServerContext* context,
                                          const grpc::ByteBuffer* bytes,
                                          grpc::ByteBuffer* reply) override {
    return AnswerOnPool<v1::GetCheckpointRequest>(
        edge_, Rpc::kGetCheckpoint, context, bytes, reply,
        [this](const v1::GetCheckpointRequest& request) -> absl::StatusOr<v1::Checkpoint> {
          ENGRAM_ASSIGN_OR_RETURN(const auto model, FindModel(edge_, request.model()));
          return model->GetCheckpoint(request.id());
        });
  }

  grpc::ServerUnaryReactor* DeleteCheckpoint(grpc::CallbackServerContext* context,
                                             const grpc::ByteBuffer* bytes,
                                             grpc::ByteBuffer* reply) override {
    return AnswerOnPool<v1::DeleteCheckpointRequest>(
        edge_, Rpc::kDeleteCheckpoint, context, bytes, reply,
        [this](const v1::DeleteCheckpointRequest& request)
            -> absl::StatusOr<v1::DeleteCheckpointResponse> {
          ENGRAM_ASSIGN_OR_RETURN(const auto model, FindModel(edge_, request.model()));
          ENGRAM_RETURN_IF_ERROR(model->DeleteCheckpoint(request.id()));
          return v1::DeleteCheckpointResponse();
        });
  }

  grpc::ServerUnaryReactor* Rollback(grpc::CallbackServerContext* context,
                                     const grpc::ByteBuffer* bytes,
                                     grpc::ByteBuffer* reply) override {
    return AnswerLater<v1::RollbackRequest>(
        edge_, Rpc::kRollback, context, UnaryCall::OnDrain::kFinish, bytes, reply,
        [this](v1::RollbackRequest request, std::shared_ptr<UnaryCall> call) {
          const auto model = FindModel(edge_, request.model());
          if (!model.ok()) return call->Finish(model.status());
          (*model)->Rollback(request, [call](absl::StatusOr<v1::RollbackResponse> response) {
            call->Finish(response);
          });
        });
  }

  grpc::ServerWriteReactor<grpc::ByteBuffer>* Export(grpc::CallbackServerContext* context,
                                                     const grpc::ByteBuffer* bytes) override {
    return StartExportStream(edge_, context, export_bytes_, *bytes);
  }

  grpc::ServerReadReactor<grpc::ByteBuffer>* Import(grpc::CallbackServerContext* context,
                                                    grpc::ByteBuffer* reply) override {
    return StartWeightsStream(edge_, Rpc::kImport, *context, import_bytes_, reply);
  }

 private:
  // What is asked to be in the checkpoint must be applied before it is taken.
  void Create(v1::CreateCheckpointRequest request, absl::Duration deadline,
              std::shared_ptr<UnaryCall> call) {
    const auto model = FindModel(edge_, request.model());
    if (!model.ok()) return call->Finish(model.status());
    auto take = [model = *model, request, call] {
      model->CreateCheckpoint(request,
                              [call](absl::StatusOr<v1::Checkpoint> made) { call->Finish(made); });
    };
    if (request.min_applied_sequence() <= (*model)->AppliedSequence()) return take();
    auto place = edge_.gate->ReserveWait();
    if (!place.ok()) return call->Finish(place.status());
    (*model)->WaitApplied(
        request.min_applied_sequence(), false, deadline,
        [call, take, place = *std::move(place)](
            const absl::StatusOr<v1::WaitAppliedResponse>& reached) mutable {
          place.reset();
          if (!reached.ok()) return call->Finish(reached.status());
          take();
        });
  }

  const Edge& edge_;
  const WeightsBytes import_bytes_ = std::make_shared<std::atomic<int64_t>>(0);
  const ExportBytes export_bytes_ = std::make_shared<std::atomic<int64_t>>(0);
};

}  // namespace

std::unique_ptr<grpc::Service> MakeCheckpointsService(const Edge& edge) {
  return std::make_unique<CheckpointsService>(edge);
}

}  // namespace engram::server
