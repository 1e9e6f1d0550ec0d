// The learners of a tune's candidates. The trainer feeds them what it feeds the model's learner,
// right after it; nobody predicts from them, so they may take the time that is left.
//
// A candidate is dropped, with the reason in the report, when its guard skipped 8 batches in a row
// or its learner failed. What it scored lives in the stream state. The learner of one that is out
// ends with EndThoseOut, and not while the log is read again: with examples erased since, another
// may win, and a record that follows still promotes the one that won before.
//
// Threading: one thread, that of the trainer. Ownership: owns the learners.
// Failure: a candidate's fault is its own; only opening and restoring can fail.
// Bounds: 16 learners, within tune_plan.h's memory.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "server/checkpoint_keeper.h"
#include "server/model_host.h"
#include "server/stream_state.h"
#include "strategies/api/learner.h"

namespace engram::server {

class ShadowSet {
 public:
  static constexpr int kSkippedInRowMax = 8;

  // Learners of the tune that is open in `state`: fresh, at the log's start.
  absl::Status OpenFresh(const StreamState& state, const LearnerFactory& make);
  // Copies of the model, then changed to each candidate's spec.
  absl::Status OpenCopies(const StreamState& state, const strategies::Learner& model,
                          const LearnerFactory& make);
  // As they were saved. With no tune open, none.
  absl::Status Restore(const StreamState& state, const std::vector<RestorableLearner>& saved,
                       const LearnerFactory& make);
  void Clear() { learners_.clear(); }

  // A step of each; scored while the tune runs.
  void Train(const strategies::BatchView& batch, StreamState* state);
  void MarkBoundary(const strategies::TaskBoundary& boundary, StreamState* state);
  // Ends the learners of candidates that were dropped, or that a decision went against.
  void EndThoseOut(const StreamState& state);
  // The learner at that position (from 1), given away; null when it was dropped.
  std::unique_ptr<strategies::Learner> Take(int32_t candidate);

  // Learners that still learn.
  int64_t alive() const;
  // For a checkpoint, behind the model's own.
  void AppendTo(const StreamState& state, std::vector<SpacedLearner>* learners) const;
  absl::Status CaptureInto(RestorableLearner* captured) const;

 private:
  void TrainOne(size_t position, const strategies::BatchView& batch,
                internal::StreamState::Tune* tune);
  // Dropped, and not to be used any more.
  void Fail(size_t position, absl::string_view why, internal::StreamState::Tune* tune);

  std::vector<std::unique_ptr<strategies::Learner>> learners_;  // by position; null = dropped
};

}  // namespace engram::server
