// Synaptic intelligence against its path integral by hand, in double.
#include <limits>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/unit/strategies_builtin/strategy_rig.h"

namespace engram::strategies {
namespace {

constexpr double kXi = 0.1;

StrategySpec Spec(double c, const std::string& gradient = "task", bool relu = false) {
  return {"si", {{"c", c}, {"xi", kXi}, {"path_gradient", gradient}, {"relu", relu}}};
}

struct Case {
  std::string name;
  OptimizerKind optimizer;
  double momentum;
  std::string gradient;
};

class SiPathTest : public testing::TestWithParam<Case> {};

// Two tasks, the second with a class of its own: its output begins where it was born.
TEST_P(SiPathTest, ImportanceIsThePathIntegralOverTheSquaredDistance) {
  const double c = 3;
  StrategyRig rig(RigModel(GetParam().optimizer, GetParam().momentum),
                  Spec(c, GetParam().gradient));
  const std::vector<std::vector<int32_t>> classes = {{0, 1, 0, 1, 1}, {1, 2, 0, 2, 2}};
  at::Tensor importance, anchor;  // of the penalty, by hand
  for (int32_t task = 0; task < 2; ++task) {
    at::Tensor omega, start;
    for (uint64_t step = 0; step < 12; ++step) {
      const auto move = rig.Step(Rows(5, classes[task], 0, 100 * task + step));
      at::Tensor gradient = move.gradient;
      if (step == 0) {
        start = move.before;
        omega = at::zeros_like(start);
        if (task == 1) {  // the head grew: new rows carry nothing, their anchor is their birth
          const int64_t head = 7 * 5 + 7, old_rows = 2;
          const auto grown = [&](const at::Tensor& old, const at::Tensor& born) {
            const int64_t weights = head + 7 * old_rows;
            return at::cat({old.slice(0, 0, weights), born.slice(0, weights, weights + 7),
                            old.slice(0, weights), born.slice(0, -1)});
          };
          importance = grown(importance, at::zeros_like(start));
          anchor = grown(anchor, start);
        }
      }
      if (task == 1 && GetParam().gradient == "total") {
        gradient = gradient + 2 * c * importance * (move.before - anchor);
      }
      omega -= gradient * move.change();
      if (step == 11) {
        const at::Tensor expected = omega / ((move.after - start).square() + kXi);
        EXPECT_LT(Deviation(Recorded(rig.Boundary(task)), expected), 2e-4) << task;
        importance = expected.clamp_min(0);
        anchor = move.after;
      }
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Optimizers, SiPathTest,
    testing::Values(Case{"Sgd", OptimizerKind::kSgd, 0, "task"},
                    Case{"SgdTotal", OptimizerKind::kSgd, 0, "total"},
                    Case{"Momentum", OptimizerKind::kSgd, 0.9, "task"},
                    Case{"Adam", OptimizerKind::kAdam, 0, "task"},
                    Case{"AdamTotal", OptimizerKind::kAdam, 0, "total"}),
    [](const auto& param_info) { return param_info.param.name; });

// Zenke et al. eq. 3: with small steps the credits of all weights add up to the loss that fell.
TEST(SiTest, TheCreditIsTheFallOfTheLoss) {
  ModelOptions model = RigModel();
  model.optimizer.learning_rate = 0.005;
  StrategyRig rig(model, Spec(0));
  const Rows rows(5, {0, 1, 2, 0, 1, 2, 2, 0}, 0, 3);
  const auto loss = [&] {
    rig.rig.Load(rows.View());
    return ReferenceLoss(CloneParameters(rig.rig.arena), *rig.rig.batch).item<double>();
  };
  const double before = loss();
  const auto first = rig.Step(rows);
  for (int step = 0; step < 600; ++step) rig.Step(rows);
  const double fall = before - loss();
  const at::Tensor distance = (rig.Compact(rig.rig.arena.flat()) - first.before).square();
  const at::Tensor credit = Recorded(rig.Boundary(0)) * (distance + kXi);
  EXPECT_GT(fall, 0.1);
  EXPECT_NEAR(credit.sum().item<double>(), fall, 0.02 * fall);
}

TEST(SiTest, ATaskWithoutExamplesLeavesNoRecordAndNoTerm) {
  StrategyRig rig(RigModel(), Spec(1));
  EXPECT_TRUE(rig.Boundary(0).importance.empty());
  rig.Step(Rows(5, {0, 1}, 0, 1));
  EXPECT_EQ(rig.Boundary(0).importance.size(), 1u);
  EXPECT_TRUE(rig.Boundary(1).importance.empty());
  LearnerGauges gauges;
  rig.strategy->AddGauges(&gauges);
  EXPECT_EQ(gauges.importance_snapshots, 1);
}

TEST(SiTest, ASkippedStepLeavesThePathAlone) {
  StrategyRig rig(RigModel(), Spec(1));
  StrategyRig twin(RigModel(), Spec(1));
  for (StrategyRig* each : {&rig, &twin}) each->Step(Rows(5, {0, 1, 1}, 0, 1));
  Rows hostile(5, {0, 1}, 0, 2);
  hostile.features[3] = std::numeric_limits<float>::quiet_NaN();
  rig.rig.Load(hostile.View());
  const auto plain = [](TrainingBatch& b, StepContext& c) { return c.PlainStep(b); };
  const auto seen = rig.strategy->Observe(*rig.rig.batch, *rig.rig.context, plain);
  rig.rig.context->ClearHooks();
  ASSERT_TRUE(seen.ok() && seen->skipped);
  const BoundaryReport report = rig.Boundary(0), other = twin.Boundary(0);
  EXPECT_EQ(report.importance[0].examples, other.importance[0].examples);
  EXPECT_TRUE(at::equal(Recorded(report), Recorded(other)));
}

TEST(SiTest, NoStrengthDiverges) {
  for (const OptimizerKind optimizer : {OptimizerKind::kSgd, OptimizerKind::kAdam}) {
    StrategyRig rig(RigModel(optimizer), Spec(1e12, "total"));
    for (int32_t task = 0; task < 3; ++task) {
      for (uint64_t step = 0; step < 20; ++step) {
        rig.Step(Rows(5, {0, 1, 2, 2}, 0, 10 * task + step));
      }
      rig.Boundary(task);
    }
    EXPECT_LT(rig.rig.arena.flat().abs().max().item<float>(), 10);
  }
}

TEST(SiTest, TheOptimizerIsResetOnlyWhenAskedFor) {
  for (const bool reset : {false, true}) {
    StrategySpec spec = Spec(1);
    spec.parameters["reset_optimizer"] = reset;
    StrategyRig rig(RigModel(OptimizerKind::kAdam), spec);
    rig.Step(Rows(5, {0, 1}, 0, 1));
    rig.Boundary(0);
    EXPECT_EQ(rig.rig.optimizer->steps(), reset ? 0 : 1);
  }
}

}  // namespace
}  // namespace engram::strategies
