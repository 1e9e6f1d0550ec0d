// What MAS does with its importance; the estimate is held to brute force beside the Fisher's.
#include "gtest/gtest.h"
#include "tests/unit/strategies_builtin/strategy_rig.h"

namespace engram::strategies {
namespace {

StrategySpec Spec(double lambda) { return {"mas", {{"lambda", lambda}}}; }

TEST(MasTest, ImportanceAddsUpOverTasksAndPullsToTheLatestWeightsWithoutAHalf) {
  const double lambda = 0.3;
  StrategyRig rig(RigModel(), Spec(lambda));
  at::Tensor sum;
  for (int32_t task = 0; task < 3; ++task) {
    for (uint64_t step = 0; step < 4; ++step) {
      rig.Step(Rows(5, {0, 1, 2}, 0, 50 * task + step));
    }
    const BoundaryReport report = rig.Boundary(task, Rows(5, {0, 1, 2, 1}, 0, 60 + task));
    ASSERT_EQ(report.importance.size(), 1u);
    EXPECT_EQ(report.importance[0].strategy, "mas");
    EXPECT_EQ(report.importance[0].examples, 4);
    sum = sum.defined() ? sum + Recorded(report) : Recorded(report);
    const at::Tensor anchor = rig.Compact(rig.rig.arena.flat());
    const auto move = rig.Step(Rows(5, {0, 1, 2}, 0, 90 + task));
    const at::Tensor weight = 0.1 * 2 * lambda * sum;
    const at::Tensor stepped = move.before - 0.1 * move.gradient;
    const at::Tensor expected = (stepped + weight * anchor) / (1 + weight);
    EXPECT_LT(Deviation(move.after, expected), 1e-5) << task;
  }
}

TEST(MasTest, NoLambdaDiverges) {
  for (const OptimizerKind optimizer : {OptimizerKind::kSgd, OptimizerKind::kAdam}) {
    StrategyRig rig(RigModel(optimizer), Spec(1e12));
    for (int32_t task = 0; task < 3; ++task) {
      for (uint64_t step = 0; step < 20; ++step) {
        rig.Step(Rows(5, {0, 1, 2, 2}, 0, 10 * task + step));
      }
      rig.Boundary(task, Rows(5, {0, 1, 2}, 0, 7));
    }
    EXPECT_LT(rig.rig.arena.flat().abs().max().item<float>(), 10);
  }
}

TEST(MasTest, LabelsDoNotMatter) {
  StrategyRig rig(RigModel(), Spec(1));
  rig.Step(Rows(5, {0, 1, 2}, 0, 1));
  Rows rows(5, {0, 1, 2, 0}, 0, 2);
  const at::Tensor importance = Recorded(rig.Boundary(0, rows));
  rows.classes = {2, 2, 2, 1};
  EXPECT_TRUE(at::equal(Recorded(rig.Boundary(0, rows)), importance));
}

}  // namespace
}  // namespace engram::strategies
