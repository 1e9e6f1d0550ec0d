// ewc and online_ewc under Adam: the proximal step holds at any lambda.
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

}  // namespace
}  // namespace engram::strategies
