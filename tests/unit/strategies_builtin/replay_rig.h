// A replay strategy on a network of its own, fed by hand: a test looks at what its step saw and
// takes the plain step, or a skipped one.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "storage/base/check.h"
#include "strategies/core/registry.h"
#include "tests/unit/strategies_core/reference_network.h"

namespace engram::strategies {

using Parameters = absl::btree_map<std::string, ParameterValue>;

inline ModelOptions ReplayModel(HeadKind head) {
  ModelOptions options;
  options.feature_count = 4;
  options.hidden = {8, 6};
  options.head.kind = head;
  if (head == HeadKind::kFixed) options.head.head_classes = 8;
  options.optimizer.learning_rate = 0.1;
  options.seed = 11;
  return options;
}

class ReplayRig {
 public:
  // Called between what the strategy did to the batch and the step.
  using Look = std::function<void(TrainingBatch&, StepContext&)>;

  explicit ReplayRig(const std::string& name, Parameters parameters = {},
                     HeadKind head = HeadKind::kGrowing)
      : rig_(ReplayModel(head)) {
    parameters.insert({"memory_size", int64_t{20}});
    const StrategyEntry& entry = **FindStrategy(name);
    StrategyEnvironment environment;
    environment.feature_count = rig_.options.feature_count;
    environment.batch_size = 8;
    environment.seed = 5;
    environment.arena = &rig_.arena;
    environment.network = rig_.network.get();
    environment.units = &rig_.units;
    const auto resolved = StrategyParameters::Resolve(entry.help, {name, std::move(parameters)});
    ENGRAM_CHECK(resolved.ok());
    auto made = entry.make(*resolved, environment);
    ENGRAM_CHECK(made.ok());
    strategy_ = std::move(made).value();
  }

  // One step on one random row for each class.
  Observation Step(const std::vector<int32_t>& classes, const Look& look = nullptr,
                   int32_t task = 0) {
    return Run(classes, std::vector<int32_t>(classes.size(), task), look, /*skip=*/false);
  }
  Observation StepOfTasks(const std::vector<int32_t>& classes, const std::vector<int32_t>& tasks,
                          const Look& look) {
    return Run(classes, tasks, look, /*skip=*/false);
  }
  Observation SkippedStep(const std::vector<int32_t>& classes) {
    return Run(classes, std::vector<int32_t>(classes.size(), 0), nullptr, /*skip=*/true);
  }

  // A boundary after a task of these examples, one a class given.
  void Boundary(const std::vector<int32_t>& classes, int32_t task = 0) {
    Load(classes, std::vector<int32_t>(classes.size(), task));
    const TrainingBatch& batch = *rig_.batch;
    const ConsolidationSet examples{batch.features().clone(), batch.targets(), batch.tasks(),
                                    batch.classes(), batch.sequences()};
    ASSERT_TRUE(strategy_->Consolidate({}, examples, *rig_.context, nullptr).ok());
    rig_.context->ClearHooks();
    rig_.context->set_boundaries(rig_.context->boundaries() + 1);
  }

  Rig& rig() { return rig_; }
  Strategy& strategy() { return *strategy_; }
  std::vector<uint64_t> Kept() const {
    std::vector<uint64_t> sequences;
    for (const MemberKey& member : strategy_->Members()) sequences.push_back(member.sequence);
    return sequences;
  }

 private:
  Observation Run(const std::vector<int32_t>& classes, const std::vector<int32_t>& tasks,
                  const Look& look, bool skip) {
    Load(classes, tasks);
    auto seen = strategy_->Observe(
        *rig_.batch, *rig_.context,
        [&](TrainingBatch& batch, StepContext& context) -> absl::StatusOr<Observation> {
          if (look) look(batch, context);
          if (!skip) return context.PlainStep(batch);
          Observation result;
          result.skipped = true;
          return result;
        });
    rig_.context->ClearHooks();
    ENGRAM_CHECK(seen.ok());
    return std::move(seen).value();
  }

  void Load(const std::vector<int32_t>& classes, const std::vector<int32_t>& tasks) {
    std::vector<float> features;
    std::vector<uint64_t> sequences;
    for (size_t row = 0; row < classes.size(); ++row) {
      for (int64_t i = 0; i < rig_.options.feature_count; ++i) {
        features.push_back(random_.Uniform());
      }
      sequences.push_back(++sequence_);
    }
    BatchView view;
    view.rows = static_cast<int64_t>(classes.size());
    view.feature_count = rig_.options.feature_count;
    view.features = features;
    view.classes = classes;
    view.tasks = tasks;
    view.sequences = sequences;
    rig_.Load(view);
  }

  Rig rig_;
  std::unique_ptr<Strategy> strategy_;
  Generator random_{3};
  uint64_t sequence_ = 0;
};

// Our flat gradient of the whole loss, without a step.
inline at::Tensor LossSlope(TrainingBatch& batch, StepContext& context) {
  context.LossAndBackward(batch, context.Forward(batch));
  const at::Tensor gradient = at::zeros({context.arena().size()});
  context.optimizer().WriteGradient(context.network().traces(), gradient);
  return gradient;
}

}  // namespace engram::strategies
