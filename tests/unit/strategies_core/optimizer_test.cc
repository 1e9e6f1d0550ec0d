#include "strategies/core/optimizer.h"

#include <gtest/gtest.h>

#include "tests/unit/strategies_core/reference_network.h"
#include "tests/unit/strategies_core/small_stream.h"

namespace engram::strategies {
namespace {

struct Case {
  const char* name;
  OptimizerOptions options;
};

std::unique_ptr<torch::optim::Optimizer> Reference(const OptimizerOptions& o,
                                                   const std::vector<torch::Tensor>& parameters) {
  if (o.kind == OptimizerKind::kSgd) {
    return std::make_unique<torch::optim::SGD>(parameters, torch::optim::SGDOptions(o.learning_rate)
                                                               .momentum(o.momentum)
                                                               .weight_decay(o.weight_decay));
  }
  if (o.kind == OptimizerKind::kAdam) {
    return std::make_unique<torch::optim::Adam>(parameters,
                                                torch::optim::AdamOptions(o.learning_rate)
                                                    .betas({o.beta1, o.beta2})
                                                    .eps(o.epsilon)
                                                    .weight_decay(o.weight_decay));
  }
  return std::make_unique<torch::optim::AdamW>(parameters,
                                               torch::optim::AdamWOptions(o.learning_rate)
                                                   .betas({o.beta1, o.beta2})
                                                   .eps(o.epsilon)
                                                   .weight_decay(o.weight_decay));
}

OptimizerOptions Make(OptimizerKind kind, double rate, double momentum, double decay) {
  OptimizerOptions options;
  options.kind = kind;
  options.learning_rate = rate;
  options.momentum = momentum;
  options.weight_decay = decay;
  return options;
}

class OptimizerTest : public ::testing::TestWithParam<Case> {
 protected:
  static ModelOptions Options() {
    ModelOptions options = SmallModel(20);
    options.hidden = {24, 17};
    options.optimizer = GetParam().options;
    return options;
  }

  // Steps of both over the same rows; returns the largest difference of weights.
  double DifferenceAfter(int steps, int64_t rows) {
    Rig rig(Options());
    SmallStream stream(20, 5);
    std::vector<int32_t> classes;
    for (int64_t i = 0; i < rows; ++i) classes.push_back(static_cast<int32_t>(i % 4));
    rig.Load(stream.Next(classes).View());
    const auto parameters = CloneParameters(rig.arena);
    const auto reference = Reference(GetParam().options, parameters);
    for (int i = 0; i < steps; ++i) {
      const SmallBatch batch = stream.Next(classes);
      rig.Load(batch.View());
      EXPECT_FALSE(rig.context->PlainStep(*rig.batch)->skipped);
      reference->zero_grad();
      ReferenceLoss(parameters, *rig.batch).backward();
      reference->step();
    }
    return LargestDifference(rig.arena, parameters);
  }
};

TEST_P(OptimizerTest, StepsEqualTorchOptim) {
  EXPECT_LT(DifferenceAfter(20, 10), 1e-5);
  EXPECT_LT(DifferenceAfter(20, 40), 1e-5);
}

TEST_P(OptimizerTest, GrowthKeepsMomentsOfOldParameters) {
  Rig rig(Options()), grown(Options());
  SmallStream stream(20, 5);
  const SmallBatch first = stream.Next({0, 1, 2, 3});
  for (Rig* r : {&rig, &grown}) {
    for (int i = 0; i < 3; ++i) {
      r->Load(first.View());
      ASSERT_FALSE(r->context->PlainStep(*r->batch)->skipped);
    }
  }
  grown.network->AddUnits(60, &grown.generator);
  for (size_t c = 0; c < rig.arena.companions().size(); ++c) {
    const at::Tensor& old_values = rig.arena.companions()[c].values;
    const at::Tensor& new_values = grown.arena.companions()[c].values;
    for (size_t id = 0; id < rig.arena.slots().size(); ++id) {
      const at::Tensor before = rig.arena.View(old_values, static_cast<ParameterId>(id));
      const at::Tensor after = grown.arena.View(new_values, static_cast<ParameterId>(id));
      EXPECT_TRUE(after.narrow(0, 0, before.size(0)).equal(before));
      const int64_t grown_by = after.size(0) - before.size(0);
      EXPECT_EQ(after.narrow(0, before.size(0), grown_by).count_nonzero().item<int64_t>(), 0);
    }
  }
}

TEST_P(OptimizerTest, AStepFromAGivenGradientIsTheSameStep) {
  Rig traced(Options()), given(Options());
  SmallStream stream(20, 6);
  for (int i = 0; i < 4; ++i) {
    const SmallBatch batch = stream.Next({0, 1, 2, 3, 0, 1});
    for (Rig* rig : {&traced, &given}) {
      rig->Load(batch.View());
      rig->context->LossAndBackward(*rig->batch, rig->context->Forward(*rig->batch));
    }
    traced.context->Update();
    const at::Tensor gradient = at::zeros({given.arena.size()});
    given.optimizer->WriteGradient(given.network->traces(), gradient);
    given.optimizer->StepWithGradient(gradient, {});
  }
  EXPECT_LT((traced.arena.flat() - given.arena.flat()).abs().max().item<double>(), 1e-6);
}

TEST_P(OptimizerTest, WhatIsNotTrainedStandsStillWhateverItsMoments) {
  Rig rig(Options());
  SmallStream stream(20, 6);
  const auto step = [&] {
    const SmallBatch batch = stream.Next({0, 1, 2, 3, 0, 1});
    rig.Load(batch.View());
    rig.context->LossAndBackward(*rig.batch, rig.context->Forward(*rig.batch));
    const at::Tensor gradient = at::zeros({rig.arena.size()});
    rig.optimizer->WriteGradient(rig.network->traces(), gradient);
    rig.optimizer->StepWithGradient(gradient, {});
  };
  step();
  const ParameterId first = rig.network->traces().front().weight;
  const ParameterId head = rig.network->traces().back().weight;
  rig.arena.SetTrained({head});
  const at::Tensor held = rig.arena.View(first).clone(), moved = rig.arena.View(head).clone();
  step();
  EXPECT_TRUE(rig.arena.View(first).equal(held));
  EXPECT_FALSE(rig.arena.View(head).equal(moved));
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, OptimizerTest,
    ::testing::Values(Case{"Sgd", Make(OptimizerKind::kSgd, 0.1, 0, 0)},
                      Case{"SgdDecay", Make(OptimizerKind::kSgd, 0.1, 0, 0.01)},
                      Case{"Momentum", Make(OptimizerKind::kSgd, 0.05, 0.9, 0.01)},
                      Case{"Adam", Make(OptimizerKind::kAdam, 0.001, 0, 0)},
                      Case{"AdamDecay", Make(OptimizerKind::kAdam, 0.001, 0, 0.01)},
                      Case{"AdamW", Make(OptimizerKind::kAdamW, 0.001, 0, 0.1)}),
    [](const auto& param_info) { return std::string(param_info.param.name); });

TEST(OptimizerMemoryTest, PlainSgdKeepsNoArrayBesideTheParameters) {
  EXPECT_EQ(Rig(SmallModel(5)).arena.companion_bytes(), 0);
}

}  // namespace
}  // namespace engram::strategies
