// The same model without a server: the learner behind its torch-free face, on this thread.
//
// Threading: one thread, which has called EnterComputeThread. Failure: statuses of the learner.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "strategies/api/learner.h"
#include "tests/bench/end_to_end/measure.h"
#include "tests/bench/end_to_end/workload.h"

namespace engram::bench {

class InProcessModel {
 public:
  static absl::StatusOr<std::unique_ptr<InProcessModel>> Make(int64_t batch);

  // Trains `count` examples (a multiple of the batch); seconds.
  absl::StatusOr<double> Train(size_t count);
  // Bare forward of one row.
  absl::StatusOr<Latencies> Predict(int calls);
  // Seconds of each TakeSnapshot, and of a plain copy of as many floats.
  absl::StatusOr<Latencies> Publish(int times);
  Latencies CopyParameters(int times) const;
  // Seconds of each Save, and of each Restore of what was saved.
  absl::StatusOr<Latencies> Save(int times);
  absl::StatusOr<Latencies> Restore(int times);

  int64_t parameters() const { return learner_->Gauges().parameters; }

 private:
  int64_t batch_ = 0;
  uint64_t sequence_ = 0;
  FlatExamples flat_;
  std::unique_ptr<strategies::Learner> learner_;
  std::shared_ptr<const strategies::Snapshot> kept_;
  strategies::SavedLearner saved_;
};

}  // namespace engram::bench
