// Everything that a learner is, in one place: what Save writes and Restore replaces as a whole.
//
// Threading: one thread at a time. Ownership: owns all parts; they point at each other, so a state
//   is neither copied nor moved.
// Failure: Make as MakeLearner.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/optional.h"
#include "strategies/api/learner.h"
#include "strategies/core/model_plan.h"
#include "strategies/core/step_context.h"
#include "strategies/core/strategy.h"
#include "strategies/memory/exemplar_memory.h"

namespace engram::strategies {

// MemberKey::memory of the first strategy that keeps exemplars, and of the per-task reservoir that
// consolidation draws on. Further strategies have numbers by their position, from 2.
constexpr uint32_t kReplayMemory = 0;
constexpr uint32_t kConsolidationMemory = 1;

struct LearnerState {
  explicit LearnerState(const ModelOptions& model_options);
  LearnerState(const LearnerState&) = delete;
  LearnerState& operator=(const LearnerState&) = delete;

  // A fresh state of validated options. `weights`, if any, stand in for what would be drawn;
  // INVALID_ARGUMENT as Learner::StartFrom.
  static absl::StatusOr<std::unique_ptr<LearnerState>> Make(
      const ModelOptions& options, const PretrainedWeights* weights = nullptr);

  // What is served: the parameters, or their average where the options ask for one.
  const at::Tensor& served() const;
  // After the head grew from `old_units`, and after parameters changed by a step or otherwise.
  void AverageNewUnits(int64_t old_units);
  void AverageStep();
  void RestartAverage();

  ModelOptions options;
  Generator generator;
  ParameterArena arena;
  UnitMap units;
  std::unique_ptr<Network> network;
  std::unique_ptr<Optimizer> optimizer;
  absl::optional<CompanionId> average;  // of the parameters, when options.ema_decay is above 0
  std::vector<std::unique_ptr<Strategy>> strategies;  // outermost first
  // Absent when no strategy wants examples at a boundary. Emptied there.
  std::unique_ptr<ExemplarMemory> consolidation;
  std::unique_ptr<StepContext> context;
  std::unique_ptr<TrainingBatch> batch;
  int64_t examples_seen = 0;
  int64_t boundaries_seen = 0;
};

absl::StatusOr<SavedLearner> SaveState(const LearnerState& state,
                                       const std::function<bool(const MemberKey&)>& is_stored);

// A new state of `options` with what was saved. Failure as Learner::Restore.
absl::StatusOr<std::unique_ptr<LearnerState>> LoadState(const ModelOptions& options,
                                                        const SavedLearner& saved,
                                                        const std::vector<MemberPayload>& payloads);

}  // namespace engram::strategies
