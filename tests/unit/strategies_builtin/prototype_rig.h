// Labelled clouds as tensors, a learner fed with them, and one strategy around a hand-made step.
#pragma once

#include <torch/torch.h>

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "storage/base/check.h"
#include "strategies/core/registry.h"
#include "strategies/core/strategy.h"
#include "tests/unit/strategies_core/reference_network.h"

namespace engram::strategies {

// Owns what a BatchView borrows.
struct CloudBatch {
  at::Tensor features;  // [rows, d]
  std::vector<int32_t> classes;
  std::vector<int32_t> tasks;
  std::vector<uint64_t> sequences;

  int64_t rows() const { return static_cast<int64_t>(classes.size()); }
  absl::Span<const float> values() const {
    return absl::MakeConstSpan(features.data_ptr<float>(), static_cast<size_t>(features.numel()));
  }
  BatchView View() const {
    BatchView view;
    view.rows = rows();
    view.feature_count = features.size(1);
    view.features = values();
    view.classes = classes;
    view.tasks = tasks;
    view.sequences = sequences;
    return view;
  }
};

// Gaussian clouds of one correlated shape around a centre for each class.
class Clouds {
 public:
  Clouds(int64_t width, int64_t classes, uint64_t seed) {
    torch::manual_seed(seed);
    centres_ = torch::randn({classes, width});
    shape_ = torch::randn({width, width}) * (0.3 / std::sqrt(static_cast<double>(width)));
  }

  CloudBatch Next(const std::vector<int32_t>& classes, int32_t task = 0) {
    CloudBatch batch;
    const int64_t rows = static_cast<int64_t>(classes.size());
    batch.features = torch::matmul(torch::randn({rows, centres_.size(1)}), shape_);
    for (int64_t row = 0; row < rows; ++row) batch.features[row] += centres_[classes[row]];
    batch.classes = classes;
    batch.tasks.assign(classes.size(), task);
    for (int64_t row = 0; row < rows; ++row) batch.sequences.push_back(++sequence_);
    return batch;
  }

 private:
  at::Tensor centres_;
  at::Tensor shape_;
  uint64_t sequence_ = 0;
};

inline ModelOptions CloudModel(int64_t width, const std::string& strategy,
                               absl::btree_map<std::string, ParameterValue> parameters = {}) {
  ModelOptions options;
  options.feature_count = width;
  options.hidden = {16, 12};
  options.optimizer.learning_rate = 0.1;
  options.batch_size = 16;
  options.seed = 7;
  options.strategies = {{strategy, std::move(parameters)}};
  return options;
}

// Share of the rows whose class scores highest.
inline double Accuracy(const Snapshot& snapshot, const CloudBatch& batch) {
  std::vector<float> scores;
  const absl::Status status =
      snapshot.Predict(batch.values(), batch.rows(), batch.tasks, &scores);
  EXPECT_TRUE(status.ok()) << status;
  const at::Tensor best =
      torch::tensor(scores).reshape({batch.rows(), snapshot.class_count()}).argmax(1);
  return best.eq(torch::tensor(batch.classes)).to(torch::kDouble).mean().item<double>();
}

// A strategy of the registry in the rig's environment.
inline std::unique_ptr<Strategy> MakeStrategy(Rig* rig, const StrategySpec& spec) {
  const StrategyEntry& entry = **FindStrategy(spec.name);
  StrategyEnvironment environment;
  environment.feature_count = rig->options.feature_count;
  environment.batch_size = rig->options.batch_size;
  environment.seed = rig->options.seed;
  environment.arena = &rig->arena;
  environment.network = rig->network.get();
  environment.units = &rig->units;
  auto made = entry.make(*StrategyParameters::Resolve(entry.help, spec), environment);
  ENGRAM_CHECK(made.ok());
  return std::move(made).value();
}

// One step of the strategy around the plain one.
inline Observation Step(Rig* rig, Strategy* strategy, const CloudBatch& batch) {
  rig->Load(batch.View());
  auto seen = strategy->Observe(*rig->batch, *rig->context,
                                [](TrainingBatch& inner, StepContext& context) {
                                  return context.PlainStep(inner);
                                });
  ENGRAM_CHECK(seen.ok());
  rig->context->ClearHooks();
  return std::move(seen).value();
}

inline std::vector<int32_t> Cycle(const std::vector<int32_t>& classes, int64_t rows) {
  std::vector<int32_t> result;
  for (int64_t i = 0; i < rows; ++i) result.push_back(classes[i % classes.size()]);
  return result;
}

}  // namespace engram::strategies
