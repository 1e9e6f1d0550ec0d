// ewc and online_ewc under Adam: the proximal step holds at any lambda. And what each strategy with
// an anchor takes for a task's optimum.
#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <tuple>

#include "gtest/gtest.h"
#include "tests/unit/strategies_builtin/strategy_rig.h"

namespace engram::strategies {
namespace {

class EwcUnderAdamTest
    : public testing::TestWithParam<std::tuple<std::string, std::string, OptimizerKind>> {};

TEST_P(EwcUnderAdamTest, NoLambdaDivergesAndALargeOneHoldsWhatMatters) {
  const auto& [name, estimator, optimizer] = GetParam();
  double drift_before = std::numeric_limits<double>::infinity();
  for (const double lambda : {1.0, 1e5, 1e10}) {
    StrategyRig rig(RigModel(optimizer), {name, {{"lambda", lambda}, {"fisher", estimator}}});
    for (uint64_t step = 0; step < 40; ++step) rig.Step(Rows(5, {0, 1, 2, 1}, 0, step));
    const Rows examples(5, {0, 1, 2, 0, 1, 2}, 0, 77);
    const at::Tensor fisher = Recorded(rig.Boundary(0, examples));
    const at::Tensor anchor = rig.Compact(rig.rig.arena.flat());
    for (uint64_t step = 0; step < 60; ++step) rig.Step(Rows(5, {2, 0, 1, 0}, 0, 500 + step));
    const at::Tensor drift = (rig.Compact(rig.rig.arena.flat()) - anchor).abs() * (fisher > 1e-4);
    const double largest = drift.max().item<double>();
    EXPECT_TRUE(std::isfinite(largest));
    EXPECT_LT(largest, drift_before) << lambda;
    drift_before = largest;
  }
  EXPECT_LT(drift_before, 1e-4);
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, EwcUnderAdamTest,
    testing::Combine(testing::Values("ewc", "online_ewc"),
                     testing::Values("exact", "sampled", "empirical"),
                     testing::Values(OptimizerKind::kAdam, OptimizerKind::kAdamW)),
    [](const auto& param_info) {
      return std::get<0>(param_info.param) + "_" + std::get<1>(param_info.param) +
             (std::get<2>(param_info.param) == OptimizerKind::kAdam ? "_adam" : "_adamw");
    });

class AnchorTest : public testing::TestWithParam<std::string> {
 protected:
  // 500 steps and a boundary; the anchor that was recorded.
  at::Tensor Learn(StrategyRig* rig) {
    for (uint64_t step = 1; step <= 500; ++step) {
      const auto move = rig->Step(Rows(5, {0, 1, 2, 1}, 0, step));
      if (step % 16 != 0) continue;
      const double samples = static_cast<double>(step) / 16;
      const double rate = std::min(1.0, 1 / (0.1 * samples));
      mean_ = step == 16 ? move.after : mean_ + rate * (move.after - mean_);
    }
    const BoundaryReport report = rig->Boundary(0, Rows(5, {0, 1, 2, 0, 1, 2}, 0, 77));
    return StateReader::Open(report.importance.at(0).tensors)->GetTensor("anchor")->to(at::kDouble);
  }

  at::Tensor mean_;
};

TEST_P(AnchorTest, IsTheMeanOfTheTasksLatestStepsAndPulls) {
  StrategyRig rig(RigModel(), {GetParam(), {{"lambda", 1e12}}});
  const at::Tensor anchor = Learn(&rig);
  const at::Tensor last = rig.Compact(rig.rig.arena.flat());
  EXPECT_LT(Deviation(anchor, mean_), 1e-4);
  EXPECT_GT(Deviation(anchor, last), 1e-3);
  const auto move = rig.Step(Rows(5, {0, 1, 2, 1}, 0, 900));
  EXPECT_LT((move.after - anchor).abs().mean().item<double>(),
            0.2 * (last - anchor).abs().mean().item<double>());
}

TEST_P(AnchorTest, WithoutAShareIsTheLastWeights) {
  StrategyRig rig(RigModel(), {GetParam(), {{"anchor_share", 0.0}}});
  const at::Tensor anchor = Learn(&rig);
  EXPECT_TRUE(at::equal(anchor, rig.Compact(rig.rig.arena.flat())));
}

INSTANTIATE_TEST_SUITE_P(Strategies, AnchorTest, testing::Values("ewc", "online_ewc", "mas"));

}  // namespace
}  // namespace engram::strategies
