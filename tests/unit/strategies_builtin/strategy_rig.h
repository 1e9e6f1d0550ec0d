// A strategy of the registry around the hand-made parts of a step, and what each step did to the
// parameters beside autograd's gradient of the labels' loss.
#pragma once

#include <torch/torch.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "strategies/api/compute.h"
#include "strategies/core/registry.h"
#include "tests/unit/strategies_core/reference_network.h"

namespace engram::strategies {

// Random rows of the classes given.
struct Rows {
  Rows(int64_t width, std::vector<int32_t> of_classes, int32_t task, uint64_t seed)
      : feature_count(width), classes(std::move(of_classes)), tasks(classes.size(), task) {
    Generator random(seed);
    features.resize(classes.size() * static_cast<size_t>(width));
    for (float& value : features) value = 2 * random.Uniform() - 1;
    for (size_t i = 0; i < classes.size(); ++i) sequences.push_back(1000 * seed + i);
  }
  BatchView View() const {
    BatchView view;
    view.rows = static_cast<int64_t>(classes.size());
    view.feature_count = feature_count;
    view.features = features;
    view.classes = classes;
    view.tasks = tasks;
    view.sequences = sequences;
    return view;
  }

  int64_t feature_count;
  std::vector<int32_t> classes;
  std::vector<int32_t> tasks;
  std::vector<float> features;
  std::vector<uint64_t> sequences;
};

inline ModelOptions RigModel(OptimizerKind kind = OptimizerKind::kSgd, double momentum = 0) {
  ModelOptions options;
  options.feature_count = 5;
  options.hidden = {7};
  options.optimizer.kind = kind;
  options.optimizer.learning_rate = kind == OptimizerKind::kSgd ? 0.1 : 0.01;
  options.optimizer.momentum = momentum;
  options.seed = 4;
  return options;
}

class StrategyRig {
 public:
  StrategyRig(const ModelOptions& model, const StrategySpec& spec) : rig(model) {
    SetComputeThreads(1);
    EnterComputeThread();
    const StrategyEntry& entry = **FindStrategy(spec.name);
    StrategyEnvironment environment;
    environment.feature_count = model.feature_count;
    environment.batch_size = 256;
    environment.arena = &rig.arena;
    environment.network = rig.network.get();
    environment.units = &rig.units;
    strategy = *entry.make(*StrategyParameters::Resolve(entry.help, spec), environment);
  }

  // Parameters and gradients of a step: every one in use in arena order, double, without gaps.
  struct Move {
    at::Tensor gradient;
    at::Tensor before;
    at::Tensor after;
    at::Tensor change() const { return after - before; }
  };

  Move Step(const Rows& rows) {
    rig.Load(rows.View());
    Move move;
    move.before = Compact(rig.arena.flat());
    auto leaves = CloneParameters(rig.arena);
    ReferenceLoss(leaves, *rig.batch).backward();
    std::vector<at::Tensor> gradients;
    for (const auto& leaf : leaves) gradients.push_back(leaf.grad().reshape(-1).to(at::kDouble));
    move.gradient = at::cat(gradients);
    const auto seen = strategy->Observe(*rig.batch, *rig.context, PlainNext());
    rig.context->ClearHooks();
    EXPECT_TRUE(seen.ok() && !seen->skipped);
    move.after = Compact(rig.arena.flat());
    return move;
  }

  // The boundary of a task, without examples for it unless `rows` are given; what was recorded.
  BoundaryReport Boundary(int32_t task) { return Boundary(task, Rows(5, {}, task, 1)); }
  BoundaryReport Boundary(int32_t task, const Rows& rows) {
    ConsolidationSet set;
    TrainingBatch batch(rows.feature_count, 256);
    batch.Reset(rows.View(), rig.units);
    set.features = batch.features();
    set.targets = batch.targets();
    set.classes = batch.classes();
    set.tasks = batch.tasks();
    BoundaryReport report;
    EXPECT_TRUE(strategy->Consolidate({task, task + 1, 0}, set, *rig.context, &report).ok());
    rig.context->set_boundaries(rig.context->boundaries() + 1);
    return report;
  }

  at::Tensor Compact(const at::Tensor& flat) const {
    std::vector<at::Tensor> parts;
    for (size_t id = 0; id < rig.arena.slots().size(); ++id) {
      parts.push_back(
          rig.arena.View(flat, static_cast<ParameterId>(id)).reshape(-1).to(at::kDouble));
    }
    return at::cat(parts);
  }

  Rig rig;
  std::unique_ptr<Strategy> strategy;

 private:
  static Next PlainNext() {
    static const auto next = [](TrainingBatch& batch, StepContext& context) {
      return context.PlainStep(batch);
    };
    return next;
  }
};

// The one importance that a boundary recorded, double.
inline at::Tensor Recorded(const BoundaryReport& report) {
  EXPECT_EQ(report.importance.size(), 1u);
  const auto reader = StateReader::Open(report.importance[0].tensors);
  EXPECT_TRUE(reader.ok());
  return reader->GetTensor("importance")->to(at::kDouble);
}

// Largest |a - b| over the largest |b|.
inline double Deviation(const at::Tensor& a, const at::Tensor& b) {
  return ((a - b).abs().max() / b.abs().max()).item<double>();
}

}  // namespace engram::strategies
