// icarl and ncm: the loss against autograd, prototypes against a mean by hand, classes that return.
#include <algorithm>
#include <thread>
#include <vector>

#include "gtest/gtest.h"
#include "strategies/core/binary_cross_entropy.h"
#include "strategies/memory/exemplar_payload.h"
#include "tests/unit/strategies_builtin/prototype_rig.h"

namespace engram::strategies {
namespace {

namespace F = torch::nn::functional;

constexpr int64_t kWidth = 10;

class BinaryCrossEntropyTest : public testing::Test {
 protected:
  BinaryCrossEntropyTest() {
    torch::manual_seed(1);
    logits_ = 3 * torch::randn({6, 4});
    old_logits_ = 3 * torch::randn({6, 4});
  }
  static UnitMap Units(HeadKind kind) {
    HeadOptions head;
    head.kind = kind;
    UnitMap units(head);
    int64_t added = 0;
    const std::vector<int32_t> classes = {0, 1, 2, 3}, tasks = {0, 0, 1, 1};
    ENGRAM_CHECK(units.Admit(classes, tasks, &added).ok());
    return units;
  }

  at::Tensor logits_;
  at::Tensor old_logits_;
  const std::vector<int64_t> targets_ = {3, 0, 2, 2, 1, 3};
  const std::vector<int32_t> tasks_ = {1, 0, 1, 1, 0, 1};
};

TEST_F(BinaryCrossEntropyTest, GradientOfIcarlsLossEqualsAutograd) {
  const UnitMap units = Units(HeadKind::kGrowing);
  const std::vector<float> coefficients = {0.1f, 0.2f, 0.3f, 0.1f, 0.2f, 0.1f};
  LossRows rows;
  rows.targets = targets_;
  rows.tasks = tasks_;
  rows.coefficients = coefficients;
  const std::vector<bool> distilled = {true, true, false, false};
  const at::Tensor gradient = torch::empty({6, 4});
  const double loss = BinaryCrossEntropy(logits_, rows, units,
                                         {old_logits_.data_ptr<float>(), &distilled}, gradient);

  at::Tensor goals = torch::one_hot(torch::tensor(targets_), 4).to(at::kFloat);
  goals.narrow(1, 0, 2).copy_(torch::sigmoid(old_logits_.narrow(1, 0, 2)));
  const at::Tensor leaf = logits_.clone().set_requires_grad(true);
  const at::Tensor each = F::binary_cross_entropy_with_logits(
      leaf, goals, F::BinaryCrossEntropyWithLogitsFuncOptions().reduction(torch::kNone));
  const at::Tensor expected = (each.sum(1) * torch::tensor(coefficients)).sum();
  expected.backward();
  EXPECT_NEAR(loss, expected.item<double>(), 1e-5);
  EXPECT_LT((gradient - leaf.grad()).abs().max().item<double>(), 1e-6);
}

TEST_F(BinaryCrossEntropyTest, ARowSeesTheOutputsOfItsOwnTaskOnly) {
  const UnitMap units = Units(HeadKind::kPerTask);
  LossRows rows;
  rows.targets = targets_;
  rows.tasks = tasks_;
  const at::Tensor gradient = torch::empty({6, 4});
  BinaryCrossEntropy(logits_, rows, units, {}, gradient);
  EXPECT_EQ(gradient[0].narrow(0, 0, 2).abs().sum().item<double>(), 0);
  EXPECT_EQ(gradient[1].narrow(0, 2, 2).abs().sum().item<double>(), 0);
  const at::Tensor own = (torch::sigmoid(logits_[1]) - torch::tensor({1.0f, 0.0f, 0.0f, 0.0f})) / 6;
  EXPECT_LT((gradient[1] - own).narrow(0, 0, 2).abs().max().item<double>(), 1e-6);
}

// A strategy stepped by hand, and nearest means computed by hand from its exemplars.
class NearestMeanTest : public testing::TestWithParam<std::string> {
 protected:
  NearestMeanTest()
      : clouds_(kWidth, 6, 4), rig_(Model()), strategy_(MakeStrategy(&rig_, Spec())) {}

  static StrategySpec Spec() {
    return {GetParam(), {{"memory_size", int64_t{40}}, {"candidates", int64_t{100}}}};
  }
  static ModelOptions Model() { return CloudModel(kWidth, GetParam(), Spec().parameters); }

  void Learn(const std::vector<int32_t>& classes, int steps) {
    for (int step = 0; step < steps; ++step) {
      Step(&rig_, strategy_.get(), clouds_.Next(Cycle(classes, 16)));
    }
  }

  at::Tensor Embed(const at::Tensor& features) const {
    at::Tensor hidden = features;
    const auto parameters = CloneParameters(rig_.arena);
    for (size_t i = 0; i + 2 < parameters.size(); i += 2) {
      hidden = torch::relu(F::linear(hidden, parameters[i], parameters[i + 1]));
    }
    return F::normalize(hidden.detach(), F::NormalizeFuncOptions().dim(1));
  }

  // Minus squared distances to the prototypes of the exemplars with the weights as they are.
  at::Tensor ExpectedScores(const at::Tensor& features) const {
    std::vector<std::vector<at::Tensor>> rows(rig_.units.size());
    for (size_t i = 0; i < strategy_->Members().size(); ++i) {
      const auto exemplar = *DecodeExemplar(strategy_->Payload(static_cast<int64_t>(i)), kWidth);
      rows[rig_.units.Find(exemplar.task, exemplar.class_index)].push_back(
          torch::tensor(exemplar.features));
    }
    std::vector<at::Tensor> prototypes;
    for (const auto& own : rows) {
      prototypes.push_back(
          F::normalize(Embed(torch::stack(own)).mean(0), F::NormalizeFuncOptions().dim(0)));
    }
    return -torch::cdist(Embed(features), torch::stack(prototypes)).square();
  }

  at::Tensor Served(const ForwardPass& pass, const at::Tensor& features) const {
    ForwardScratch scratch;
    const at::Tensor scores = torch::empty({features.size(0), rig_.units.size()});
    pass.Run(features.data_ptr<float>(), features.size(0), {}, &scratch,
             scores.data_ptr<float>());
    return scores;
  }

  Clouds clouds_;
  Rig rig_;
  std::unique_ptr<Strategy> strategy_;
};

TEST_P(NearestMeanTest, PrototypesFollowTheWeightsThatServeThem) {
  const at::Tensor probe = clouds_.Next(Cycle({0, 1, 2}, 20)).features;
  for (int round = 0; round < 3; ++round) {
    Learn({0, 1, 2}, 10);
    const auto inner = rig_.network->Bind(rig_.arena.flat().clone());
    const auto pass = strategy_->Serve(*inner);
    ASSERT_NE(pass, nullptr);
    const at::Tensor expected = ExpectedScores(probe);
    Learn({0, 1, 2}, 3);  // before the first row is asked: neither weights nor exemplars move
    EXPECT_LT((Served(*pass, probe) - expected).abs().max().item<double>(), 1e-4) << round;
  }
}

TEST_P(NearestMeanTest, ThreadsThatAskAtOnceGetTheSameAnswer) {
  Learn({0, 1, 2}, 10);
  const auto inner = rig_.network->Bind(rig_.arena.flat().clone());
  const auto pass = strategy_->Serve(*inner);
  const at::Tensor probe = clouds_.Next(Cycle({0, 1, 2}, 8)).features;
  std::vector<at::Tensor> answers(4);
  std::vector<std::thread> threads;
  for (at::Tensor& answer : answers) {
    threads.emplace_back([&] { answer = Served(*pass, probe); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const at::Tensor& answer : answers) EXPECT_TRUE(answer.equal(answers[0]));
}

TEST_P(NearestMeanTest, WithoutExemplarsTheHeadAnswers) {
  const auto inner = rig_.network->Bind(rig_.arena.flat());
  EXPECT_EQ(strategy_->Serve(*inner), nullptr);
}

TEST_P(NearestMeanTest, AClassThatReturnsIsHerdedAnewAndLearned) {
  auto learner = *MakeLearner(Model());
  uint64_t boundary = 1000000;
  const auto learn = [&](const std::vector<int32_t>& classes, int steps, int32_t task) {
    for (int step = 0; step < steps; ++step) {
      const auto report = learner->Train(clouds_.Next(Cycle(classes, 16), task).View());
      ASSERT_TRUE(report.ok()) << report.status();
    }
    ASSERT_TRUE(learner->MarkBoundary({task, task + 1, ++boundary}).ok());
  };
  learn({0, 1}, 2, 0);  // hardly seen
  learn({2, 3}, 60, 1);
  learn({0, 1, 4}, 60, 2);
  const auto snapshot = *learner->TakeSnapshot(1);
  EXPECT_GT(Accuracy(*snapshot, clouds_.Next(Cycle({0, 1, 2, 3, 4}, 400))), 0.9);
}

TEST_P(NearestMeanTest, PredictsMidTaskWithoutAnyBoundary) {
  auto learner = *MakeLearner(Model());
  for (int step = 0; step < 60; ++step) {
    ASSERT_TRUE(learner->Train(clouds_.Next(Cycle({0, 1, 2, 3}, 16)).View()).ok());
  }
  EXPECT_GT(Accuracy(**learner->TakeSnapshot(1), clouds_.Next(Cycle({0, 1, 2, 3}, 400))), 0.9);
}

INSTANTIATE_TEST_SUITE_P(Strategies, NearestMeanTest, testing::Values("ncm", "icarl"),
                         [](const auto& test) { return test.param; });

TEST(IcarlTest, OldOutputsFollowTheOldNetworkAndReturningOnesTheirLabels) {
  Clouds clouds(kWidth, 4, 5);
  Rig rig(CloudModel(kWidth, "icarl"));
  const auto strategy = MakeStrategy(&rig, {"icarl", {{"memory_size", int64_t{1}}}});
  for (int step = 0; step < 5; ++step) Step(&rig, strategy.get(), clouds.Next(Cycle({0, 1}, 8)));
  BoundaryReport report;
  ConsolidationSet none;
  none.features = torch::empty({0, kWidth});
  ASSERT_TRUE(strategy->Consolidate({}, none, *rig.context, &report).ok());

  // Right after the boundary the network still is the old one: only new outputs have a gradient.
  rig.Load(clouds.Next({2, 2, 0}).View());
  at::Tensor seen;
  auto observed = strategy->Observe(*rig.batch, *rig.context,
                                    [&](TrainingBatch& batch, StepContext& context) {
                                      const at::Tensor& logits = context.Forward(batch);
                                      context.LossAndBackward(batch, logits);
                                      seen = context.network().traces().back().output_gradient;
                                      Observation observation;
                                      observation.logits = context.KeepLogits(logits, 3);
                                      return absl::StatusOr<Observation>(observation);
                                    });
  ASSERT_TRUE(observed.ok()) << observed.status();
  EXPECT_GT(seen.select(1, 2).abs().min().item<double>(), 1e-3);  // new
  EXPECT_GT(seen.select(1, 0).abs().min().item<double>(), 1e-3);  // returned in this batch
  EXPECT_LT(seen.select(1, 1).abs().max().item<double>(), 1e-6);  // old
}

}  // namespace
}  // namespace engram::strategies
