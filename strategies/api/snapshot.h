// An immutable copy of what a model serves. Predictions never wait for training: they read one.
//
// Threading: every method is const and safe from any thread; EnterComputeThread() once a thread
//   is not required, Predict does it.
// Ownership: shared_ptr<const Snapshot>; the arrays live until the last reader lets go.
// Failure: INVALID_ARGUMENT (task missing where heads are per task), NOT_FOUND (a task without a
//   head), INTERNAL (non-finite output: never returned as a score).
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"

namespace engram::strategies {

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
  // score 0. With no class yet the result is empty and OK.
  virtual absl::Status Predict(absl::Span<const float> features, int64_t rows,
                               absl::Span<const int32_t> tasks,
                               std::vector<float>* scores) const = 0;
};

}  // namespace engram::strategies
