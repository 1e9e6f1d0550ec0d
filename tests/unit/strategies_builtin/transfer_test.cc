// fine_tuning and feature_extraction against torch::optim with a learning rate for each layer.
#include <memory>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/unit/strategies_builtin/prototype_rig.h"

namespace engram::strategies {
namespace {

constexpr int64_t kWidth = 8;
constexpr double kRate = 0.05;

struct OptimizerCase {
  std::string name;
  OptimizerKind kind = OptimizerKind::kSgd;
  double momentum = 0;
  double weight_decay = 0;
};

template <typename Options>
std::vector<torch::optim::OptimizerParamGroup> Groups(const std::vector<at::Tensor>& leaves,
                                                      Options options, double backbone_rate) {
  const std::vector<at::Tensor> below(leaves.begin(), leaves.end() - 2);
  const std::vector<at::Tensor> head(leaves.end() - 2, leaves.end());
  Options slow = options;
  slow.lr(backbone_rate * kRate);
  std::vector<torch::optim::OptimizerParamGroup> groups;
  groups.emplace_back(below, std::make_unique<Options>(slow));
  groups.emplace_back(head, std::make_unique<Options>(options));
  return groups;
}

std::unique_ptr<torch::optim::Optimizer> Reference(const std::vector<at::Tensor>& leaves,
                                                   const OptimizerCase& test,
                                                   double backbone_rate) {
  if (test.kind == OptimizerKind::kSgd) {
    torch::optim::SGDOptions options(kRate);
    options.momentum(test.momentum).weight_decay(test.weight_decay);
    return std::make_unique<torch::optim::SGD>(Groups(leaves, options, backbone_rate), options);
  }
  if (test.kind == OptimizerKind::kAdam) {
    torch::optim::AdamOptions options(kRate);
    options.weight_decay(test.weight_decay);
    return std::make_unique<torch::optim::Adam>(Groups(leaves, options, backbone_rate), options);
  }
  torch::optim::AdamWOptions options(kRate);
  options.weight_decay(test.weight_decay);
  return std::make_unique<torch::optim::AdamW>(Groups(leaves, options, backbone_rate), options);
}

class TransferTest : public testing::TestWithParam<OptimizerCase> {
 protected:
  TransferTest() : clouds_(kWidth, 3, 1) {
    options_ = CloudModel(kWidth, "finetune");
    options_.optimizer.kind = GetParam().kind;
    options_.optimizer.learning_rate = kRate;
    options_.optimizer.momentum = GetParam().momentum;
    options_.optimizer.weight_decay = GetParam().weight_decay;
  }

  // Largest difference after steps of the strategy and of the reference on the same batches.
  double DifferenceFromReference(const StrategySpec& spec, double backbone_rate) {
    Rig rig(options_);
    const auto strategy = MakeStrategy(&rig, spec);
    rig.Load(clouds_.Next({0, 1, 2}).View());
    const std::vector<at::Tensor> leaves = CloneParameters(rig.arena);
    const auto reference = Reference(leaves, GetParam(), backbone_rate);
    for (int step = 0; step < 10; ++step) {
      const CloudBatch batch = clouds_.Next(Cycle({0, 1, 2}, 16));
      rig.Load(batch.View());
      reference->zero_grad();
      ReferenceLoss(leaves, *rig.batch).backward();
      reference->step();
      EXPECT_FALSE(Step(&rig, strategy.get(), batch).skipped);
    }
    return LargestDifference(rig.arena, leaves);
  }

  Clouds clouds_;
  ModelOptions options_;
};

TEST_P(TransferTest, TheBackboneLearnsAtItsOwnRate) {
  EXPECT_LT(DifferenceFromReference({"fine_tuning", {{"backbone_rate", 0.2}}}, 0.2), 2e-4);
}

TEST_P(TransferTest, AFactorOfOneIsFinetuning) {
  EXPECT_LT(DifferenceFromReference({"fine_tuning", {{"backbone_rate", 1.0}}}, 1), 2e-4);
}

TEST_P(TransferTest, FeatureExtractionTrainsTheHeadAlone) {
  EXPECT_LT(DifferenceFromReference({"feature_extraction", {}}, 0), 2e-4);
}

TEST_P(TransferTest, TheFrozenBackboneKeepsItsBits) {
  Rig rig(options_);
  const auto strategy = MakeStrategy(&rig, {"feature_extraction", {}});
  rig.Load(clouds_.Next({0, 1, 2}).View());
  const std::vector<at::Tensor> before = CloneParameters(rig.arena);
  for (int step = 0; step < 10; ++step) {
    Step(&rig, strategy.get(), clouds_.Next(Cycle({0, 1, 2}, 16)));
  }
  for (size_t id = 0; id < before.size(); ++id) {
    const at::Tensor after =
        rig.arena.View(static_cast<ParameterId>(id)).reshape(before[id].sizes());
    EXPECT_EQ(after.equal(before[id]), id + 2 < before.size()) << id;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Optimizers, TransferTest,
    testing::Values(OptimizerCase{"sgd", OptimizerKind::kSgd, 0, 0},
                    OptimizerCase{"sgd_decay", OptimizerKind::kSgd, 0, 0.01},
                    OptimizerCase{"momentum_decay", OptimizerKind::kSgd, 0.9, 0.01},
                    OptimizerCase{"adam", OptimizerKind::kAdam, 0, 0},
                    OptimizerCase{"adam_decay", OptimizerKind::kAdam, 0, 0.01},
                    OptimizerCase{"adamw_decay", OptimizerKind::kAdamW, 0, 0.01}),
    [](const auto& test) { return test.param.name; });

TEST(FrozenNetworkTest, TheInputGradientIsThatOfTheWholeNetwork) {
  Clouds clouds(kWidth, 3, 2);
  Rig rig(CloudModel(kWidth, "finetune"));
  rig.Load(clouds.Next({0, 1, 2}).View());
  const auto input_gradient = [&] {
    rig.context->LossAndBackward(*rig.batch, rig.context->Forward(*rig.batch));
    const at::Tensor gradient = torch::empty({3, kWidth});
    rig.network->WriteInputGradient(gradient);
    return gradient;
  };
  const at::Tensor whole = input_gradient();
  ASSERT_TRUE(rig.network->FreezeBelowHead());
  EXPECT_EQ(rig.network->traces().size(), 1u);
  EXPECT_TRUE(input_gradient().equal(whole));
}

}  // namespace
}  // namespace engram::strategies
