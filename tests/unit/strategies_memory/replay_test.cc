// experience_replay, step by step: what enters a batch, what enters the memory, and when.
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "strategies/core/registry.h"
#include "tests/unit/strategies_memory/fisher_rig.h"

namespace engram::strategies {
namespace {

constexpr int64_t kFeatures = 3;

// What the step below the strategy saw.
struct SeenBatch {
  int64_t stream_rows = 0;
  std::vector<uint64_t> sequences;
  std::vector<int64_t> targets;
  std::vector<float> first_features;
};

class ReplayTest : public testing::Test {
 protected:
  ReplayTest()
      : rig_(RigOptions(kFeatures, {4}, 0).Head(HeadKind::kPerTask)), batch_(kFeatures, 2048) {
    Make({});
  }

  void Make(absl::btree_map<std::string, ParameterValue> parameters) {
    parameters.insert({"memory_size", int64_t{20}});
    const StrategyEntry& entry = **FindStrategy("experience_replay");
    StrategySpec spec{"experience_replay", parameters};
    StrategyEnvironment environment;
    environment.feature_count = kFeatures;
    environment.batch_size = 8;
    environment.seed = 5;
    environment.arena = &rig_.arena();
    auto made = entry.make(*StrategyParameters::Resolve(entry.help, spec), environment);
    ASSERT_TRUE(made.ok()) << made.status();
    strategy_ = std::move(made).value();
  }

  // Rows of one (task, class); each feature is its sequence number.
  SeenBatch Step(int64_t rows, int32_t task, int32_t cls, bool skip = false) {
    rig_.Admit(std::vector<int32_t>(rows, task), std::vector<int32_t>(rows, cls));
    std::vector<float> features;
    std::vector<uint64_t> sequences;
    for (int64_t row = 0; row < rows; ++row) {
      sequences.push_back(++sequence_);
      features.insert(features.end(), kFeatures, static_cast<float>(sequence_));
    }
    const std::vector<int32_t> classes(rows, cls), tasks(rows, task);
    BatchView view;
    view.rows = rows;
    view.feature_count = kFeatures;
    view.features = features;
    view.classes = classes;
    view.tasks = tasks;
    view.sequences = sequences;
    batch_.Reset(view, rig_.units());
    SeenBatch seen;
    const auto observation = strategy_->Observe(
        batch_, rig_.context(),
        [&](TrainingBatch& batch, StepContext&) -> absl::StatusOr<Observation> {
          seen.stream_rows = batch.stream_rows();
          seen.sequences.assign(batch.sequences().begin(), batch.sequences().end());
          seen.targets.assign(batch.targets().begin(), batch.targets().end());
          for (int64_t row = 0; row < batch.rows(); ++row) {
            seen.first_features.push_back(batch.row(row)[0]);
          }
          Observation result;
          result.skipped = skip;
          return result;
        });
    EXPECT_TRUE(observation.ok()) << observation.status();
    return seen;
  }

  std::set<uint64_t> Kept() const {
    std::set<uint64_t> kept;
    for (const MemberKey& member : strategy_->Members()) kept.insert(member.sequence);
    return kept;
  }

  FisherRig rig_;
  TrainingBatch batch_;
  std::unique_ptr<Strategy> strategy_;
  uint64_t sequence_ = 0;
};

TEST_F(ReplayTest, RowsAreOfferedAfterTheStep) {
  const SeenBatch first = Step(4, 0, 0);
  EXPECT_EQ(first.sequences, (std::vector<uint64_t>{1, 2, 3, 4}));
  const SeenBatch second = Step(4, 0, 0);
  ASSERT_EQ(second.sequences.size(), 8u);
  EXPECT_EQ(second.stream_rows, 4);
  for (size_t row = 4; row < 8; ++row) EXPECT_LE(second.sequences[row], 4u);
  EXPECT_EQ(std::set<uint64_t>(second.sequences.begin(), second.sequences.end()).size(), 8u);
}

TEST_F(ReplayTest, ReplaysTheFeaturesAsTheyCame) {
  Step(8, 0, 0);
  const SeenBatch seen = Step(8, 0, 1);
  for (size_t row = 0; row < seen.sequences.size(); ++row) {
    EXPECT_EQ(seen.first_features[row], static_cast<float>(seen.sequences[row]));
  }
}

TEST_F(ReplayTest, ASkippedStepEntersNothing) {
  Step(4, 0, 0);
  const std::set<uint64_t> before = Kept();
  Step(4, 0, 0, /*skip=*/true);
  EXPECT_EQ(Kept(), before);
}

TEST_F(ReplayTest, AReplayedRowKeepsTheUnitOfItsOwnTask) {
  Step(4, 0, 7);
  const SeenBatch seen = Step(4, 1, 7);  // the same class in another task has another unit
  ASSERT_EQ(seen.targets.size(), 8u);
  for (size_t row = 0; row < 8; ++row) {
    EXPECT_EQ(seen.targets[row], rig_.units().Find(row < 4 ? 1 : 0, 7));
  }
  EXPECT_NE(rig_.units().Find(0, 7), rig_.units().Find(1, 7));
}

TEST_F(ReplayTest, DrawsTheGivenNumberAndWithReplacementWhenTheMemoryIsSmaller) {
  Make({{"replay_batch_size", int64_t{6}}});
  Step(4, 0, 0);
  const SeenBatch seen = Step(2, 0, 0);
  EXPECT_EQ(seen.sequences.size(), 8u);  // 2 + 6 out of 4
  Step(8, 0, 0);
  EXPECT_EQ(Step(2, 0, 0).sequences.size(), 8u);
}

TEST_F(ReplayTest, TheNumberMayChangeLive) {
  const StrategyEntry& entry = **FindStrategy("experience_replay");
  Step(8, 0, 0);
  strategy_->Reconfigure(*StrategyParameters::Resolve(
      entry.help, {"experience_replay", {{"replay_batch_size", int64_t{3}}}}));
  EXPECT_EQ(Step(8, 0, 0).sequences.size(), 11u);
  EXPECT_GE(strategy_->ExtraRows(8), 1024);  // room for any later change
}

TEST_F(ReplayTest, TheCutOfTheBatchesDoesNotMatterToTheMemory) {
  for (int i = 0; i < 40; ++i) Step(4, 0, 0);
  const std::set<uint64_t> fours = Kept();
  EXPECT_EQ(fours.size(), 20u);
  Make({});
  sequence_ = 0;
  for (int i = 0; i < 20; ++i) Step(8, 0, 0);
  EXPECT_EQ(Kept(), fours);
}

TEST_F(ReplayTest, GaugesCountByTaskAndInBytes) {
  Step(4, 0, 0);
  Step(6, 2, 1);
  LearnerGauges gauges;
  strategy_->AddGauges(&gauges);
  EXPECT_EQ(gauges.episodic_by_task, (std::vector<int64_t>{4, 0, 6}));
  EXPECT_EQ(gauges.episodic_by_class, (std::vector<int64_t>{4, 6}));
  EXPECT_EQ(gauges.episodic_bytes, 10 * (4 * kFeatures + 36));
}

TEST_F(ReplayTest, AMemoryThatCannotBeHeldIsRefused) {
  const StrategyEntry& entry = **FindStrategy("experience_replay");
  StrategyEnvironment environment;
  environment.feature_count = 65536;
  environment.arena = &rig_.arena();
  const StrategySpec spec{"experience_replay", {{"memory_size", int64_t{10000000}}}};
  const auto made = entry.make(*StrategyParameters::Resolve(entry.help, spec), environment);
  EXPECT_EQ(made.status().code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace engram::strategies
