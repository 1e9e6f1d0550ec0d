// generative_classifier: classes learn apart, and the likeliest one answers.
#include <algorithm>
#include <limits>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "strategies/core/registry.h"
#include "tests/unit/strategies_builtin/generative_rig.h"

namespace engram::strategies {
namespace {

class GenerativeClassifierTest : public testing::Test {
 protected:
  GenerativeClassifierTest() {
    ModelOptions options;
    options.feature_count = kCornerFeatures;
    options.hidden = {4};
    options.head.kind = HeadKind::kFixed;
    options.head.head_classes = 3;
    rig_ = std::make_unique<Rig>(options);
    const StrategyEntry& entry = **FindStrategy("generative_classifier");
    StrategyEnvironment environment;
    environment.feature_count = kCornerFeatures;
    environment.arena = &rig_->arena;
    environment.network = rig_->network.get();
    environment.units = &rig_->units;
    const StrategySpec spec{"generative_classifier",
                            {{"class_hidden", int64_t{12}},
                             {"latent", int64_t{2}},
                             {"class_learning_rate", 0.01},
                             {"samples", int64_t{5}}}};
    auto made = entry.make(*StrategyParameters::Resolve(entry.help, spec), environment);
    strategy_ = std::move(made).value();
    inner_ = rig_->network->Bind(rig_->arena.flat());
  }

  Observation Step(const at::Tensor& rows, const std::vector<int32_t>& classes) {
    const std::vector<int32_t> tasks(classes.size(), 0);
    const std::vector<uint64_t> sequences(classes.size(), 1);
    BatchView view;
    view.rows = rows.size(0);
    view.feature_count = kCornerFeatures;
    view.features = absl::MakeConstSpan(rows.data_ptr<float>(), rows.numel());
    view.classes = classes;
    view.tasks = tasks;
    view.sequences = sequences;
    rig_->Load(view);
    auto seen = strategy_->Observe(*rig_->batch, *rig_->context,
                                   [](TrainingBatch&, StepContext&) -> absl::StatusOr<Observation> {
                                     return absl::InternalError("the plain step is not taken");
                                   });
    EXPECT_TRUE(seen.ok()) << seen.status();
    return seen.ok() ? *std::move(seen) : Observation();
  }

  void LearnCorner(int32_t corner, int steps) {
    const std::vector<int32_t> corners(8, corner);
    for (int step = 0; step < steps; ++step) Step(CornerRows(corners, &draws_), corners);
  }

  // [rows, 3] log-likelihoods as served now.
  at::Tensor Served(const at::Tensor& rows) {
    const auto pass = strategy_->Serve(*inner_);
    const at::Tensor scores = at::empty({rows.size(0), 3});
    pass->Run(rows.data_ptr<float>(), rows.size(0), {}, &scratch_, scores.data_ptr<float>());
    return scores;
  }

  std::unique_ptr<Rig> rig_;
  std::unique_ptr<Strategy> strategy_;
  std::unique_ptr<const ForwardPass> inner_;
  ForwardScratch scratch_;
  Generator draws_{3};
};

TEST_F(GenerativeClassifierTest, TheClassThatMakesARowLikeliestAnswers) {
  LearnCorner(0, 100);
  LearnCorner(1, 100);
  const at::Tensor best = Served(BothCorners(20, &draws_)).argmax(1);
  for (int64_t row = 0; row < 20; ++row) EXPECT_EQ(best[row].item<int64_t>(), row % 2) << row;
}

TEST_F(GenerativeClassifierTest, AnotherClassDoesNotChangeWhatOneLearned) {
  LearnCorner(0, 50);
  const at::Tensor rows = BothCorners(10, &draws_);
  const at::Tensor before = Served(rows).narrow(1, 0, 1).clone();
  LearnCorner(1, 50);
  EXPECT_TRUE(before.equal(Served(rows).narrow(1, 0, 1)));
}

TEST_F(GenerativeClassifierTest, AClassWithoutAnExampleNeverAnswers) {
  EXPECT_TRUE(Served(BothCorners(2, &draws_)).isfinite().all().item<bool>());
  LearnCorner(1, 2);
  EXPECT_EQ(Served(BothCorners(6, &draws_)).argmax(1).eq(1).sum().item<int64_t>(), 6);
}

TEST_F(GenerativeClassifierTest, TheModelsOwnNetworkIsLeftAlone) {
  const at::Tensor before = rig_->arena.flat().clone();
  LearnCorner(0, 5);
  EXPECT_TRUE(before.equal(rig_->arena.flat()));
}

TEST_F(GenerativeClassifierTest, AStepReportsTheScoresBeforeIt) {
  LearnCorner(0, 50);
  LearnCorner(1, 50);
  const at::Tensor rows = BothCorners(6, &draws_);
  const at::Tensor first = Step(rows, {0, 1, 0, 1, 0, 1}).logits.clone();
  EXPECT_EQ(first.narrow(1, 0, 2).argmax(1).sum().item<int64_t>(), 3);
  EXPECT_FALSE(first.equal(Step(rows, {0, 1, 0, 1, 0, 1}).logits));
}

TEST_F(GenerativeClassifierTest, ASkippedStepChangesNoClass) {
  LearnCorner(0, 3);
  const std::string before = SavedBytes(*strategy_);
  at::Tensor rows = BothCorners(2, &draws_);
  rows[1][2] = std::numeric_limits<float>::infinity();
  const Observation seen = Step(rows, {0, 1});
  EXPECT_TRUE(seen.skipped);
  EXPECT_FALSE(seen.skip_reason.empty());
  EXPECT_EQ(SavedBytes(*strategy_), before);
}

TEST_F(GenerativeClassifierTest, AServedPassDoesNotFollowLaterSteps) {
  LearnCorner(0, 5);
  const auto pass = strategy_->Serve(*inner_);
  const at::Tensor rows = BothCorners(4, &draws_);
  const at::Tensor before = at::empty({4, 3}), after = at::empty({4, 3});
  pass->Run(rows.data_ptr<float>(), 4, {}, &scratch_, before.data_ptr<float>());
  LearnCorner(0, 5);
  pass->Run(rows.data_ptr<float>(), 4, {}, &scratch_, after.data_ptr<float>());
  EXPECT_TRUE(before.equal(after));
  EXPECT_FALSE(before.equal(Served(rows)));
}

}  // namespace
}  // namespace engram::strategies
