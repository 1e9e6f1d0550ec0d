#include <gmock/gmock.h>

#include <string>

#include "strategies/api/learner.h"
#include "strategies/core/state_archive.h"
#include "tests/unit/strategies_core/small_stream.h"

namespace engram::strategies {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kFeatures = 16;

struct Case {
  const char* name;
  OptimizerKind optimizer;
  double momentum;
  HeadKind head;
  std::vector<StrategySpec> strategies;
};

StrategySpec Replay(const char* policy) {
  return {"experience_replay", {{"memory_size", int64_t{12}}, {"policy", std::string(policy)}}};
}

StrategySpec Fisher(const char* name, const char* estimator) {
  return {name, {{"fisher", std::string(estimator)}, {"fisher_examples", int64_t{30}}}};
}

ModelOptions Options(const Case& c) {
  ModelOptions options = SmallModel(kFeatures);
  options.optimizer.kind = c.optimizer;
  options.optimizer.momentum = c.momentum;
  options.optimizer.learning_rate = c.optimizer == OptimizerKind::kSgd ? 0.05 : 0.005;
  options.head.kind = c.head;
  options.head.head_classes = 40;
  options.strategies = c.strategies;
  return options;
}

std::unique_ptr<Learner> Fresh(const ModelOptions& options) { return *MakeLearner(options); }

SavedLearner SaveAll(const Learner& learner) {
  return *learner.Save([](const MemberKey&) { return false; });
}

// Steps and boundaries with ever new classes; `step` counts on across calls.
void Continue(Learner& learner, SmallStream& stream, int* step, int steps) {
  for (int i = 0; i < steps; ++i, ++*step) {
    const int32_t task = *step / 15;
    const auto report = learner.Train(stream.Next({*step / 3, task, (*step + 1) % 4}, task).View());
    ASSERT_TRUE(report.ok()) << report.status();
    if (*step % 15 == 14) {
      ASSERT_TRUE(learner.MarkBoundary({task, task + 1, static_cast<uint64_t>(*step)}).ok());
    }
  }
}

class RestoreTest : public ::testing::TestWithParam<Case> {};

TEST_P(RestoreTest, ARestoredLearnerContinuesBitForBit) {
  const ModelOptions options = Options(GetParam());
  auto uninterrupted = Fresh(options);
  SmallStream stream(kFeatures, 2);
  int step = 0;
  // Into the third task, past the growth of a head's reserved rows.
  Continue(*uninterrupted, stream, &step, 70);
  const SavedLearner saved = SaveAll(*uninterrupted);
  auto restored = Fresh(options);
  ASSERT_TRUE(restored->Restore(saved, AllPayloads(saved)).ok());
  EXPECT_EQ(SavedTensors(*restored), saved.tensors);
  EXPECT_TRUE(SaveAll(*restored).members == saved.members);
  SmallStream again = stream;
  int step_again = step;
  Continue(*uninterrupted, stream, &step, 40);
  Continue(*restored, again, &step_again, 40);
  EXPECT_EQ(SavedTensors(*restored), SavedTensors(*uninterrupted));
  EXPECT_TRUE(SaveAll(*restored).members == SaveAll(*uninterrupted).members);
}

TEST_P(RestoreTest, RestoreReplacesWhateverWasLearnedSince) {
  auto learner = Fresh(Options(GetParam()));
  SmallStream stream(kFeatures, 2);
  int step = 0;
  Continue(*learner, stream, &step, 20);
  const SavedLearner saved = SaveAll(*learner);
  Continue(*learner, stream, &step, 60);
  ASSERT_TRUE(learner->Restore(saved, AllPayloads(saved)).ok());
  EXPECT_EQ(SavedTensors(*learner), saved.tensors);
}

TEST_P(RestoreTest, AFailedRestoreLeavesTheStateUnchanged) {
  const ModelOptions options = Options(GetParam());
  auto learner = Fresh(options);
  SmallStream stream(kFeatures, 2);
  int step = 0;
  Continue(*learner, stream, &step, 20);
  const std::string before = SavedTensors(*learner);
  const SavedLearner saved = SaveAll(*learner);
  SavedLearner cut = saved;
  cut.tensors.pop_back();
  EXPECT_EQ(learner->Restore(cut, AllPayloads(saved)).code(), absl::StatusCode::kDataLoss);
  if (!saved.members.empty()) {
    std::vector<MemberPayload> payloads = AllPayloads(saved);
    payloads[0].bytes.pop_back();
    EXPECT_EQ(learner->Restore(saved, payloads).code(), absl::StatusCode::kDataLoss);
    payloads = AllPayloads(saved);
    payloads.pop_back();
    EXPECT_EQ(learner->Restore(saved, payloads).code(), absl::StatusCode::kDataLoss);
    payloads = AllPayloads(saved);
    std::swap(payloads.front(), payloads.back());
    EXPECT_EQ(learner->Restore(saved, payloads).code(), absl::StatusCode::kDataLoss);
  }
  EXPECT_EQ(SavedTensors(*learner), before);
}

INSTANTIATE_TEST_SUITE_P(
    Models, RestoreTest,
    ::testing::Values(
        Case{"Finetune", OptimizerKind::kSgd, 0, HeadKind::kGrowing, {}},
        Case{"Momentum", OptimizerKind::kSgd, 0.9, HeadKind::kGrowing, {}},
        Case{"AdamFixedHead", OptimizerKind::kAdam, 0, HeadKind::kFixed, {}},
        Case{"Replay", OptimizerKind::kSgd, 0, HeadKind::kGrowing, {Replay("reservoir")}},
        Case{"BalancedReplayPerTask",
             OptimizerKind::kAdamW,
             0,
             HeadKind::kPerTask,
             {Replay("class_balanced")}},
        Case{"Ewc", OptimizerKind::kSgd, 0, HeadKind::kGrowing, {Fisher("ewc", "exact")}},
        Case{"EwcAdam", OptimizerKind::kAdam, 0, HeadKind::kPerTask, {Fisher("ewc", "empirical")}},
        Case{"OnlineEwc",
             OptimizerKind::kSgd,
             0.5,
             HeadKind::kGrowing,
             {Fisher("online_ewc", "sampled")}},
        Case{"ReplayAndEwc",
             OptimizerKind::kSgd,
             0,
             HeadKind::kGrowing,
             {Replay("reservoir"), Fisher("ewc", "exact")}}),
    [](const auto& param_info) { return std::string(param_info.param.name); });

TEST(RestoreMismatchTest, AnotherModelIsRefusedNamingBoth) {
  auto learner = Fresh(SmallModel(kFeatures));
  SmallStream stream(kFeatures, 2);
  ASSERT_TRUE(learner->Train(stream.Next({0, 1}).View()).ok());
  const SavedLearner saved = SaveAll(*learner);
  const auto expect_refused = [&](ModelOptions options, const std::string& text) {
    const absl::Status status = Fresh(options)->Restore(saved, {});
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(text));
  };
  ModelOptions options = SmallModel(kFeatures);
  options.hidden = {9, 6};
  expect_refused(options, "[8,16], model needs Float [9,16]");
  options = SmallModel(kFeatures);
  options.optimizer.kind = OptimizerKind::kAdam;
  expect_refused(options, "optimizer.moment1");
  options = SmallModel(kFeatures);
  options.strategies = {{"experience_replay", {}}};
  expect_refused(options, "saved finetune, this model has experience_replay");
  options.strategies = {{"experience_replay", {}}, {"ewc", {}}};
  expect_refused(options, "saved 1, this model has 2");
  options = SmallModel(kFeatures);
  options.head.kind = HeadKind::kFixed;
  options.head.head_classes = 5;
  expect_refused(options, "saved 2 outputs, the fixed head has 5");
}

TEST(RestoreMismatchTest, MembersOfAModelWithoutMemoryAreRefused) {
  auto learner = Fresh(SmallModel(kFeatures));
  SavedLearner saved = SaveAll(*learner);
  saved.members.push_back({0, 1, 0});
  EXPECT_EQ(learner->Restore(saved, {{saved.members[0], "x"}}).code(), absl::StatusCode::kDataLoss);
}

TEST(RestoreMismatchTest, EveryFlippedHeaderBitIsRefusedOrHarmless) {
  auto learner = Fresh(SmallModel(4));
  SmallStream stream(4, 2);
  ASSERT_TRUE(learner->Train(stream.Next({0, 1}).View()).ok());
  const SavedLearner saved = SaveAll(*learner);
  const std::string before = SavedTensors(*learner);
  const size_t header_end =
      8 + static_cast<unsigned char>(saved.tensors[0]) +
      (static_cast<size_t>(static_cast<unsigned char>(saved.tensors[1])) << 8);
  int refused = 0;
  for (size_t at = 0; at < header_end; ++at) {
    SavedLearner flipped = saved;
    flipped.tensors[at] = static_cast<char>(flipped.tensors[at] ^ (1 << (at % 8)));
    const absl::Status status = learner->Restore(flipped, {});
    if (status.ok()) {
      ASSERT_TRUE(learner->Restore(saved, {}).ok());
      continue;
    }
    ++refused;
    EXPECT_TRUE(status.code() == absl::StatusCode::kDataLoss ||
                status.code() == absl::StatusCode::kFailedPrecondition)
        << status;
  }
  EXPECT_GT(refused, static_cast<int>(header_end / 2));
  EXPECT_EQ(SavedTensors(*learner), before);
}

TEST(SaveTest, StoredPayloadsAreNotSentAgain) {
  ModelOptions options = SmallModel(kFeatures);
  options.strategies = {Replay("reservoir"), Fisher("ewc", "exact")};
  auto learner = Fresh(options);
  SmallStream stream(kFeatures, 2);
  int step = 0;
  Continue(*learner, stream, &step, 12);
  const SavedLearner first = SaveAll(*learner);
  EXPECT_EQ(first.new_payloads.size(), first.members.size());
  EXPECT_EQ(first.members.size(), 12u + 30u);  // replay and the reservoir of the boundary
  const auto second =
      learner->Save([&first](const MemberKey& key) { return !(key == first.members[3]); });
  ASSERT_EQ(second->new_payloads.size(), 1u);
  EXPECT_TRUE(second->new_payloads[0].key == first.members[3]);
}

TEST(SaveTest, TheBoundaryEmptiesTheConsolidationReservoir) {
  ModelOptions options = SmallModel(kFeatures);
  options.strategies = {Fisher("ewc", "exact")};
  auto learner = Fresh(options);
  SmallStream stream(kFeatures, 2);
  for (int i = 0; i < 5; ++i) ASSERT_TRUE(learner->Train(stream.Next({0, 1}).View()).ok());
  EXPECT_EQ(SaveAll(*learner).members.size(), 10u);
  const auto report = learner->MarkBoundary({0, 1, 99});
  ASSERT_TRUE(report.ok());
  ASSERT_EQ(report->importance.size(), 1u);
  EXPECT_EQ(report->importance[0].examples, 10);
  EXPECT_TRUE(SaveAll(*learner).members.empty());
}

}  // namespace
}  // namespace engram::strategies
