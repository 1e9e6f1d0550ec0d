// GPM: what a step orthogonal to past inputs leaves as it was.
#include <limits>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "strategies/core/input_subspace.h"
#include "strategies/core/path_integral.h"
#include "strategies/core/quadratic_penalty.h"
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

// [out, inputs + 1] of a trace's weight and bias.
at::Tensor GradientOf(const LayerTrace& trace) {
  const at::Tensor ones =
      trace.bias_input.defined() ? trace.bias_input : at::ones({trace.input.size(0), 1});
  const at::Tensor inputs = at::cat({trace.input, ones}, 1).to(at::kDouble);
  return at::mm(trace.output_gradient.t().to(at::kDouble), inputs);
}

TEST_F(InputSubspaceTest, RemovesItsSpanAlikeFromAGradientAndFromItsTrace) {
  InputSubspace space(20, 64), other(20, 64);
  space.Extend(torch::randn({6, 20}), 1.0);
  other.Extend(torch::randn({4, 20}), 1.0);
  using Case = std::pair<int64_t, double>;
  for (const auto& [rows, share] : {Case{3, 1}, Case{3, 0.3}, Case{40, 1}, Case{40, 0.3}}) {
    SCOPED_TRACE(absl::StrCat(rows, " rows, ", share, " of them not zero"));
    LayerTrace trace;
    trace.input = torch::randn({rows, 20}) * (torch::rand({rows, 20}) < share);
    trace.output_gradient = torch::randn({rows, 5});
    const at::Tensor input = trace.input.clone();
    const at::Tensor gradient = GradientOf(trace);
    at::Tensor expected = gradient - at::mm(at::mm(gradient, Basis(space).t()), Basis(space));
    const at::Tensor weight = gradient.narrow(1, 0, 20).to(at::kFloat);
    const at::Tensor bias = gradient.narrow(1, 20, 1).to(at::kFloat);
    space.RemoveFrom(weight, bias);
    EXPECT_LT(LargestGap(at::cat({weight, bias}, 1).to(at::kDouble), expected), 1e-4);
    const LayerTrace before = trace;
    space.RemoveFrom(&trace);
    EXPECT_LT(LargestGap(GradientOf(trace), expected), 1e-4);
    EXPECT_TRUE(before.input.equal(input));  // the network's own tensor is left alone
    other.RemoveFrom(&trace);
    expected = expected - at::mm(at::mm(expected, Basis(other).t()), Basis(other));
    EXPECT_LT(LargestGap(GradientOf(trace), expected), 1e-4);
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

struct UpdateCase {
  std::string name;
  OptimizerKind kind = OptimizerKind::kSgd;
  double momentum = 0;
  double weight_decay = 0;
  double clip_norm = 0;
  int copies = 1;  // of the next task's rows in a batch
};

class GpmUpdateTest : public GpmTest, public testing::WithParamInterface<UpdateCase> {};

// Three layers, with a pull and a path beside: from the projected rows of the traces as from the
// gradient that another transform had before.
TEST_P(GpmUpdateTest, ProjectsTheRowsAsItWouldTheGradient) {
  ModelOptions model = ProjectionModel();
  model.optimizer.kind = GetParam().kind;
  model.optimizer.momentum = GetParam().momentum;
  model.optimizer.weight_decay = GetParam().weight_decay;
  model.optimizer.clip_norm = GetParam().clip_norm;
  std::vector<int32_t> classes;
  for (int copy = 0; copy < GetParam().copies; ++copy) classes.insert(classes.end(), {1, 2, 0, 1});
  const LabelledRows next(6, classes, 1, 2);
  ProjectionRig rows(model, kWholeSpan), gradient(model, kWholeSpan);
  PathIntegral rows_path(&rows.rig.arena, "path"), gradient_path(&gradient.rig.arena, "path");
  QuadraticPenalty rows_pull(&rows.rig.arena, "pull"), gradient_pull(&gradient.rig.arena, "pull");
  const auto prepare = [&](ProjectionRig* rig, QuadraticPenalty* pull) {
    rig->Learn(past_);
    rig->Boundary(past_);
    const at::Tensor importance = at::zeros({rig->rig.arena.size()});
    rig->rig.arena.View(importance, 0).fill_(1);
    pull->AddOnline(importance, 0);
  };
  prepare(&rows, &rows_pull);
  prepare(&gradient, &gradient_pull);
  ASSERT_LT(LargestGap(rows.Weights(), gradient.Weights()), 1e-6);
  const at::Tensor before = rows.Weights();
  for (int step = 0; step < 3; ++step) {
    rows_pull.Join(0.5, rows.rig.context.get());
    rows.rig.context->AddPath(&rows_path);
    rows.Learn(next);
    gradient_pull.Join(0.5, gradient.rig.context.get());
    gradient.rig.context->AddPath(&gradient_path);
    gradient.rig.context->AddTransform([](const at::Tensor&) {});
    gradient.Learn(next);
  }
  EXPECT_GT(LargestGap(rows.Weights(), before), 1e-3);
  EXPECT_LT(LargestGap(rows.Weights(), gradient.Weights()), 1e-5);
  const double largest = gradient_path.values().abs().max().item<double>();
  EXPECT_LT(LargestGap(rows_path.values(), gradient_path.values()), 1e-4 * largest);
}

INSTANTIATE_TEST_SUITE_P(
    Updates, GpmUpdateTest,
    testing::Values(UpdateCase{"sgd"}, UpdateCase{"sgd_wide", OptimizerKind::kSgd, 0, 0, 0, 12},
                    UpdateCase{"sgd_decay", OptimizerKind::kSgd, 0, 0.01},
                    UpdateCase{"sgd_clip", OptimizerKind::kSgd, 0, 0, 0.1},
                    UpdateCase{"momentum", OptimizerKind::kSgd, 0.9, 0.01},
                    UpdateCase{"adam", OptimizerKind::kAdam, 0, 0.01},
                    UpdateCase{"adamw", OptimizerKind::kAdamW, 0, 0.01}),
    [](const auto& test) { return test.param.name; });

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
