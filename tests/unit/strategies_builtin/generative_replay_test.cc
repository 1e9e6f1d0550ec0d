// generative_replay, step by step: what enters a batch and with what weight, whose labels it
// carries, and what stands still.
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "strategies/core/registry.h"
#include "tests/unit/strategies_builtin/generative_rig.h"

namespace engram::strategies {
namespace {

namespace F = torch::nn::functional;
using Parameters = absl::btree_map<std::string, ParameterValue>;

// A copy of the rows that the step below the strategy saw.
struct SeenBatch {
  int64_t stream_rows = 0;
  at::Tensor features;
  std::vector<int64_t> targets;
  std::vector<int32_t> tasks;
  std::vector<float> coefficients;
};

ModelOptions SolverOptions(HeadKind head) {
  ModelOptions options;
  options.feature_count = kCornerFeatures;
  options.hidden = {12};
  options.head.kind = head;
  options.seed = 5;
  return options;
}

class GenerativeReplayTest : public testing::Test {
 protected:
  // One parameter set a fixture; Remake gives another.
  GenerativeReplayTest() { Remake(HeadKind::kGrowing, {}); }

  void Remake(HeadKind head, Parameters parameters) {
    rig_ = std::make_unique<Rig>(SolverOptions(head));
    parameters.insert({"generator_hidden", int64_t{16}});
    parameters.insert({"latent", int64_t{3}});
    parameters.insert({"generator_learning_rate", 0.01});
    const StrategyEntry& entry = **FindStrategy("generative_replay");
    StrategyEnvironment environment;
    environment.feature_count = kCornerFeatures;
    environment.batch_size = 8;
    environment.arena = &rig_->arena;
    environment.network = rig_->network.get();
    environment.units = &rig_->units;
    auto made = entry.make(
        *StrategyParameters::Resolve(entry.help, {"generative_replay", parameters}), environment);
    ASSERT_TRUE(made.ok()) << made.status();
    strategy_ = std::move(made).value();
  }

  // One step on rows whose class is their corner, plus `first_class`; `inner` stands for the rest.
  SeenBatch Step(const std::vector<int32_t>& corners, int32_t task, Next inner,
                 int32_t first_class = 0) {
    const at::Tensor rows = CornerRows(corners, &rows_generator_);
    std::vector<int32_t> classes;
    for (const int32_t corner : corners) classes.push_back(corner + first_class);
    const std::vector<int32_t> tasks(corners.size(), task);
    const std::vector<uint64_t> sequences(corners.size(), 1);
    BatchView view;
    view.rows = rows.size(0);
    view.feature_count = kCornerFeatures;
    view.features = absl::MakeConstSpan(rows.data_ptr<float>(), rows.numel());
    view.classes = classes;
    view.tasks = tasks;
    view.sequences = sequences;
    rig_->Load(view);
    SeenBatch seen;
    const auto observation = strategy_->Observe(
        *rig_->batch, *rig_->context, [&](TrainingBatch& batch, StepContext& context) {
          seen.stream_rows = batch.stream_rows();
          seen.features = batch.features().clone();
          seen.targets.assign(batch.targets().begin(), batch.targets().end());
          seen.tasks.assign(batch.tasks().begin(), batch.tasks().end());
          const auto coefficients = batch.loss_rows().coefficients;
          seen.coefficients.assign(coefficients.begin(), coefficients.end());
          return inner(batch, context);
        });
    EXPECT_TRUE(observation.ok()) << observation.status();
    rig_->context->ClearHooks();
    return seen;
  }

  SeenBatch Step(const std::vector<int32_t>& corners, int32_t task = 0) {
    return Step(corners, task, PlainStep);
  }
  static absl::StatusOr<Observation> PlainStep(TrainingBatch& batch, StepContext& context) {
    return context.PlainStep(batch);
  }
  static absl::StatusOr<Observation> SkippedStep(TrainingBatch&, StepContext&) {
    Observation skipped;
    skipped.skipped = true;
    return skipped;
  }

  void MarkBoundary(int32_t ended_task) {
    const ConsolidationSet none;
    BoundaryReport report;
    ASSERT_TRUE(
        strategy_->Consolidate({ended_task, ended_task + 1, 9}, none, *rig_->context, &report)
            .ok());
  }

  // A first task of both corners, learned well.
  void LearnFirstTask() {
    for (int step = 0; step < 300; ++step) Step({0, 1, 0, 1, 0, 1, 0, 1});
    MarkBoundary(0);
  }

  std::unique_ptr<Rig> rig_;
  std::unique_ptr<Strategy> strategy_;
  Generator rows_generator_{3};
};

TEST_F(GenerativeReplayTest, TheFirstTaskReplaysNothing) {
  EXPECT_EQ(Step({0, 1, 1}).targets.size(), 3u);
  EXPECT_EQ(Step({0, 1, 1}).targets.size(), 3u);
}

TEST_F(GenerativeReplayTest, ABoundaryBeforeAnyStepReplaysNothing) {
  MarkBoundary(0);
  EXPECT_EQ(Step({0, 1, 1}).targets.size(), 3u);
}

TEST_F(GenerativeReplayTest, StreamAndReplayShareTheLossByTheNumberOfTasks) {
  LearnFirstTask();
  for (const double share : {1.0 / 2, 1.0 / 3}) {
    const SeenBatch seen = Step({0, 1, 0, 1});
    ASSERT_EQ(seen.targets.size(), 8u);
    EXPECT_EQ(seen.stream_rows, 4);
    for (size_t row = 0; row < 8; ++row) {
      EXPECT_FLOAT_EQ(seen.coefficients[row],
                      static_cast<float>((row < 4 ? share : 1 - share) / 4));
    }
    MarkBoundary(1);
  }
}

TEST_F(GenerativeReplayTest, WhatIsReplayedLooksLikeThePastAndCarriesItsLabels) {
  LearnFirstTask();
  const SeenBatch seen = Step({0, 0, 0, 0, 0, 0, 0, 0});
  const at::Tensor drawn = seen.features.narrow(0, 8, 8);
  EXPECT_GE(drawn.min().item<float>(), 0);
  EXPECT_LE(drawn.max().item<float>(), 1);
  int64_t right = 0;
  for (int64_t row = 0; row < 8; ++row) {
    const Coverage where = CornerCoverage(drawn.narrow(0, row, 1));
    right += (seen.targets[static_cast<size_t>(8 + row)] == 0 ? where.first : where.second) > 0;
  }
  EXPECT_GE(right, 6);
}

TEST_F(GenerativeReplayTest, ReplayComesFromTheFrozenCopiesWhateverTheLiveNetsLearn) {
  LearnFirstTask();
  const Generator before = rig_->generator;
  const SeenBatch first = Step({0, 1, 0, 1}, 0, SkippedStep);
  for (int step = 0; step < 20; ++step) Step({1, 1, 1, 1});
  rig_->network->Reinitialise(&rig_->generator);
  rig_->generator = before;
  const SeenBatch second = Step({0, 1, 0, 1}, 0, SkippedStep);
  EXPECT_TRUE(first.features.narrow(0, 4, 4).equal(second.features.narrow(0, 4, 4)));
  EXPECT_EQ(first.targets, second.targets);
}

TEST_F(GenerativeReplayTest, AClassYoungerThanTheCopiesIsNeverReplayed) {
  LearnFirstTask();
  for (int step = 0; step < 30; ++step) {
    const SeenBatch seen = Step({0, 1, 0, 1}, 1, PlainStep, /*first_class=*/2);
    for (size_t row = 0; row < 4; ++row) EXPECT_GE(seen.targets[row], 2);
    for (size_t row = 4; row < 8; ++row) EXPECT_LT(seen.targets[row], 2);
  }
}

TEST_F(GenerativeReplayTest, WithAHeadATaskLabelsAreOfTasksSeenBeforeTheBoundary) {
  Remake(HeadKind::kPerTask, {});
  for (int step = 0; step < 20; ++step) Step({0, 1, 0, 1}, step % 2);
  MarkBoundary(1);
  std::set<int32_t> tasks;
  for (int step = 0; step < 20; ++step) {
    const SeenBatch seen = Step({0, 1, 0, 1}, 2);
    for (size_t row = 4; row < 8; ++row) {
      tasks.insert(seen.tasks[row]);
      EXPECT_EQ(rig_->units.owners()[seen.targets[row]].task, seen.tasks[row]);
    }
  }
  EXPECT_EQ(tasks, (std::set<int32_t>{0, 1}));
}

TEST_F(GenerativeReplayTest, ASkippedStepTrainsNoGenerator) {
  LearnFirstTask();
  Step({0, 1, 0, 1});
  const std::string before = SavedBytes(*strategy_);
  Step({0, 1, 0, 1}, 0, SkippedStep);
  EXPECT_EQ(SavedBytes(*strategy_), before);
}

// Cross-entropy over the stream, and T^2 KL to the old outputs over what is replayed: the gradient
// by the logits against autograd, with a class that the old outputs do not know.
TEST_F(GenerativeReplayTest, DistilledLabelsGiveTheGradientOfTheDivergence) {
  Remake(HeadKind::kGrowing, {{"labels", std::string("distilled")}, {"temperature", 3.0}});
  LearnFirstTask();
  const at::Tensor old_flat = rig_->arena.flat().clone();
  const auto old_pass = rig_->network->Bind(old_flat);
  Step({0, 1, 0, 1}, 1, PlainStep, /*first_class=*/1);  // class 2 is new
  torch::Tensor logits;
  at::Tensor gradient;
  double loss = 0;
  const SeenBatch seen = Step(
      {0, 1, 0, 1}, 1,
      [&](TrainingBatch& batch, StepContext& context) -> absl::StatusOr<Observation> {
        logits = context.Forward(batch).clone().set_requires_grad(true);
        loss = context.LossAndBackward(batch, context.Forward(batch));
        gradient = context.network().traces().back().output_gradient.clone();
        return SkippedStep(batch, context);
      },
      /*first_class=*/1);

  at::Tensor old_logits = at::empty({4, 2});
  ForwardScratch scratch;
  const at::Tensor drawn = seen.features.narrow(0, 4, 4).contiguous();
  old_pass->Run(drawn.data_ptr<float>(), 4, {}, &scratch, old_logits.data_ptr<float>());
  const at::Tensor old = at::constant_pad_nd((old_logits / 3).softmax(1), {0, 1});
  const torch::Tensor stream = F::cross_entropy(
      logits.narrow(0, 0, 4),
      torch::tensor(std::vector<int64_t>(seen.targets.begin(), seen.targets.begin() + 4)));
  const torch::Tensor log_new = torch::log_softmax(logits.narrow(0, 4, 4) / 3, 1);
  const torch::Tensor divergence = (at::xlogy(old, old) - old * log_new).sum(1).mean();
  const torch::Tensor expected = 0.5 * stream + 0.5 * 9 * divergence;
  expected.backward();
  EXPECT_NEAR(loss, expected.item<double>(), 1e-5);
  EXPECT_LT((gradient - logits.grad()).abs().max().item<double>(), 1e-6);
}

TEST_F(GenerativeReplayTest, TheGaugesSayHowManyClassesAreStillDrawn) {
  LearnFirstTask();
  LearnerGauges gauges;
  strategy_->AddGauges(&gauges);
  EXPECT_EQ(gauges.named.at("generated_classes"), 2);
  EXPECT_GT(gauges.named.at("generated_class_entropy_nats"), 0.5);
  EXPECT_LE(gauges.named.at("generated_class_entropy_nats"), std::log(2.0) + 1e-9);
  EXPECT_GT(gauges.named.at("generated_confidence_ratio"), 0.8);
}

TEST_F(GenerativeReplayTest, AnAdversarialGeneratorWithDistilledLabelsIsRestoredBitForBit) {
  ModelOptions options = SolverOptions(HeadKind::kPerTask);
  options.strategies = {{"generative_replay",
                         {{"generator", std::string("gan")},
                          {"labels", std::string("distilled")},
                          {"generator_hidden", int64_t{16}},
                          {"latent", int64_t{3}}}}};
  auto original = MakeLearner(options), restored = MakeLearner(options);
  ASSERT_TRUE(original.ok() && restored.ok());
  const auto learn = [](Learner* learner, int32_t task, Generator* generator) {
    for (int step = 0; step < 10; ++step) {
      const at::Tensor rows = BothCorners(8, generator);
      const std::vector<int32_t> classes = {0, 1, 0, 1, 0, 1, 0, 1}, tasks(8, task);
      const std::vector<uint64_t> sequences(8, 1);
      BatchView view;
      view.rows = 8;
      view.feature_count = kCornerFeatures;
      view.features = absl::MakeConstSpan(rows.data_ptr<float>(), rows.numel());
      view.classes = classes;
      view.tasks = tasks;
      view.sequences = sequences;
      ASSERT_TRUE(learner->Train(view).ok());
    }
    ASSERT_TRUE(learner->MarkBoundary({task, task + 1, 1}).ok());
  };
  Generator generator(3);
  learn(original->get(), 0, &generator);
  learn(original->get(), 1, &generator);
  const auto none = [](const MemberKey&) { return false; };
  const auto saved = (*original)->Save(none);
  ASSERT_TRUE(saved.ok());
  ASSERT_TRUE((*restored)->Restore(*saved, {}).ok());
  Generator same = generator;
  learn(original->get(), 2, &generator);
  learn(restored->get(), 2, &same);
  EXPECT_EQ((*original)->Save(none)->tensors, (*restored)->Save(none)->tensors);
  EXPECT_EQ((*original)->Gauges().named, (*restored)->Gauges().named);
}

}  // namespace
}  // namespace engram::strategies
