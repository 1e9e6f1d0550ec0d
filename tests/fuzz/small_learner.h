// The learner that the fuzz targets load state and weights into: as small as one can be that has
// every kind of state (optimizer, memory, importance, a head that grows).
//
// Threading: one thread, which has called EnterComputeThread(). Failure: CHECKs; these calls are
// ours and must succeed.
#pragma once

#include <memory>
#include <vector>

#include "storage/base/check.h"
#include "strategies/api/compute.h"
#include "strategies/api/learner.h"

namespace engram::fuzz {

constexpr int64_t kFeatures = 3;

inline strategies::ModelOptions SmallOptions() {
  strategies::ModelOptions options;
  options.feature_count = kFeatures;
  options.hidden = {4, 2};
  options.optimizer.momentum = 0.9;
  options.strategies = {{"experience_replay", {{"memory_size", int64_t{4}}}},
                        {"ewc", {{"fisher_examples", int64_t{4}}}}};
  options.batch_size = 4;
  options.seed = 7;
  return options;
}

inline std::unique_ptr<strategies::Learner> NewLearner(const strategies::ModelOptions& options) {
  auto learner = strategies::MakeLearner(options);
  ENGRAM_CHECK(learner.ok());
  return *std::move(learner);
}

// Two rows of two classes, as records first and first + 1.
inline absl::Status TrainTwo(strategies::Learner* learner, uint64_t first) {
  const std::vector<float> features = {0.5F, -1, 2, -0.25F, 1, 0.125F};
  const std::vector<int32_t> classes = {0, 1};
  const std::vector<int32_t> tasks = {0, 0};
  const std::vector<uint64_t> sequences = {first, first + 1};
  strategies::BatchView batch;
  batch.rows = 2;
  batch.feature_count = kFeatures;
  batch.features = features;
  batch.classes = classes;
  batch.tasks = tasks;
  batch.sequences = sequences;
  return learner->Train(batch).status();
}

struct SavedState {
  strategies::SavedLearner saved;
  std::vector<strategies::MemberPayload> payloads;
};
inline SavedState Save(const strategies::Learner& learner) {
  auto saved = learner.Save([](const strategies::MemberKey&) { return false; });
  ENGRAM_CHECK(saved.ok());
  SavedState state{*std::move(saved), {}};
  state.payloads.swap(state.saved.new_payloads);
  return state;
}

// A learner that has ended a task.
inline std::unique_ptr<strategies::Learner> TrainedLearner() {
  auto learner = NewLearner(SmallOptions());
  ENGRAM_CHECK(TrainTwo(learner.get(), 1).ok());
  ENGRAM_CHECK(TrainTwo(learner.get(), 3).ok());
  ENGRAM_CHECK(learner->MarkBoundary({0, 1, 5}).ok());
  return learner;
}

}  // namespace engram::fuzz
