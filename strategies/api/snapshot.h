// An immutable copy of what a model serves. Predictions never wait for training: they read one.
//
// Threading: every method is const and safe from any thread; EnterComputeThread() once a thread
//   is not required, Predict does it.
// Ownership: shared_ptr<const Snapshot>; the arrays live until the last reader lets go.
// Failure: INVALID_ARGUMENT (task missing where heads are per task and none is inferred), NOT_FOUND
//   (a task without a head), INTERNAL (non-finite output: never returned as a score).
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "strategies/api/network_export.h"

namespace engram::strategies {

// A task that the model itself found for a row.
struct InferredTask {
  int32_t task = -1;     // column index
  float confidence = 0;  // 0: another task is as likely; 1: no doubt
};

class Snapshot {
 public:
  virtual ~Snapshot() = default;

  // The applied sequence of the log that this snapshot reflects.
  virtual uint64_t version() const = 0;

  // Classes with an output (an output in any head, where heads are per task). Scores have this many
  // columns; column = class index.
  virtual int64_t class_count() const = 0;

  // Softmax scores, row-major [rows, class_count()], written over `scores` (resized; reuse the
  // vector to avoid allocation). `features` is row-major [rows, feature_count]. `tasks` is empty or
  // one column index a row, -1 for none; where heads are per task, classes outside the row's task
  // score 0, and a task that is missing is inferred or refused. With no class yet the result is
  // empty and OK.
  virtual absl::Status Predict(absl::Span<const float> features, int64_t rows,
                               absl::Span<const int32_t> tasks,
                               std::vector<float>* scores) const = 0;

  // Heads are per task, and the model finds the task of a row by itself.
  virtual bool infers_tasks() const { return false; }
  // That task, for each row, written over `inferred`; empty with no class yet. Only where
  // infers_tasks().
  virtual absl::Status InferTasks(absl::Span<const float> features, int64_t rows,
                                  std::vector<InferredTask>* inferred) const {
    return absl::FailedPreconditionError("this model infers no task");
  }

  // What answers, as a file for other programs. FAILED_PRECONDITION when that is no network of
  // layers, or none that the format can hold.
  virtual NetworkOutputs Outputs() const { return {}; }
  virtual absl::StatusOr<std::string> Export(const ExportOptions& options) const {
    return absl::FailedPreconditionError("this model has no network");
  }
};

}  // namespace engram::strategies
