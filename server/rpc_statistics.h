// How long each method took, by status code: one histogram for every (method, code), there from the
// start so that a call costs two relaxed additions.
//
// Threading: every method from any thread.
#pragma once

#include <array>
#include <cstddef>
#include <memory>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "server/statistics.h"

namespace engram::server {

// Every method of engram.v1; kRpcNames has their full names in this order.
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
  kGetServerInfo,
  kListStrategies,
  kGetLimits,
};

inline constexpr std::array<absl::string_view, 25> kRpcNames = {
    "engram.v1.Models/CreateModel",
    "engram.v1.Models/CreateModelFromWeights",
    "engram.v1.Models/GetModel",
    "engram.v1.Models/ListModels",
    "engram.v1.Models/UpdateModel",
    "engram.v1.Models/DeleteModel",
    "engram.v1.Models/PauseTraining",
    "engram.v1.Models/ResumeTraining",
    "engram.v1.Learning/Learn",
    "engram.v1.Learning/LearnBatch",
    "engram.v1.Learning/MarkBoundary",
    "engram.v1.Learning/WaitApplied",
    "engram.v1.Prediction/Predict",
    "engram.v1.Prediction/PredictStream",
    "engram.v1.Evaluation/GetReport",
    "engram.v1.Evaluation/WatchReport",
    "engram.v1.Evaluation/Evaluate",
    "engram.v1.Checkpoints/CreateCheckpoint",
    "engram.v1.Checkpoints/ListCheckpoints",
    "engram.v1.Checkpoints/GetCheckpoint",
    "engram.v1.Checkpoints/DeleteCheckpoint",
    "engram.v1.Checkpoints/Rollback",
    "engram.v1.Admin/GetServerInfo",
    "engram.v1.Admin/ListStrategies",
    "engram.v1.Admin/GetLimits",
};

class RpcStatistics {
 public:
  static constexpr size_t kCodes = 17;  // OK to UNAUTHENTICATED

  void Observe(Rpc rpc, absl::StatusCode code, double seconds) {
    const size_t column = static_cast<size_t>(code) < kCodes ? static_cast<size_t>(code) : 2;
    (*cells_)[static_cast<size_t>(rpc)][column].Observe(seconds);
  }
  const LatencyHistogram& Of(size_t rpc, size_t code) const { return (*cells_)[rpc][code]; }

 private:
  using Cells = std::array<std::array<LatencyHistogram, kCodes>, kRpcNames.size()>;
  const std::unique_ptr<Cells> cells_ = std::make_unique<Cells>();
};

}  // namespace engram::server
