// Plasticity upkeep: each way against its rule, and the dormant units that it counts.
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "strategies/api/learner.h"
#include "strategies/core/state_archive.h"
#include "tests/unit/strategies_builtin/isolation_rig.h"
#include "tests/unit/strategies_core/small_stream.h"

namespace engram::strategies {
namespace {

ModelOptions Kept(absl::btree_map<std::string, ParameterValue> parameters) {
  ModelOptions options = SmallModel(6);
  options.strategies = {{"plasticity", std::move(parameters)}};
  return options;
}

void Learn(Learner* learner, SmallStream* stream, int steps) {
  for (int step = 0; step < steps; ++step) {
    ASSERT_TRUE(learner->Train(stream->Next({0, 1, 2, 0, 1, 2}).View()).ok());
  }
}

constexpr char kFirstLayer[] = "parameter/hidden0.weight";

TEST(PlasticityTest, ShrinkingKeepsAShareAndAddsAShareOfFreshWeights) {
  const auto learner = *MakeLearner(Kept({{"keep", 0.5}, {"noise", 0.25}}));
  SmallStream stream(6, 2);
  Learn(learner.get(), &stream, 10);
  const at::Tensor learned = Saved(*learner, kFirstLayer);
  ASSERT_TRUE(learner->MarkBoundary({0, 1, 1000}).ok());
  const at::Tensor fresh = (Saved(*learner, kFirstLayer) - 0.5 * learned) / 0.25;
  const double bound = 1 / std::sqrt(6.0);
  EXPECT_LE(fresh.abs().max().item<double>(), bound + 1e-5);
  EXPECT_GT(fresh.abs().max().item<double>(), 0.5 * bound);
  const at::Tensor after = Saved(*learner, kFirstLayer);
  ASSERT_TRUE(learner->MarkBoundary({1, 2, 1001}).ok());
  EXPECT_TRUE(Saved(*learner, kFirstLayer).equal(after));  // nothing was learned in between
}

TEST(PlasticityTest, L2InitHoldsTheFirstWeights) {
  ModelOptions options = Kept({{"method", std::string("l2_init")}, {"lambda", 1e5}});
  const auto held = *MakeLearner(options);
  const at::Tensor first = Saved(*held, kFirstLayer);
  SmallStream stream(6, 2);
  Learn(held.get(), &stream, 50);
  EXPECT_LT((Saved(*held, kFirstLayer) - first).abs().max().item<double>(), 1e-4);
}

TEST(PlasticityTest, AReplacedUnitDoesNotMoveTheFunctionAndStartsAfresh) {
  ModelOptions options = Kept({{"method", std::string("continual_backprop")},
                               {"replacement_rate", 1.0},
                               {"maturity", int64_t{5}}});
  options.hidden = {8};
  options.optimizer.learning_rate = 1e-6;
  const auto learner = *MakeLearner(options);
  SmallStream stream(6, 2);
  Learn(learner.get(), &stream, 4);
  EXPECT_GT(Saved(*learner, "parameter/head.weight").abs().sum(0).min().item<double>(), 0);
  Learn(learner.get(), &stream, 2);
  // All eight were due and old enough.
  EXPECT_LT(Saved(*learner, "parameter/head.weight").abs().max().item<double>(), 1e-4);
}

TEST(PlasticityTest, CountsDormantUnits) {
  const auto learner = *MakeLearner(Kept({}));
  SmallStream stream(6, 2);
  Learn(learner.get(), &stream, 5);
  const LearnerGauges gauges = learner->Gauges();
  ASSERT_TRUE(gauges.named.contains("dormant_units"));
  EXPECT_GE(gauges.named.at("dormant_units"), 0);
  EXPECT_LT(gauges.named.at("dormant_units"), 8 + 6);
}

}  // namespace
}  // namespace engram::strategies
