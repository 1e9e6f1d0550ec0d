// A-GEM and GEM around a real step: what the weights do to the loss over past exemplars.
#include <cmath>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "strategies/api/learner.h"
#include "tests/unit/strategies_builtin/projection_rig.h"

namespace engram::strategies {
namespace {

const StrategySpec kAGem = {"a_gem", {{"memory_per_task", int64_t{16}}, {"tasks_max", int64_t{4}}}};

StrategySpec GemSpec(double strength) {
  return {"gem",
          {{"memory_per_task", int64_t{16}},
           {"tasks_max", int64_t{4}},
           {"memory_strength", strength}}};
}

class AGemTest : public testing::Test {
 protected:
  // The same features under other labels: learning them is forgetting the first task.
  LabelledRows first_{6, {0, 1, 2, 0, 1, 2, 0, 1}, 0, 1};
  LabelledRows against_{6, {1, 2, 0, 1, 2, 0, 1, 2}, 1, 1};
  LabelledRows second_{6, {2, 2, 0, 1, 0, 0, 1, 1}, 1, 2};

  // Several steps on a task and its end.
  static void LearnTask(ProjectionRig* rig, const LabelledRows& rows) {
    LabelledRows once = rows;
    for (int step = 0; step < 20; ++step) {
      rig->rig.Load(once.View());
      ASSERT_FALSE(rig->rig.context->PlainStep(*rig->rig.batch)->skipped);
    }
    rig->Learn(once);
    rig->Boundary(once);
  }
};

TEST_F(AGemTest, TheFirstTaskIsLearnedAsIfThereWereNoStrategy) {
  for (const StrategySpec& spec : {kAGem, GemSpec(0.5)}) {
    ProjectionRig with(ProjectionModel(), spec);
    Rig without(ProjectionModel());
    for (const LabelledRows& rows : {first_, second_}) {
      with.Learn(rows);
      without.Load(rows.View());
      ASSERT_FALSE(without.context->PlainStep(*without.batch)->skipped);
    }
    EXPECT_TRUE(with.rig.arena.flat().equal(without.arena.flat()));
  }
}

TEST_F(AGemTest, AConflictingStepIsTheProjectedOne) {
  ProjectionRig rig(ProjectionModel(), kAGem);
  LearnTask(&rig, first_);
  const at::Tensor past = rig.GradientOver(first_), stream = rig.GradientOver(against_);
  ASSERT_LT(Dot(past, stream), 0);
  const at::Tensor before = rig.Weights();
  rig.Learn(against_);
  const at::Tensor expected = stream - Dot(stream, past) / Dot(past, past) * past;
  EXPECT_LT(LargestGap(before - 0.1 * expected, rig.Weights()), 1e-6);
  EXPECT_NEAR(Dot(rig.Weights() - before, past), 0, 1e-6);
}

TEST_F(AGemTest, AnAgreeingStepIsThePlainOne) {
  ProjectionRig rig(ProjectionModel(), kAGem);
  LearnTask(&rig, first_);
  const at::Tensor before = rig.Weights(), stream = rig.GradientOver(first_);
  LabelledRows again = first_;
  for (uint64_t& sequence : again.sequences) sequence += 50;
  rig.Learn(again);
  EXPECT_LT(LargestGap(before - 0.1 * stream, rig.Weights()), 1e-6);
}

TEST_F(AGemTest, AProjectedUpdateIncludesWeightDecay) {
  ModelOptions model = ProjectionModel();
  model.optimizer.weight_decay = 0.2;
  for (const char* project : {"gradient", "update"}) {
    StrategySpec spec = kAGem;
    spec.parameters["project"] = std::string(project);
    ProjectionRig rig(model, spec);
    LearnTask(&rig, first_);
    const at::Tensor before = rig.Weights(), past = rig.GradientOver(first_);
    at::Tensor expected = rig.GradientOver(against_);
    const at::Tensor decay = 0.2 * before;
    const bool is_update = spec.parameters["project"] == ParameterValue(std::string("update"));
    if (is_update) expected += decay;
    ASSERT_LT(Dot(expected, past), 0);
    expected -= Dot(expected, past) / Dot(past, past) * past;
    if (!is_update) expected += decay;
    rig.Learn(against_);
    EXPECT_LT(LargestGap(before - 0.1 * expected, rig.Weights()), 1e-6) << project;
  }
}

TEST_F(AGemTest, AnUpdateIsProjectedUnderSgdWithoutMomentumOnly) {
  ModelOptions model = ProjectionModel();
  model.strategies = {{"a_gem", {{"project", std::string("update")}}}};
  EXPECT_TRUE(MakeLearner(model).ok());
  model.optimizer.momentum = 0.9;
  EXPECT_EQ(ValidateOptions(model).code(), absl::StatusCode::kInvalidArgument);
  model.optimizer.momentum = 0;
  model.optimizer.kind = OptimizerKind::kAdam;
  EXPECT_EQ(ValidateOptions(model).code(), absl::StatusCode::kInvalidArgument);
  model.strategies = {{"a_gem", {}}};
  EXPECT_TRUE(ValidateOptions(model).ok());
}

TEST_F(AGemTest, GemWithOnePastTaskAndStrengthZeroIsAGemOverTheWholeMemory) {
  ProjectionRig gem(ProjectionModel(), GemSpec(0)), a_gem(ProjectionModel(), kAGem);
  for (ProjectionRig* rig : {&gem, &a_gem}) {
    LearnTask(rig, first_);
    rig->Learn(against_);
    rig->Learn(second_);
  }
  EXPECT_LT(LargestGap(gem.Weights(), a_gem.Weights()), 1e-6);
}

TEST_F(AGemTest, GemRaisesTheLossOfNoPastTask) {
  for (const double strength : {0.0, 0.5}) {
    ProjectionRig rig(ProjectionModel(), GemSpec(strength));
    LearnTask(&rig, first_);
    LabelledRows third = second_;
    LearnTask(&rig, second_);
    for (int32_t& cls : third.classes) cls = (cls + 1) % 3;
    for (uint64_t& sequence : third.sequences) sequence += 50;
    const at::Tensor past_1 = rig.GradientOver(first_), past_2 = rig.GradientOver(second_);
    const at::Tensor stream = rig.GradientOver(third), before = rig.Weights();
    ASSERT_LT(std::min(Dot(stream, past_1), Dot(stream, past_2)), 0);
    rig.Learn(third);
    const at::Tensor step = before - rig.Weights();
    EXPECT_GE(Dot(step, past_1), -1e-5);
    EXPECT_GE(Dot(step, past_2), -1e-5);
    // step = rate * (g + v_1 g_1 + v_2 g_2): both multipliers reach the strength.
    const at::Tensor rows = torch::stack({past_1, past_2}).t().to(at::kDouble);
    const at::Tensor change = (step / 0.1 - stream).unsqueeze(1).to(at::kDouble);
    const at::Tensor v = std::get<0>(at::linalg_lstsq(rows, change));
    EXPECT_GE(v.min().item<double>(), strength - 1e-3);
  }
}

// With no more exemplars than it would draw, all are taken either way: traces against gradients.
TEST_F(AGemTest, GemOverTracesIsGemOverGradients) {
  for (const double strength : {0.0, 0.5}) {
    ModelOptions model = ProjectionModel();
    model.optimizer.momentum = 0.9;
    model.optimizer.weight_decay = 0.01;
    StrategySpec over_gradients = GemSpec(strength);
    over_gradients.parameters["reference_batch"] = int64_t{0};
    ProjectionRig traces(model, GemSpec(strength)), gradients(model, over_gradients);
    for (ProjectionRig* rig : {&traces, &gradients}) {
      LearnTask(rig, first_);
      LearnTask(rig, second_);
      rig->Learn(against_);
      rig->Learn(second_);
      rig->Learn(against_);
    }
    EXPECT_LT(LargestGap(traces.Weights(), gradients.Weights()), 1e-5);
  }
}

TEST_F(AGemTest, ASkippedStepIsNotRemembered) {
  ProjectionRig rig(ProjectionModel(), kAGem);
  LearnTask(&rig, first_);
  const auto members = rig.strategy->Members();
  LabelledRows broken = second_;
  broken.features[3] = std::nanf("");
  EXPECT_TRUE(rig.Learn(broken).skipped);
  EXPECT_EQ(rig.strategy->Members(), members);
}

}  // namespace
}  // namespace engram::strategies
