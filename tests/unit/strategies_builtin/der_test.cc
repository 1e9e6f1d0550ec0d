// DER and DER++: what is kept, what is drawn, and the loss against autograd.
#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <vector>

#include "strategies/memory/exemplar_payload.h"
#include "tests/unit/strategies_builtin/replay_rig.h"

namespace engram::strategies {
namespace {

namespace F = torch::nn::functional;

std::map<uint64_t, std::vector<float>> KeptLogits(ReplayRig& rig) {
  std::map<uint64_t, std::vector<float>> kept;
  const std::vector<MemberKey> members = rig.strategy().Members();
  for (size_t i = 0; i < members.size(); ++i) {
    const auto exemplar = DecodeExemplar(rig.strategy().Payload(static_cast<int64_t>(i)), 4);
    ENGRAM_CHECK(exemplar.ok());
    kept[members[i].sequence] = exemplar->side;
  }
  return kept;
}

TEST(DerTest, KeepsTheLogitsOfTheStepThatLearnedTheExampleBeforeItsUpdate) {
  ReplayRig rig("der_plus_plus");
  rig.Step({0, 1, 2, 0});
  at::Tensor before;
  rig.Step({2, 1, 0, 1}, [&before](TrainingBatch& batch, StepContext& context) {
    before = context.Forward(batch).narrow(0, 0, batch.stream_rows()).clone();
  });
  const auto kept = KeptLogits(rig);
  for (int64_t row = 0; row < 4; ++row) {
    const std::vector<float>& logits = kept.at(static_cast<uint64_t>(5 + row));
    ASSERT_EQ(logits.size(), 3u);
    for (int64_t unit = 0; unit < 3; ++unit) {
      EXPECT_EQ(logits[static_cast<size_t>(unit)], before[row][unit].item<float>());
    }
  }
}

TEST(DerTest, ASkippedStepKeepsNothing) {
  ReplayRig rig("der_plus_plus");
  rig.Step({0, 1});
  rig.SkippedStep({0, 1});
  EXPECT_EQ(rig.Kept(), (std::vector<uint64_t>{1, 2}));
}

// Each of the two draws takes 4 of 12: were the second the first, all four would be in both. The
// number in both is hypergeometric with mean 4/3 when they are independent.
TEST(DerTest, TheTwoDrawsAreIndependent) {
  ReplayRig rig("der_plus_plus", {{"memory_size", int64_t{12}}, {"alpha", 0.0}, {"beta", 0.0}});
  for (int i = 0; i < 3; ++i) rig.Step({0, 1, 0, 1});
  double shared = 0;
  constexpr int kSteps = 2000;
  for (int step = 0; step < kSteps; ++step) {
    rig.Step({0, 1, 0, 1}, [&shared](TrainingBatch& batch, StepContext&) {
      ASSERT_EQ(batch.rows(), 12);
      const auto sequences = batch.sequences();
      const std::set<uint64_t> first(sequences.begin() + 4, sequences.begin() + 8);
      ASSERT_EQ(first.size(), 4u);
      for (int64_t row = 8; row < 12; ++row) {
        shared += first.count(sequences[static_cast<size_t>(row)]) > 0 ? 1 : 0;
      }
    });
  }
  // The variance of one overlap is 4 (1/3) (2/3) (8/11): the mean of 2000 lies within 5 deviations.
  EXPECT_NEAR(shared / kSteps, 4.0 / 3, 5 * std::sqrt(4.0 * 2 / 9 * 8 / 11 / kSteps));
}

// Two of three outputs are kept with the old exemplars: the third is held at the lower of them,
// from above.
void ExpectAutogradsLoss(const std::string& name, double alpha, double beta) {
  Parameters parameters{{"alpha", alpha}};
  if (name == "der_plus_plus") parameters["beta"] = beta;
  ReplayRig rig(name, parameters);
  rig.Step({0, 1, 0, 1});
  rig.Step({0, 1, 1, 1});
  const auto kept = KeptLogits(rig);
  rig.Step({2, 1, 0}, [&](TrainingBatch& batch, StepContext& context) {
    ASSERT_EQ(batch.rows(), name == "der" ? 6 : 9);
    const auto leaves = CloneParameters(context.arena());
    const torch::Tensor logits = ReferenceForward(leaves, batch.features().clone());
    const torch::Tensor targets =
        torch::tensor(std::vector<int64_t>(batch.targets().begin(), batch.targets().end()));
    torch::Tensor loss = F::cross_entropy(logits.narrow(0, 0, 3), targets.narrow(0, 0, 3));
    std::vector<float> answers;
    for (size_t row = 3; row < 6; ++row) {
      const std::vector<float>& of_row = kept.at(batch.sequences()[row]);
      ASSERT_EQ(of_row.size(), 2u);
      answers.insert(answers.end(), of_row.begin(), of_row.end());
    }
    const torch::Tensor kept_logits = torch::tensor(answers).reshape({3, 2});
    const torch::Tensor old_units = logits.narrow(0, 3, 3).narrow(1, 0, 2) - kept_logits;
    const torch::Tensor new_unit = torch::relu(logits.narrow(0, 3, 3).narrow(1, 2, 1) -
                                               kept_logits.amin(/*dim=*/1, /*keepdim=*/true));
    loss = loss + alpha * torch::cat({old_units, new_unit}, 1).square().mean();
    if (name == "der_plus_plus") {
      loss = loss + beta * F::cross_entropy(logits.narrow(0, 6, 3), targets.narrow(0, 6, 3));
    }
    loss.backward();
    const at::Tensor slope = LossSlope(batch, context);
    for (size_t id = 0; id < leaves.size(); ++id) {
      const at::Tensor ours = context.arena().View(slope, static_cast<ParameterId>(id));
      EXPECT_LT((ours.reshape(leaves[id].sizes()) - leaves[id].grad()).abs().max().item<double>(),
                1e-5);
    }
    EXPECT_NEAR(context.LossAndBackward(batch, context.Forward(batch)), loss.item<double>(), 1e-5);
  });
}

TEST(DerTest, DerPlusPlusHasAutogradsGradientAlsoWhenTheHeadGrew) {
  ExpectAutogradsLoss("der_plus_plus", 0.7, 0.3);
}

TEST(DerTest, DerHasAutogradsGradientAndOneDraw) { ExpectAutogradsLoss("der", 0.7, 0); }

TEST(DerTest, WhereHeadsArePerTaskARowComparesItsOwnTasksOutputs) {
  ReplayRig rig("der", {{"alpha", 1000.0}}, HeadKind::kPerTask);
  rig.Step({0, 1, 0, 1}, nullptr, 0);
  rig.Step({0, 1, 0}, [&rig](TrainingBatch& batch, StepContext& context) {
    context.LossAndBackward(batch, context.Forward(batch));
    const at::Tensor slope = context.network().traces().back().output_gradient;
    const UnitMap& units = rig.rig().units;
    for (int64_t row = 3; row < batch.rows(); ++row) {
      for (const int64_t own : units.UnitsOf(0)) EXPECT_NE(slope[row][own].item<float>(), 0);
      for (const int64_t other : units.UnitsOf(1)) EXPECT_EQ(slope[row][other].item<float>(), 0);
    }
  }, 1);
}

TEST(DerTest, WeightsMayChangeLive) {
  ReplayRig rig("der_plus_plus");
  rig.Step({0, 1, 0, 1});
  const auto loss_at = [&rig](double alpha, double beta) {
    const StrategyEntry& entry = **FindStrategy("der_plus_plus");
    rig.strategy().Reconfigure(*StrategyParameters::Resolve(
        entry.help, {"der_plus_plus", {{"alpha", alpha}, {"beta", beta}}}));
    double loss = 0;
    rig.Step({0, 1}, [&loss](TrainingBatch& batch, StepContext& context) {
      loss = context.LossAndBackward(batch, context.Forward(batch));
    });
    return loss;
  };
  EXPECT_GT(loss_at(0, 100), 10 * loss_at(0, 0));
}

// A kept answer is that to one example: its rows are never mixed, those with labels are.
TEST(DerTest, RowsHeldToTheirAnswersAreNotMixed) {
  ReplayRig rig("der_plus_plus");
  rig.rig().options.augmentation.mixup_alpha = 1;
  rig.Step({0, 1, 2, 0});
  int mixed = 0;
  for (int step = 0; step < 10; ++step) {
    rig.Step({0, 1, 2, 0}, [&mixed](TrainingBatch& batch, StepContext& context) {
      context.Augment(batch);
      ASSERT_EQ(batch.rows(), 12);
      const at::Tensor same = batch.inputs().eq(batch.features()).all(1);
      const auto shares = batch.loss_rows().first_shares;
      for (int64_t row = 0; row < 12; ++row) {
        const bool compared = row >= 4 && row < 8;
        if (compared) {
          EXPECT_TRUE(same[row].item<bool>());
          EXPECT_EQ(shares[static_cast<size_t>(row)], 1);
        }
        mixed += same[row].item<bool>() ? 0 : 1;
      }
    });
  }
  EXPECT_GT(mixed, 20);
}

}  // namespace
}  // namespace engram::strategies
