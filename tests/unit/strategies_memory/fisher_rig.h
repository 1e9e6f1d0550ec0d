// A network with everything a StepContext needs, random examples for it, and the brute force that
// the Fisher estimates are held against: autograd, one example and one class at a time, in double.
#pragma once

#include <torch/torch.h>

#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "strategies/api/compute.h"
#include "strategies/core/importance_fisher.h"
#include "strategies/core/step_context.h"
#include "strategies/models/mlp.h"

namespace engram::strategies {

struct RigOptions {
  RigOptions(int64_t features, std::vector<int64_t> hidden_units, int64_t class_count)
      : feature_count(features), hidden(std::move(hidden_units)), classes(class_count) {}
  RigOptions& Head(HeadKind kind) {
    head = kind;
    return *this;
  }
  RigOptions& Optimize(OptimizerKind kind, double rate) {
    optimizer = kind;
    learning_rate = rate;
    return *this;
  }

  int64_t feature_count;
  std::vector<int64_t> hidden;
  int64_t classes;  // outputs of a fixed head
  HeadKind head = HeadKind::kFixed;
  OptimizerKind optimizer = OptimizerKind::kSgd;
  double learning_rate = 0.05;
};

class FisherRig {
 public:
  explicit FisherRig(const RigOptions& rig) : generator_(3) {
    SetComputeThreads(1);
    EnterComputeThread();
    options_.feature_count = rig.feature_count;
    options_.hidden = rig.hidden;
    options_.head.kind = rig.head;
    if (rig.head == HeadKind::kFixed) options_.head.head_classes = rig.classes;
    options_.optimizer.kind = rig.optimizer;
    options_.optimizer.learning_rate = rig.learning_rate;
    units_ = std::make_unique<UnitMap>(options_.head);
    network_ = MakeMlp({rig.feature_count, rig.hidden, units_->size()}, &arena_, &generator_);
    optimizer_ = std::make_unique<Optimizer>(options_.optimizer, &arena_);
    context_ = std::make_unique<StepContext>(&options_, &arena_, network_.get(), optimizer_.get(),
                                             units_.get(), &generator_);
  }

  StepContext& context() { return *context_; }
  ParameterArena& arena() { return arena_; }
  Generator& generator() { return generator_; }
  const UnitMap& units() const { return *units_; }

  // Adds the units of these (task, class) pairs to the head.
  void Admit(const std::vector<int32_t>& tasks, const std::vector<int32_t>& classes) {
    int64_t added = 0;
    ASSERT_TRUE(units_->Admit(classes, tasks, &added).ok());
    if (added > 0) network_->AddUnits(added, &generator_);
  }

  // One array of the arena's layout as a list of [rows, columns] doubles, weight and bias in turn.
  std::vector<at::Tensor> Parts(const at::Tensor& flat) {
    std::vector<at::Tensor> parts;
    for (size_t id = 0; id < arena_.slots().size(); ++id) {
      parts.push_back(arena_.View(flat, static_cast<ParameterId>(id)).to(at::kDouble));
    }
    return parts;
  }

  at::Tensor Estimate(FisherEstimator estimator, const ConsolidationSet& examples,
                      int64_t chunk_rows = kImportanceChunkRows, int64_t expected_count = -1) {
    const at::Tensor importance = at::full({arena_.size()}, -1, at::kFloat);
    const int64_t count = EstimateFisher(estimator, examples, *context_, importance, chunk_rows);
    EXPECT_EQ(count, expected_count < 0 ? examples.rows() : expected_count);
    return importance;
  }

 private:
  ModelOptions options_;
  Generator generator_;
  ParameterArena arena_;
  std::unique_ptr<UnitMap> units_;
  std::unique_ptr<Network> network_;
  std::unique_ptr<Optimizer> optimizer_;
  std::unique_ptr<StepContext> context_;
};

// Random examples of a rig; `set` borrows the vectors.
struct RandomExamples {
  RandomExamples(const FisherRig& rig, int64_t rows, int64_t feature_count, uint64_t seed,
                 int32_t task = 0)
      : tasks(rows, task) {
    Generator random(seed);
    features = at::empty({rows, feature_count}, at::kFloat);
    float* values = features.data_ptr<float>();
    for (int64_t i = 0; i < features.numel(); ++i) values[i] = 4 * random.Uniform() - 2;
    for (int64_t row = 0; row < rows; ++row) {
      if (rig.units().per_task()) {
        const auto visible = rig.units().UnitsOf(task);
        targets.push_back(visible[random.Below(visible.size())]);
      } else {
        targets.push_back(static_cast<int64_t>(random.Below(rig.units().size())));
      }
    }
  }
  ConsolidationSet set() const { return {features, targets, tasks}; }

  at::Tensor features;
  std::vector<int64_t> targets;
  std::vector<int32_t> tasks;
};

// E_x sum over `labels(row, probabilities)` of weight * (d log p / d theta)^2, by autograd in
// double; in the order of FisherRig::Parts.
enum class BruteLabels { kEveryClass, kTarget };
std::vector<at::Tensor> BruteForceFisher(FisherRig& rig, const RandomExamples& examples,
                                         BruteLabels labels);

// Largest |a - b| over all parts, divided by the largest |b|; and the same element by element for
// elements above a thousandth of the largest.
struct Deviation {
  double of_largest = 0;
  double elementwise = 0;
};
Deviation Compare(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b);

}  // namespace engram::strategies
