// Hooks into the plain step against autograd, and what a batch's shares mean for the loss.
#include "strategies/core/step_hooks.h"

#include <algorithm>
#include <limits>
#include <vector>

#include "gtest/gtest.h"
#include "strategies/core/frozen_copy.h"
#include "tests/unit/strategies_core/reference_network.h"
#include "tests/unit/strategies_core/small_stream.h"

namespace engram::strategies {
namespace {

namespace F = torch::nn::functional;

class StepHooksTest : public testing::Test {
 protected:
  StepHooksTest() : rig_(SmallModel(5)), stream_(5, 3) {
    batch_ = stream_.Next({0, 1, 2, 1, 0, 2});
    rig_.Load(batch_.View());
  }

  torch::Tensor Targets() const {
    const auto targets = rig_.batch->targets();
    return torch::tensor(std::vector<int64_t>(targets.begin(), targets.end()));
  }

  // Our flat gradient of the hooked loss.
  at::Tensor HookedGradient() {
    rig_.context->LossAndBackward(*rig_.batch, rig_.context->Forward(*rig_.batch));
    const at::Tensor gradient = at::zeros({rig_.arena.size()});
    rig_.optimizer->WriteGradient(rig_.network->traces(), gradient);
    return gradient;
  }

  void ExpectGradients(const std::vector<torch::Tensor>& leaves, const at::Tensor& gradient) {
    for (size_t id = 0; id < leaves.size(); ++id) {
      const at::Tensor ours = rig_.arena.View(gradient, static_cast<ParameterId>(id));
      EXPECT_LT(
          (ours.reshape(leaves[id].sizes()) - leaves[id].grad()).abs().max().item<double>(), 1e-5)
          << id;
    }
  }

  Rig rig_;
  SmallStream stream_;
  SmallBatch batch_;
};

TEST_F(StepHooksTest, ALossTermAddsItsGradient) {
  const torch::Tensor goal = torch::randn({6, 3});
  rig_.context->AddLossTerm(
      [&](const TrainingBatch&, const at::Tensor& logits, const at::Tensor& gradient) {
        const at::Tensor difference = logits - goal;
        gradient.add_(difference, 2);
        return difference.square().sum().item<double>();
      });
  const auto leaves = CloneParameters(rig_.arena);
  const torch::Tensor logits = ReferenceForward(leaves, rig_.batch->features().clone());
  (F::cross_entropy(logits, Targets()) + (logits - goal).square().sum()).backward();
  ExpectGradients(leaves, HookedGradient());
}

TEST_F(StepHooksTest, AnEmbeddingTermEntersBelowTheHead) {
  rig_.context->AddEmbeddingTerm(
      [](const TrainingBatch&, const at::Tensor& embeddings, const at::Tensor& gradient) {
        gradient.add_(embeddings, 2);
        return embeddings.square().sum().item<double>();
      });
  const auto leaves = CloneParameters(rig_.arena);
  torch::Tensor hidden = rig_.batch->features().clone();
  for (size_t i = 0; i + 2 < leaves.size(); i += 2) {
    hidden = torch::relu(F::linear(hidden, leaves[i], leaves[i + 1]));
  }
  const torch::Tensor logits = F::linear(hidden, leaves[leaves.size() - 2], leaves.back());
  (F::cross_entropy(logits, Targets()) + hidden.square().sum()).backward();
  ExpectGradients(leaves, HookedGradient());
}

TEST_F(StepHooksTest, AnotherClassLossTakesThePlaceOfCrossEntropy) {
  rig_.context->ReplaceClassLoss([](const at::Tensor& logits, const LossRows&, const UnitMap&,
                                    const at::Tensor& gradient) {
    gradient.copy_(logits).mul_(2);
    return logits.square().sum().item<double>();
  });
  const auto leaves = CloneParameters(rig_.arena);
  ReferenceForward(leaves, rig_.batch->features().clone()).square().sum().backward();
  ExpectGradients(leaves, HookedGradient());
  rig_.context->ClearHooks();
  const auto plain = CloneParameters(rig_.arena);
  ReferenceLoss(plain, *rig_.batch).backward();
  ExpectGradients(plain, HookedGradient());
}

TEST_F(StepHooksTest, SharesReplaceTheMeanOverAllRows) {
  rig_.batch->SetShare(0, 4, 1.0);
  rig_.batch->SetShare(4, 6, 0.3);
  const auto leaves = CloneParameters(rig_.arena);
  const torch::Tensor logits = ReferenceForward(leaves, rig_.batch->features().clone());
  const torch::Tensor targets = Targets();
  (F::cross_entropy(logits.narrow(0, 0, 4), targets.narrow(0, 0, 4)) +
   0.3 * F::cross_entropy(logits.narrow(0, 4, 2), targets.narrow(0, 4, 2)))
      .backward();
  ExpectGradients(leaves, HookedGradient());
}

TEST_F(StepHooksTest, TransformsChangeTheGradientThatTheUpdateTakes) {
  const at::Tensor before = rig_.arena.flat().clone();
  rig_.context->AddTransform([](const at::Tensor& gradient) { gradient.fill_(2); });
  ASSERT_FALSE(rig_.context->PlainStep(*rig_.batch)->skipped);
  const double rate = rig_.optimizer->learning_rate();
  EXPECT_LT((before - rig_.arena.flat() - 2 * rate).abs().max().item<double>(), 1e-6);
}

TEST_F(StepHooksTest, ATransformThatBreaksTheGradientSkipsTheStep) {
  const at::Tensor before = rig_.arena.flat().clone();
  rig_.context->AddTransform([](const at::Tensor& gradient) {
    gradient[0] = std::numeric_limits<float>::quiet_NaN();
  });
  const auto seen = rig_.context->PlainStep(*rig_.batch);
  EXPECT_TRUE(seen->skipped);
  EXPECT_FALSE(seen->skip_reason.empty());
  EXPECT_TRUE(rig_.arena.flat().equal(before));
}

// What enters each weight product, times 2, in tensors of its own.
void DoubleTraces(std::vector<LayerTrace>* traces) {
  for (LayerTrace& trace : *traces) {
    trace.input = trace.input * 2;
    trace.bias_input = torch::full({trace.input.size(0), 1}, 2.0f);
  }
}

TEST_F(StepHooksTest, TransformsOfTracesComeBeforeThoseOfTheGradient) {
  const at::Tensor expected = HookedGradient() * 2;
  rig_.context->AddTraceTransform(DoubleTraces);
  at::Tensor seen;
  rig_.context->AddTransform([&](const at::Tensor& gradient) { seen = gradient.clone(); });
  const at::Tensor before = rig_.arena.flat().clone();
  ASSERT_FALSE(rig_.context->PlainStep(*rig_.batch)->skipped);
  EXPECT_LT((seen - expected).abs().max().item<double>(), 1e-6);
  const at::Tensor moved = before - rig_.optimizer->learning_rate() * expected;
  EXPECT_LT((rig_.arena.flat() - moved).abs().max().item<double>(), 1e-6);
}

TEST_F(StepHooksTest, AFusedUpdateTakesTransformedTraces) {
  const at::Tensor gradient = HookedGradient() * 4;
  for (int i = 0; i < 2; ++i) rig_.context->AddTraceTransform(DoubleTraces);
  const at::Tensor before = rig_.arena.flat().clone();
  ASSERT_FALSE(rig_.context->PlainStep(*rig_.batch)->skipped);
  const at::Tensor weight_moved = before - rig_.optimizer->learning_rate() * gradient;
  const ParameterId head = rig_.network->traces().back().weight;
  const at::Tensor off = rig_.arena.View(head) - rig_.arena.View(weight_moved, head);
  EXPECT_LT(off.abs().max().item<double>(), 1e-6);
  EXPECT_FALSE(rig_.network->traces().back().bias_input.defined());
}

TEST_F(StepHooksTest, ATransformThatBreaksATraceSkipsTheStep) {
  const at::Tensor before = rig_.arena.flat().clone();
  rig_.context->AddTraceTransform([](std::vector<LayerTrace>* traces) {
    traces->front().input = traces->front().input * std::numeric_limits<float>::infinity();
  });
  const auto seen = rig_.context->PlainStep(*rig_.batch);
  EXPECT_TRUE(seen->skipped);
  EXPECT_FALSE(seen->skip_reason.empty());
  EXPECT_TRUE(rig_.arena.flat().equal(before));
}

TEST_F(StepHooksTest, ALongGradientIsClippedAndAShortOneIsNot) {
  const at::Tensor gradient = HookedGradient();
  const double norm = gradient.norm().item<double>();
  for (const double longest : {norm / 4, norm * 4}) {
    OptimizerOptions options = rig_.options.optimizer;
    options.clip_norm = longest;
    rig_.optimizer->Reconfigure(options);
    const at::Tensor before = rig_.arena.flat().clone();
    ASSERT_FALSE(rig_.context->PlainStep(*rig_.batch)->skipped);
    const double moved = (before - rig_.arena.flat()).norm().item<double>();
    EXPECT_NEAR(moved, options.learning_rate * std::min(norm, longest), 1e-5 * norm);
    rig_.arena.flat().copy_(before);
  }
}

at::Tensor Copy(const float* values, int64_t count) {
  return at::from_blob(const_cast<float*>(values), {count}, at::kFloat).clone();
}

// Keeps what it saw, in the arena's layout.
class Witness : public UpdateObserver {
 public:
  void AfterUpdate(const UpdatedBlock& block) override {
    gradient.push_back(Copy(block.gradient, block.count));
    before.push_back(Copy(block.before, block.count));
    after.push_back(Copy(block.after, block.count));
  }
  std::vector<at::Tensor> Written() const override { return {}; }
  std::vector<at::Tensor> gradient, before, after;
};

TEST_F(StepHooksTest, EveryObserverSeesEveryBlockAsItWasAndAsItIs) {
  const at::Tensor gradient = HookedGradient();
  const at::Tensor before = rig_.arena.flat().clone();
  Witness first, second;
  for (Witness* witness : {&first, &second}) rig_.context->AddObserver(witness);
  ASSERT_FALSE(rig_.context->PlainStep(*rig_.batch)->skipped);
  for (const Witness& witness : {first, second}) {
    EXPECT_TRUE(at::cat(witness.gradient).equal(gradient));
    EXPECT_TRUE(at::cat(witness.before).equal(before));
    EXPECT_TRUE(at::cat(witness.after).equal(rig_.arena.flat()));
  }
  EXPECT_FALSE(before.equal(rig_.arena.flat()));
}

TEST_F(StepHooksTest, AFrozenCopyAnswersAsTheNetworkDidEvenWhenTheHeadGrew) {
  FrozenCopy copy(&rig_.arena, "test");
  EXPECT_FALSE(copy.taken());
  copy.Take(*rig_.network);
  const at::Tensor features = rig_.batch->features().clone();
  const at::Tensor before = rig_.network->Forward(features).clone();
  ASSERT_FALSE(rig_.context->PlainStep(*rig_.batch)->skipped);
  EXPECT_TRUE(copy.Forward(*rig_.network, features).equal(before));
  rig_.network->AddUnits(20, &rig_.generator);
  const at::Tensor after = copy.Forward(*rig_.network, features);
  EXPECT_EQ(after.size(1), 23);
  EXPECT_EQ(copy.units(), 3);
  EXPECT_LT((after.narrow(1, 0, 3) - before).abs().max().item<double>(), 1e-6);
}

}  // namespace
}  // namespace engram::strategies
