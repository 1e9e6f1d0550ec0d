// A strategy of the registry around the hand-made parts of a step, and rows to learn.
#pragma once

#include <torch/torch.h>

#include <memory>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "strategies/api/compute.h"
#include "strategies/core/registry.h"
#include "tests/unit/strategies_core/reference_network.h"

namespace engram::strategies {

// Random features under the classes given, of one task.
struct LabelledRows {
  LabelledRows(int64_t width, std::vector<int32_t> of_classes, int32_t task, uint64_t seed)
      : feature_count(width), classes(std::move(of_classes)), tasks(classes.size(), task) {
    Generator random(seed);
    for (size_t i = 0; i < classes.size(); ++i) {
      for (int64_t j = 0; j < width; ++j) features.push_back(2 * random.Uniform() - 1);
      sequences.push_back(1000 * seed + i + 1);
    }
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
  torch::Tensor Features() const {
    return torch::tensor(features).view({static_cast<int64_t>(classes.size()), feature_count});
  }

  int64_t feature_count;
  std::vector<int32_t> classes;
  std::vector<int32_t> tasks;
  std::vector<float> features;
  std::vector<uint64_t> sequences;
};

inline ModelOptions ProjectionModel() {
  ModelOptions options;
  options.feature_count = 6;
  options.hidden = {9, 7};
  options.optimizer.learning_rate = 0.1;
  options.head.kind = HeadKind::kFixed;
  options.head.head_classes = 3;
  options.batch_size = 8;
  options.seed = 3;
  return options;
}

class ProjectionRig {
 public:
  ProjectionRig(const ModelOptions& model, const StrategySpec& spec) : rig(model) {
    SetComputeThreads(1);
    EnterComputeThread();
    const StrategyEntry& entry = **FindStrategy(spec.name);
    StrategyEnvironment environment;
    environment.feature_count = model.feature_count;
    environment.batch_size = model.batch_size;
    environment.seed = model.seed;
    environment.arena = &rig.arena;
    environment.network = rig.network.get();
    environment.units = &rig.units;
    strategy = *entry.make(*StrategyParameters::Resolve(entry.help, spec), environment);
  }

  Observation Learn(const LabelledRows& rows) {
    rig.Load(rows.View());
    auto seen = strategy->Observe(*rig.batch, *rig.context, [](TrainingBatch& batch,
                                                               StepContext& context) {
      return context.PlainStep(batch);
    });
    rig.context->ClearHooks();
    EXPECT_TRUE(seen.ok()) << seen.status();
    return *seen;
  }

  // The end of a task, with all of `rows` to consolidate.
  void Boundary(const LabelledRows& rows) {
    TrainingBatch batch(rows.feature_count, 256);
    batch.Reset(rows.View(), rig.units);
    const ConsolidationSet examples{batch.features(), batch.targets(), batch.tasks(),
                                    batch.classes(), batch.sequences()};
    BoundaryReport report;
    const int32_t task = rows.tasks.empty() ? 0 : rows.tasks[0];
    EXPECT_TRUE(strategy->Consolidate({task, task + 1, 0}, examples, *rig.context, &report).ok());
    rig.context->set_boundaries(rig.context->boundaries() + 1);
  }

  // Autograd's gradient of the mean cross-entropy at the present weights, in the arena's layout.
  at::Tensor GradientOver(const LabelledRows& rows) {
    auto leaves = CloneParameters(rig.arena);
    const std::vector<int64_t> targets(rows.classes.begin(), rows.classes.end());
    torch::nn::functional::cross_entropy(ReferenceForward(leaves, rows.Features()),
                                         torch::tensor(targets))
        .backward();
    const at::Tensor flat = at::zeros({rig.arena.size()});
    for (size_t id = 0; id < leaves.size(); ++id) {
      const at::Tensor view = rig.arena.View(flat, static_cast<ParameterId>(id));
      view.copy_(leaves[id].grad().view(view.sizes()));
    }
    return flat;
  }

  at::Tensor Weights() const { return rig.arena.flat().clone(); }

  Rig rig;
  std::unique_ptr<Strategy> strategy;
};

inline double Dot(const at::Tensor& a, const at::Tensor& b) {
  return at::dot(a.to(at::kDouble), b.to(at::kDouble)).item<double>();
}
inline double LargestGap(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

}  // namespace engram::strategies
