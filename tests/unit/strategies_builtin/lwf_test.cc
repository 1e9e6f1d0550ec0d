// Learning without forgetting against autograd.
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/unit/strategies_builtin/strategy_rig.h"

namespace engram::strategies {
namespace {

namespace F = torch::nn::functional;

StrategySpec Spec(const std::string& weighting, double temperature = 2, bool squared = false) {
  return {"lwf",
          {{"lambda", 0.8},
           {"temperature", temperature},
           {"scale_by_t_squared", squared},
           {"weighting", weighting}}};
}

ModelOptions Model(HeadKind head) {
  ModelOptions model = RigModel();
  model.head.kind = head;
  if (head == HeadKind::kFixed) model.head.head_classes = 6;
  return model;
}

// Classes 2k and 2k + 1 are those of task k.
Rows TaskRows(int32_t task, uint64_t seed) {
  return Rows(5, {2 * task, 2 * task + 1, 2 * task, 2 * task, 2 * task + 1}, task, seed);
}

// The gradient of the hooked loss at the present weights, as the step would take it; no weight
// moves. Its loss goes to `loss`.
at::Tensor HookedGradient(StrategyRig& rig, const Rows& rows, double* loss) {
  rig.rig.Load(rows.View());
  const auto backward = [&](TrainingBatch& batch,
                            StepContext& context) -> absl::StatusOr<Observation> {
    *loss = context.LossAndBackward(batch, context.Forward(batch));
    return Observation{};
  };
  EXPECT_TRUE(rig.strategy->Observe(*rig.rig.batch, *rig.rig.context, backward).ok());
  rig.rig.context->ClearHooks();
  const at::Tensor gradient = at::zeros({rig.rig.arena.size()});
  rig.rig.optimizer->WriteGradient(rig.rig.network->traces(), gradient);
  return rig.Compact(gradient);
}

torch::Tensor LogitsOf(const std::vector<torch::Tensor>& leaves, const Rows& rows) {
  return ReferenceForward(
      leaves, torch::tensor(rows.features).reshape({-1, rows.feature_count}));
}

struct Case {
  std::string name;
  HeadKind head;
  std::string weighting;
  bool squared;
  double own_share;                          // of the labels' loss
  std::vector<std::vector<int64_t>> groups;  // old units
  double strength;                           // lambda w of each group
};

class LwfTest : public testing::TestWithParam<Case> {};

// Two tasks are learned; in the third the old outputs are held to the teacher of the second's end.
TEST_P(LwfTest, TheGradientIsThatOfAutograd) {
  const Case& c = GetParam();
  const double temperature = 2;
  StrategyRig rig(Model(c.head), Spec(c.weighting, temperature, c.squared));
  std::vector<torch::Tensor> teacher;
  for (int32_t task = 0; task < 2; ++task) {
    for (uint64_t step = 0; step < 5; ++step) rig.Step(TaskRows(task, 20 * task + step));
    teacher = CloneParameters(rig.rig.arena);
    rig.Boundary(task);
  }
  for (uint64_t step = 0; step < 5; ++step) rig.Step(TaskRows(2, 70 + step));

  const Rows rows = TaskRows(2, 99);
  double loss = 0;
  const at::Tensor gradient = HookedGradient(rig, rows, &loss);
  const auto leaves = CloneParameters(rig.rig.arena);
  const torch::Tensor z = LogitsOf(leaves, rows), old = LogitsOf(teacher, rows).detach();
  const auto targets = rig.rig.batch->targets();
  torch::Tensor target = torch::tensor(std::vector<int64_t>(targets.begin(), targets.end()));
  torch::Tensor own = z;
  if (c.head == HeadKind::kPerTask) {
    own = z.slice(1, 4, 6);
    target = target - 4;
  }
  torch::Tensor expected = c.own_share * F::cross_entropy(own, target);
  for (const std::vector<int64_t>& group : c.groups) {
    const torch::Tensor units = torch::tensor(group);
    const auto softened = [&](const torch::Tensor& logits) {
      return torch::log_softmax(logits.index_select(1, units) / temperature, 1);
    };
    expected = expected + c.strength * (c.squared ? temperature * temperature : 1.0) *
                              F::kl_div(softened(z), softened(old),
                                        F::KLDivFuncOptions()
                                            .reduction(torch::kBatchMean)
                                            .log_target(true));
  }
  expected.backward();
  std::vector<at::Tensor> gradients;
  for (const auto& leaf : leaves) gradients.push_back(leaf.grad().reshape(-1).to(at::kDouble));
  EXPECT_NEAR(loss, expected.item<double>(), 1e-5);
  EXPECT_LT(Deviation(gradient, at::cat(gradients)), 1e-5);
}

INSTANTIATE_TEST_SUITE_P(
    Kinds, LwfTest,
    testing::Values(
        Case{"Growing", HeadKind::kGrowing, "old_tasks", false, 1, {{0, 1, 2, 3}}, 1.6},
        Case{"GrowingConstant", HeadKind::kGrowing, "constant", true, 1, {{0, 1, 2, 3}}, 0.8},
        Case{"Fixed", HeadKind::kFixed, "constant", false, 1, {{0, 1, 2, 3}}, 0.8},
        Case{"Balanced", HeadKind::kGrowing, "balanced", false, 1.0 / 3, {{0, 1, 2, 3}}, 1.6 / 3},
        Case{"PerTask", HeadKind::kPerTask, "old_tasks", false, 1, {{0, 1}, {2, 3}}, 0.8},
        Case{"PerTaskSquared", HeadKind::kPerTask, "old_tasks", true, 1, {{0, 1}, {2, 3}}, 0.8},
        Case{"PerTaskConstant", HeadKind::kPerTask, "constant", false, 1, {{0, 1}, {2, 3}}, 0.4}),
    [](const auto& param_info) { return param_info.param.name; });

// At the boundary itself the model is its own teacher.
TEST(LwfBoundaryTest, EqualOutputsAddNoGradientAtAnyTemperature) {
  for (const double temperature : {0.5, 1.0, 2.0, 20.0}) {
    StrategyRig rig(Model(HeadKind::kGrowing), Spec("old_tasks", temperature, true));
    rig.Step(TaskRows(0, 1));
    double plain_loss = 0, loss = 0;
    const at::Tensor plain = HookedGradient(rig, TaskRows(0, 2), &plain_loss);
    rig.Boundary(0);
    EXPECT_TRUE(at::equal(HookedGradient(rig, TaskRows(0, 2), &loss), plain)) << temperature;
    EXPECT_EQ(loss, plain_loss);
  }
}

TEST(LwfWarmUpTest, OnlyNewOutputsTrainAndThenEverythingDoes) {
  for (const OptimizerKind optimizer : {OptimizerKind::kSgd, OptimizerKind::kAdam}) {
    ModelOptions model = RigModel(optimizer, optimizer == OptimizerKind::kSgd ? 0.9 : 0);
    model.optimizer.weight_decay = 0.01;
    StrategySpec spec = Spec("old_tasks");
    spec.parameters["warm_up_examples"] = int64_t{10};
    StrategyRig rig(model, spec);
    for (uint64_t step = 0; step < 5; ++step) rig.Step(TaskRows(0, step));
    rig.Boundary(0);
    at::Tensor is_new = at::zeros({rig.rig.arena.size()});
    for (uint64_t step = 0; step < 3; ++step) {
      const auto move = rig.Step(TaskRows(1, 30 + step));
      for (const ParameterId id : {2, 3}) rig.rig.arena.View(is_new, id).slice(0, 2).fill_(1);
      const at::Tensor fresh = rig.Compact(is_new) > 0;
      const at::Tensor moved = move.change() != 0;
      const bool warm = step < 2;  // 5 examples a step
      EXPECT_TRUE(moved.masked_select(fresh).all().item<bool>()) << step;
      EXPECT_EQ(moved.masked_select(~fresh).any().item<bool>(), !warm) << step;
    }
  }
}

TEST(LwfWarmUpTest, ATaskWithoutNewOutputsHasNothingToWarmUp) {
  StrategySpec spec = Spec("old_tasks");
  spec.parameters["warm_up_examples"] = int64_t{1000};
  StrategyRig rig(RigModel(), spec);
  rig.Step(TaskRows(0, 1));
  rig.Boundary(0);
  EXPECT_GT(rig.Step(TaskRows(0, 2)).change().abs().max().item<double>(), 0);
}

// Teacher and student look at the same views: as long as they are equal nothing is distilled.
TEST(LwfAugmentationTest, TheTeacherSeesTheViewsThatAreTrained) {
  ModelOptions model = RigModel();
  model.augmentation.noise = 0.5;
  model.augmentation.mixup_alpha = 1;
  StrategyRig distilled(model, Spec("old_tasks")), plain(model, {"finetune", {}});
  for (StrategyRig* rig : {&distilled, &plain}) {
    rig->Step(TaskRows(0, 1));
    rig->Boundary(0);
    rig->Step(TaskRows(0, 2));
  }
  EXPECT_TRUE(distilled.rig.arena.flat().equal(plain.rig.arena.flat()));
  for (StrategyRig* rig : {&distilled, &plain}) rig->Step(TaskRows(0, 3));
  EXPECT_FALSE(distilled.rig.arena.flat().equal(plain.rig.arena.flat()));
}

}  // namespace
}  // namespace engram::strategies
