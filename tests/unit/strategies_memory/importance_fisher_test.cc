// Oracles of the Fisher estimates: closed form, brute force, invariances.
#include "strategies/core/importance_fisher.h"

#include <cmath>
#include <limits>
#include <vector>

#include "gtest/gtest.h"
#include "tests/unit/strategies_memory/fisher_rig.h"

namespace engram::strategies {
namespace {

// C = 2 logistic regression: p(y|x) depends on w_1 - w_0 alone and F_{c,i} = E p(1-p) x_i^2 for
// both rows of W; the bias is the weight of a constant 1.
TEST(ExactFisherTest, IsTheClosedFormOfLogisticRegression) {
  FisherRig rig(RigOptions(4, {}, 2));
  const RandomExamples examples(rig, 40, 4, 17);
  const auto fisher = rig.Parts(rig.Estimate(FisherEstimator::kExact, examples.set()));
  const auto parameters = rig.Parts(rig.arena().flat());
  const at::Tensor x = examples.features.to(at::kDouble);
  const at::Tensor logits = at::matmul(x, parameters[0].t()) + parameters[1].t();
  const at::Tensor p = at::sigmoid(logits.select(1, 1) - logits.select(1, 0));
  const at::Tensor variance = (p * (1 - p)).unsqueeze(1);
  const at::Tensor row = (variance * x.square()).mean(0, true);
  const at::Tensor bias = variance.mean(0, true);
  const Deviation deviation = Compare(fisher, {at::cat({row, row}), at::cat({bias, bias})});
  EXPECT_LT(deviation.of_largest, 1e-6);
  EXPECT_LT(deviation.elementwise, 1e-6);
}

TEST(ExactFisherTest, EqualsBruteForceAutogradOnATwoLayerNetwork) {
  FisherRig rig(RigOptions(6, {8, 7}, 4));
  const RandomExamples examples(rig, 50, 6, 18);
  const auto fisher = rig.Parts(rig.Estimate(FisherEstimator::kExact, examples.set()));
  const Deviation deviation =
      Compare(fisher, BruteForceFisher(rig, examples, BruteLabels::kEveryClass));
  EXPECT_LT(deviation.of_largest, 1e-6);
  EXPECT_LT(deviation.elementwise, 1e-6);
}

TEST(EmpiricalFisherTest, EqualsBruteForceAtTheLabels) {
  FisherRig rig(RigOptions(6, {8}, 4));
  const RandomExamples examples(rig, 50, 6, 19);
  const auto fisher = rig.Parts(rig.Estimate(FisherEstimator::kEmpirical, examples.set()));
  const Deviation deviation =
      Compare(fisher, BruteForceFisher(rig, examples, BruteLabels::kTarget));
  EXPECT_LT(deviation.of_largest, 1e-6);
  EXPECT_LT(deviation.elementwise, 1e-6);
}

// A mean of 4000 copies' draws is the exact expectation up to its standard error.
TEST(SampledFisherTest, ConvergesToTheExactOne) {
  FisherRig rig(RigOptions(3, {}, 3));
  RandomExamples examples(rig, 2, 3, 20);
  examples.features = examples.features.repeat({4000, 1});
  examples.targets.assign(8000, 0);
  examples.tasks.assign(8000, 0);
  const auto sampled = rig.Parts(rig.Estimate(FisherEstimator::kSampled, examples.set()));
  const auto exact = rig.Parts(rig.Estimate(FisherEstimator::kExact, examples.set()));
  EXPECT_LT(Compare(sampled, exact).of_largest, 0.05);
  EXPECT_GT(Compare(sampled, exact).of_largest, 0);
}

TEST(FisherTest, DoesNotDependOnTheChunkSize) {
  for (const FisherEstimator estimator : {FisherEstimator::kExact, FisherEstimator::kEmpirical}) {
    FisherRig rig(RigOptions(20, {32, 16}, 5));
    const RandomExamples examples(rig, 203, 20, 21);
    const auto whole = rig.Parts(rig.Estimate(estimator, examples.set(), 1000));
    for (const int64_t chunk_rows : {1, 7, 32, 128}) {
      const Deviation deviation =
          Compare(rig.Parts(rig.Estimate(estimator, examples.set(), chunk_rows)), whole);
      EXPECT_LT(deviation.of_largest, 1e-6) << chunk_rows;
      EXPECT_LT(deviation.elementwise, 1e-6) << chunk_rows;
    }
  }
}

TEST(FisherTest, DoesNotChangeWhenEveryExampleIsThereTwice) {
  FisherRig rig(RigOptions(6, {8}, 4));
  RandomExamples examples(rig, 60, 6, 22);
  const auto once = rig.Parts(rig.Estimate(FisherEstimator::kExact, examples.set()));
  examples.features = at::cat({examples.features, examples.features});
  examples.targets.insert(examples.targets.end(), examples.targets.begin(),
                          examples.targets.begin() + 60);
  examples.tasks.resize(120, 0);
  const auto twice = rig.Parts(rig.Estimate(FisherEstimator::kExact, examples.set()));
  const Deviation deviation = Compare(twice, once);
  EXPECT_LT(deviation.of_largest, 1e-6);
  EXPECT_LT(deviation.elementwise, 1e-6);
}

TEST(FisherTest, OnlyTheSampledOneDrawsOneNumberAnExample) {
  FisherRig rig(RigOptions(6, {8}, 4));
  const RandomExamples examples(rig, 30, 6, 23);
  const Generator::State before = rig.generator().state();
  rig.Estimate(FisherEstimator::kExact, examples.set());
  EXPECT_EQ(rig.generator().state(), before);
  rig.Estimate(FisherEstimator::kEmpirical, examples.set());
  EXPECT_EQ(rig.generator().state(), before);
  rig.Estimate(FisherEstimator::kSampled, examples.set(), 7);
  Generator expected(0);
  expected.set_state(before);
  for (int i = 0; i < 30; ++i) expected.Uniform();
  EXPECT_EQ(rig.generator().state(), expected.state());
}

TEST(FisherTest, LeavesTheParametersAlone) {
  FisherRig rig(RigOptions(6, {8}, 4));
  const at::Tensor before = rig.arena().flat().clone();
  rig.Estimate(FisherEstimator::kExact, RandomExamples(rig, 30, 6, 24).set());
  EXPECT_TRUE(at::equal(before, rig.arena().flat()));
}

TEST(FisherTest, PerTaskHeadsSeeOnlyTheirOwnUnits) {
  FisherRig rig(RigOptions(6, {8}, 0).Head(HeadKind::kPerTask));
  rig.Admit({0, 0, 1, 1, 1}, {0, 1, 2, 3, 4});
  const RandomExamples examples(rig, 40, 6, 25, /*task=*/1);
  const auto fisher = rig.Parts(rig.Estimate(FisherEstimator::kExact, examples.set()));
  const Deviation deviation =
      Compare(fisher, BruteForceFisher(rig, examples, BruteLabels::kEveryClass));
  EXPECT_LT(deviation.of_largest, 1e-6);
  EXPECT_LT(deviation.elementwise, 1e-6);
  for (const int64_t unit : rig.units().UnitsOf(0)) {
    EXPECT_EQ(fisher[2][unit].abs().max().item<double>(), 0);
    EXPECT_EQ(fisher[3][unit].item<double>(), 0);
  }
}

TEST(FisherTest, UnusedRoomOfAGrowingHeadHasNoImportance) {
  FisherRig rig(RigOptions(4, {8}, 0).Head(HeadKind::kGrowing));
  rig.Admit({0, 0, 0}, {0, 1, 2});
  const at::Tensor fisher =
      rig.Estimate(FisherEstimator::kExact, RandomExamples(rig, 30, 4, 26).set());
  at::Tensor outside = fisher.clone();
  for (size_t id = 0; id < rig.arena().slots().size(); ++id) {
    rig.arena().View(outside, static_cast<ParameterId>(id)).zero_();
  }
  EXPECT_EQ(outside.abs().max().item<float>(), 0);
  EXPECT_GT(fisher.max().item<float>(), 0);
}

TEST(FisherTest, NoExampleGivesZeroEverywhere) {
  FisherRig rig(RigOptions(4, {8}, 3));
  const at::Tensor fisher =
      rig.Estimate(FisherEstimator::kExact, RandomExamples(rig, 0, 4, 27).set());
  EXPECT_EQ(fisher.abs().max().item<float>(), 0);
}

TEST(FisherTest, ExamplesWithNonFiniteOutputsAreLeftOut) {
  FisherRig rig(RigOptions(4, {8}, 3));
  RandomExamples examples(rig, 20, 4, 28);
  const auto clean = rig.Parts(rig.Estimate(FisherEstimator::kExact, examples.set()));
  examples.features = at::cat({examples.features, at::full({1, 4}, 3e38f)});
  examples.targets.push_back(0);
  examples.tasks.push_back(0);
  const auto fisher =
      rig.Parts(rig.Estimate(FisherEstimator::kExact, examples.set(), kImportanceChunkRows, 20));
  const Deviation deviation = Compare(fisher, clean);
  EXPECT_LT(deviation.of_largest, 1e-6);
}

}  // namespace
}  // namespace engram::strategies
