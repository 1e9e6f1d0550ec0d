// The one table of what can be called and who may: every method of engram.v1 and of the Open
// Inference Protocol, the methods that gRPC itself answers on our listener, and the pages of the
// HTTP listener.
//
// A method without a row is refused: UNIMPLEMENTED by the listener (listener_credentials.h), and a
// failing test by name (rpc_table_test). A handler cannot be admitted without naming its row.
//
// Threading: constants.
#pragma once

#include <array>
#include <cstddef>

#include "absl/strings/string_view.h"
#include "server/identity.h"

namespace engram::server {

// Every method of engram.v1 and of inference, in the order of kRpcs.
enum class Rpc {
  kCreateModel,
  kCreateModelFromWeights,
  kGetModel,
  kListModels,
  kUpdateModel,
  kDeleteModel,
  kPauseTraining,
  kResumeTraining,
  kLearn,
  kLearnBatch,
  kMarkBoundary,
  kWaitApplied,
  kErase,
  kPredict,
  kPredictStream,
  kGetReport,
  kWatchReport,
  kEvaluate,
  kCreateCheckpoint,
  kListCheckpoints,
  kGetCheckpoint,
  kDeleteCheckpoint,
  kRollback,
  kExport,
  kImport,
  kGetServerInfo,
  kListStrategies,
  kGetLimits,
  kCreateBackup,
  kReloadConfig,
  kAcknowledgeLoss,
  kListAudit,
  kListQuarantined,
  kReleaseQuarantined,
  kListRejected,
  kBlame,
  kServerLive,
  kServerReady,
  kModelReady,
  kServerMetadata,
  kModelMetadata,
  kModelInfer,
  kModelConfig,
  kModelStatistics,
  kRepositoryIndex,
};

struct RpcRow {
  Rpc rpc;
  absl::string_view name;
  Role role;
};

inline constexpr std::array<RpcRow, 45> kRpcs = {{
    {Rpc::kCreateModel, "engram.v1.Models/CreateModel", Role::kAdmin},
    {Rpc::kCreateModelFromWeights, "engram.v1.Models/CreateModelFromWeights", Role::kAdmin},
    {Rpc::kGetModel, "engram.v1.Models/GetModel", Role::kReader},
    {Rpc::kListModels, "engram.v1.Models/ListModels", Role::kReader},
    {Rpc::kUpdateModel, "engram.v1.Models/UpdateModel", Role::kAdmin},
    {Rpc::kDeleteModel, "engram.v1.Models/DeleteModel", Role::kAdmin},
    {Rpc::kPauseTraining, "engram.v1.Models/PauseTraining", Role::kAdmin},
    {Rpc::kResumeTraining, "engram.v1.Models/ResumeTraining", Role::kAdmin},
    {Rpc::kLearn, "engram.v1.Learning/Learn", Role::kWriter},
    {Rpc::kLearnBatch, "engram.v1.Learning/LearnBatch", Role::kWriter},
    {Rpc::kMarkBoundary, "engram.v1.Learning/MarkBoundary", Role::kWriter},
    {Rpc::kWaitApplied, "engram.v1.Learning/WaitApplied", Role::kReader},
    {Rpc::kErase, "engram.v1.Learning/Erase", Role::kAdmin},
    {Rpc::kPredict, "engram.v1.Prediction/Predict", Role::kReader},
    {Rpc::kPredictStream, "engram.v1.Prediction/PredictStream", Role::kReader},
    {Rpc::kGetReport, "engram.v1.Evaluation/GetReport", Role::kReader},
    {Rpc::kWatchReport, "engram.v1.Evaluation/WatchReport", Role::kReader},
    {Rpc::kEvaluate, "engram.v1.Evaluation/Evaluate", Role::kReader},
    {Rpc::kCreateCheckpoint, "engram.v1.Checkpoints/CreateCheckpoint", Role::kAdmin},
    {Rpc::kListCheckpoints, "engram.v1.Checkpoints/ListCheckpoints", Role::kReader},
    {Rpc::kGetCheckpoint, "engram.v1.Checkpoints/GetCheckpoint", Role::kReader},
    {Rpc::kDeleteCheckpoint, "engram.v1.Checkpoints/DeleteCheckpoint", Role::kAdmin},
    {Rpc::kRollback, "engram.v1.Checkpoints/Rollback", Role::kAdmin},
    {Rpc::kExport, "engram.v1.Checkpoints/Export", Role::kReader},
    {Rpc::kImport, "engram.v1.Checkpoints/Import", Role::kAdmin},
    {Rpc::kGetServerInfo, "engram.v1.Admin/GetServerInfo", Role::kReader},
    {Rpc::kListStrategies, "engram.v1.Admin/ListStrategies", Role::kReader},
    {Rpc::kGetLimits, "engram.v1.Admin/GetLimits", Role::kReader},
    {Rpc::kCreateBackup, "engram.v1.Admin/CreateBackup", Role::kAdmin},
    {Rpc::kReloadConfig, "engram.v1.Admin/ReloadConfig", Role::kAdmin},
    {Rpc::kAcknowledgeLoss, "engram.v1.Admin/AcknowledgeLoss", Role::kAdmin},
    {Rpc::kListAudit, "engram.v1.Admin/ListAudit", Role::kAdmin},
    {Rpc::kListQuarantined, "engram.v1.Admin/ListQuarantined", Role::kAdmin},
    {Rpc::kReleaseQuarantined, "engram.v1.Admin/ReleaseQuarantined", Role::kAdmin},
    {Rpc::kListRejected, "engram.v1.Admin/ListRejected", Role::kAdmin},
    {Rpc::kBlame, "engram.v1.Admin/Blame", Role::kAdmin},
    {Rpc::kServerLive, "inference.GRPCInferenceService/ServerLive", Role::kReader},
    {Rpc::kServerReady, "inference.GRPCInferenceService/ServerReady", Role::kReader},
    {Rpc::kModelReady, "inference.GRPCInferenceService/ModelReady", Role::kReader},
    {Rpc::kServerMetadata, "inference.GRPCInferenceService/ServerMetadata", Role::kReader},
    {Rpc::kModelMetadata, "inference.GRPCInferenceService/ModelMetadata", Role::kReader},
    {Rpc::kModelInfer, "inference.GRPCInferenceService/ModelInfer", Role::kReader},
    {Rpc::kModelConfig, "inference.GRPCInferenceService/ModelConfig", Role::kReader},
    {Rpc::kModelStatistics, "inference.GRPCInferenceService/ModelStatistics", Role::kReader},
    {Rpc::kRepositoryIndex, "inference.GRPCInferenceService/RepositoryIndex", Role::kReader},
}};

constexpr bool RowsStandInOrder() {
  for (size_t i = 0; i < kRpcs.size(); ++i) {
    if (static_cast<size_t>(kRpcs[i].rpc) != i || kRpcs[i].role == Role::kAnybody) return false;
  }
  return true;
}
static_assert(RowsStandInOrder(), "kRpcs: one row a member of Rpc, in its order, with a role");

constexpr const RpcRow& RowOf(Rpc rpc) { return kRpcs[static_cast<size_t>(rpc)]; }

// Whether the audit log tells of this call: what administrators do. Reading does nothing.
constexpr bool IsRecorded(Rpc rpc) {
  return RowOf(rpc).role == Role::kAdmin && rpc != Rpc::kListAudit &&
         rpc != Rpc::kListQuarantined && rpc != Rpc::kListRejected;
}

// What gRPC answers by itself: a name and who may.
struct AccessRow {
  absl::string_view name;
  Role role;
};

inline constexpr std::array<AccessRow, 3> kListenerRpcs = {{
    {"grpc.health.v1.Health/Check", Role::kReader},
    {"grpc.health.v1.Health/Watch", Role::kReader},
    {"grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", Role::kReader},
}};

// Pages that anybody may see, also off loopback in the clear: probes and scrapers carry no
// credentials. Besides them the HTTP listener has files of code (dashboard_files.h) and calls of
// the methods above (rest_routes.h, inference_rest.h), which pass their own rows.
inline constexpr std::array<absl::string_view, 3> kPlainPages = {"/metrics", "/healthz",
                                                                 "/readyz"};

}  // namespace engram::server
