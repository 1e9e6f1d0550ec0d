// A learner without mathematics: its digest covers every call it got, its prediction is the nearest
// class mean of the first feature, its memory keeps every fourth sequence up to eight. It starts
// from any weights but "hostile", and from "wide" only with 32 hidden units.
//
// Threading: as Learner. `FakeLearnerScript` may be shared by many learners.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

#include "server/model_host.h"
#include "strategies/api/learner.h"

namespace engram::testing {

// Faults to play, by the log sequence of a batch's first row; 0 = none.
struct FakeLearnerScript {
  std::atomic<uint64_t> internal_error_at{0};
  std::atomic<uint64_t> refuse_at{0};
  std::atomic<uint64_t> skip_at{0};
  std::atomic<int> restores{0};
  // Not 0: a learner gets the fewer rows right the further its rate is from this one, by the octave
  // and by sequence, and none from 8 octaves on.
  std::atomic<double> best_rate{0};
  // Learners with this rate skip every batch, or fail in every one.
  std::atomic<double> skipping_rate{0};
  std::atomic<double> failing_rate{0};
};

class FakeLearner : public strategies::Learner {
 public:
  FakeLearner(const strategies::ModelOptions& options, std::shared_ptr<FakeLearnerScript> script);

  absl::Status StartFrom(const strategies::PretrainedWeights& weights) override;
  absl::StatusOr<strategies::StepReport> Train(const strategies::BatchView& batch) override;
  absl::StatusOr<strategies::BoundaryReport> MarkBoundary(
      const strategies::TaskBoundary& boundary) override;
  absl::Status Reconfigure(const strategies::ModelOptions& next) override;
  absl::StatusOr<std::shared_ptr<const strategies::Snapshot>> TakeSnapshot(
      uint64_t version) override;
  absl::StatusOr<strategies::SavedLearner> Save(
      const std::function<bool(const strategies::MemberKey&)>& is_stored) const override;
  absl::Status Restore(const strategies::SavedLearner& saved,
                       const std::vector<strategies::MemberPayload>& payloads) override;
  strategies::LearnerGauges Gauges() const override;

  // Equal digests: the same calls with the same arguments since the same start.
  uint64_t digest() const { return state_.digest; }
  const std::vector<int64_t>& batch_sizes() const { return batch_sizes_; }
  const std::vector<uint64_t>& trained() const { return trained_; }  // since made or restored

 private:
  struct State {
    uint64_t digest = 0;
    double learning_rate = 0;
    std::vector<double> sums;  // by class
    std::vector<double> counts;
    std::vector<strategies::MemberPayload> members;
  };

  void Mix(uint64_t value);
  bool IsRight(float first_feature, size_t label, uint64_t sequence) const;
  int64_t Predict(float first_feature) const;

  const std::shared_ptr<FakeLearnerScript> script_;
  const int64_t first_width_;  // of the hidden layers
  State state_;
  std::vector<int64_t> batch_sizes_;
  std::vector<uint64_t> trained_;
};

}  // namespace engram::testing
