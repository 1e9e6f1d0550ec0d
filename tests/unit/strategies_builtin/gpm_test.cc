// GPM: what a step orthogonal to past inputs leaves as it was.
#include <limits>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "strategies/core/input_subspace.h"
#include "tests/unit/strategies_builtin/projection_rig.h"

namespace engram::strategies {
namespace {

at::Tensor WithOnes(const at::Tensor& rows) {
  return at::cat({rows, at::ones({rows.size(0), 1})}, 1).to(at::kDouble);
}

at::Tensor Basis(const InputSubspace& space) {
  return at::cat({space.weights(), space.offsets()}, 1).to(at::kDouble);
}

// Share of the rows' squared length inside the first `rank` directions.
double ShareInside(const at::Tensor& rows, const at::Tensor& basis, int64_t rank) {
  const at::Tensor inside = at::mm(WithOnes(rows), basis.narrow(0, 0, rank).t());
  return (inside.square().sum() / WithOnes(rows).square().sum()).item<double>();
}

class InputSubspaceTest : public testing::Test {
 protected:
  InputSubspaceTest() { torch::manual_seed(6); }
};

TEST_F(InputSubspaceTest, TakesTheFewestOrthonormalDirectionsThatHoldTheEnergy) {
  InputSubspace space(20, 64);
  const at::Tensor first = torch::randn({30, 20}) * torch::linspace(0.1, 3, 20);
  space.Extend(first, 0.9);
  const int64_t rank = space.rank();
  ASSERT_GT(rank, 1);
  ASSERT_LT(rank, 21);
  EXPECT_GE(ShareInside(first, Basis(space), rank), 0.9);
  EXPECT_LT(ShareInside(first, Basis(space), rank - 1), 0.9);
  const at::Tensor second = torch::randn({30, 20});
  space.Extend(second, 0.9);
  EXPECT_GT(space.rank(), rank);
  EXPECT_GE(ShareInside(second, Basis(space), space.rank()), 0.9);
  EXPECT_GE(ShareInside(first, Basis(space), rank), 0.9);  // the old directions stay
  const at::Tensor products = at::mm(Basis(space), Basis(space).t());
  EXPECT_LT(LargestGap(products, at::eye(space.rank(), at::kDouble)), 1e-5);
}

TEST_F(InputSubspaceTest, WhatItHoldsAlreadyAddsNothing) {
  InputSubspace space(20, 64);
  const at::Tensor rows = torch::randn({5, 20});
  space.Extend(rows, 0.999999);
  EXPECT_EQ(space.rank(), 5);
  space.Extend(rows * 2 - 1, 0.99);  // other multiples of the same rows, but not of (row, 1)
  EXPECT_LE(space.rank(), 6);
  const int64_t rank = space.rank();
  space.Extend(rows, 0.99);
  EXPECT_EQ(space.rank(), rank);
}

TEST_F(InputSubspaceTest, NeverExceedsItsBoundAndIgnoresWhatIsNotFinite) {
  InputSubspace space(20, 3);
  at::Tensor broken = torch::randn({4, 20});
  broken[2][7] = std::numeric_limits<float>::quiet_NaN();
  space.Extend(broken, 1.0);
  EXPECT_EQ(space.rank(), 0);
  space.Extend(torch::randn({30, 20}), 1.0);
  space.Extend(torch::randn({30, 20}), 1.0);
  EXPECT_EQ(space.rank(), 3);
  InputSubspace narrow(2, 100);
  narrow.Extend(torch::randn({30, 2}), 1.0);
  EXPECT_EQ(narrow.rank(), 3);  // two inputs and the bias
}

TEST_F(InputSubspaceTest, RemovesItsSpanAlikeFromAGradientAndFromItsTrace) {
  InputSubspace space(20, 64);
  space.Extend(torch::randn({6, 20}), 1.0);
  for (const int64_t rows : {3, 40}) {
    LayerTrace trace;
    trace.input = torch::randn({rows, 20});
    trace.output_gradient = torch::randn({rows, 5});
    const at::Tensor weight = at::mm(trace.output_gradient.t(), trace.input);
    const at::Tensor bias = trace.output_gradient.sum(0).unsqueeze(1).contiguous();
    const at::Tensor gradient = at::cat({weight, bias}, 1).to(at::kDouble);
    const at::Tensor expected = gradient - at::mm(at::mm(gradient, Basis(space).t()), Basis(space));
    const at::Tensor weight_2 = weight.clone(), bias_2 = bias.clone();
    space.RemoveFrom(weight, bias);
    space.RemoveFrom(trace, weight_2, bias_2);
    EXPECT_LT(LargestGap(at::cat({weight, bias}, 1).to(at::kDouble), expected), 1e-4);
    EXPECT_LT(LargestGap(at::cat({weight_2, bias_2}, 1).to(at::kDouble), expected), 1e-4);
  }
}

TEST_F(InputSubspaceTest, IsRestoredBitForBitAndRefusesAnotherWidth) {
  InputSubspace space(20, 8);
  space.Extend(torch::randn({6, 20}), 1.0);
  StateWriter writer;
  space.SaveState("layer", &writer);
  const std::string bytes = writer.Finish();
  const auto reader = StateReader::Open(bytes);
  InputSubspace same(20, 8), narrower(19, 8), smaller(20, 4);
  ASSERT_TRUE(same.LoadState("layer", *reader).ok());
  EXPECT_TRUE(Basis(same).equal(Basis(space)));
  EXPECT_EQ(narrower.LoadState("layer", *reader).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(smaller.LoadState("layer", *reader).code(), absl::StatusCode::kFailedPrecondition);
}

const StrategySpec kWholeSpan = {"gpm", {{"energy", 1.0}}};

class GpmTest : public testing::Test {
 protected:
  LabelledRows past_{6, {0, 1, 2}, 0, 1};
  LabelledRows next_{6, {1, 2, 0, 1, 2, 0, 1, 2}, 1, 2};

  // The outputs of every layer for the past rows.
  static std::vector<at::Tensor> LayerOutputs(ProjectionRig* rig, const LabelledRows& rows) {
    std::vector<at::Tensor> outputs;
    rig->rig.network->Forward(rows.Features());
    for (const LayerTrace& trace : rig->rig.network->traces()) {
      outputs.push_back(at::mm(trace.input, rig->rig.arena.View(trace.weight).t()) +
                        rig->rig.arena.View(trace.bias).t());
    }
    return outputs;
  }

  void ExpectPastKept(ProjectionRig* rig) {
    rig->Learn(past_);
    rig->Boundary(past_);
    const std::vector<at::Tensor> before = LayerOutputs(rig, past_);
    const at::Tensor weights = rig->Weights();
    for (int step = 0; step < 30; ++step) rig->Learn(next_);
    EXPECT_GT(LargestGap(rig->Weights(), weights), 0.05);
    const std::vector<at::Tensor> after = LayerOutputs(rig, past_);
    for (size_t layer = 0; layer < before.size(); ++layer) {
      EXPECT_LT(LargestGap(before[layer], after[layer]), 1e-4) << layer;
    }
  }
};

TEST_F(GpmTest, NoLayerAnswersOtherwiseToTheInputsOfThePast) {
  ProjectionRig rig(ProjectionModel(), kWholeSpan);
  ExpectPastKept(&rig);
}

// Rank 3 of 7 at the input: what is learned goes where the past has nothing.
TEST_F(GpmTest, TheNextTaskIsStillLearned) {
  ProjectionRig rig(ProjectionModel(), kWholeSpan);
  rig.Learn(past_);
  rig.Boundary(past_);
  const double before = rig.Learn(next_).loss;
  for (int step = 0; step < 100; ++step) rig.Learn(next_);
  EXPECT_LT(rig.Learn(next_).loss, 0.9 * before);
}

TEST_F(GpmTest, BehindAnotherTransformTheGradientItselfIsProjected) {
  ProjectionRig plain(ProjectionModel(), kWholeSpan), behind(ProjectionModel(), kWholeSpan);
  for (ProjectionRig* rig : {&plain, &behind}) {
    rig->Learn(past_);
    rig->Boundary(past_);
  }
  plain.Learn(next_);
  behind.rig.context->AddTransform([](const at::Tensor&) {});
  behind.Learn(next_);
  EXPECT_LT(LargestGap(plain.Weights(), behind.Weights()), 1e-6);
}

TEST_F(GpmTest, HeadsOfTasksAreNotProjected) {
  ModelOptions model = ProjectionModel();
  model.head.kind = HeadKind::kPerTask;
  ProjectionRig rig(model, kWholeSpan);
  rig.Learn(past_);
  rig.Boundary(past_);
  rig.rig.Load(next_.View());
  const at::Tensor before = rig.rig.arena.View(4).clone();  // units of both tasks
  for (int step = 0; step < 5; ++step) rig.Learn(next_);
  const at::Tensor after = rig.rig.arena.View(4);
  EXPECT_TRUE(after.narrow(0, 0, 3).equal(before.narrow(0, 0, 3)));
  EXPECT_GT(LargestGap(after.narrow(0, 3, 3), before.narrow(0, 3, 3)), 1e-3);
}

}  // namespace
}  // namespace engram::strategies
