// experience_replay's options: what fills the memory, how it is kept, and what it weighs.
#include <algorithm>
#include <map>
#include <utility>
#include <vector>

#include "strategies/memory/exemplar_memory.h"
#include "tests/unit/strategies_builtin/replay_rig.h"

namespace engram::strategies {
namespace {

std::map<std::pair<int32_t, int32_t>, int64_t> CountByTaskAndClass(ReplayRig& rig) {
  std::map<std::pair<int32_t, int32_t>, int64_t> counts;
  const size_t kept = rig.Kept().size();
  for (size_t i = 0; i < kept; ++i) {
    const auto exemplar = DecodeExemplar(rig.strategy().Payload(static_cast<int64_t>(i)), 4);
    ENGRAM_CHECK(exemplar.ok());
    ++counts[{exemplar->task, exemplar->class_index}];
  }
  return counts;
}

TEST(ExperienceReplayTest, TaskEndFillsWithPerClassExamplesOfEachClassOfTheTask) {
  ReplayRig rig("experience_replay",
                {{"fill", std::string("task_end")}, {"per_class", int64_t{3}}});
  rig.Step({0, 1, 0, 1});
  EXPECT_TRUE(rig.Kept().empty());
  rig.Boundary({0, 1, 0, 0, 1, 1, 0, 1, 1});
  EXPECT_EQ(CountByTaskAndClass(rig),
            (std::map<std::pair<int32_t, int32_t>, int64_t>{{{0, 0}, 3}, {{0, 1}, 3}}));
  rig.Step({2, 3}, nullptr, 1);
  rig.Boundary({2, 2, 2, 2, 3}, 1);  // a class with fewer gives what it has
  EXPECT_EQ(CountByTaskAndClass(rig), (std::map<std::pair<int32_t, int32_t>, int64_t>{
                                          {{0, 0}, 3}, {{0, 1}, 3}, {{1, 2}, 3}, {{1, 3}, 1}}));
}

TEST(ExperienceReplayTest, ExamplesAtABoundaryAreWantedOnlyByTaskEnd) {
  EXPECT_EQ(ReplayRig("experience_replay").strategy().ConsolidationExamples(), 0);
  ReplayRig rig("experience_replay",
                {{"fill", std::string("task_end")}, {"per_class", int64_t{400}}});
  EXPECT_EQ(rig.strategy().ConsolidationExamples(), 8000);
}

TEST(ExperienceReplayTest, ByNumberIsOneMean) {
  ReplayRig rig("experience_replay", {{"replay_batch_size", int64_t{3}}});
  rig.Step({0, 1, 0, 1});
  rig.Step({0}, [](TrainingBatch& batch, StepContext&) {
    ASSERT_EQ(batch.rows(), 4);
    for (int64_t row = 0; row < 4; ++row) EXPECT_EQ(batch.loss_rows().coefficient(row), 0.25f);
  });
}

TEST(ExperienceReplayTest, TaskShareWeighsTheStreamByOneOverTheTasks) {
  ReplayRig rig("experience_replay", {{"weighting", std::string("task_share")}});
  rig.Step({0, 1});
  rig.Step({0, 1}, [](TrainingBatch& batch, StepContext&) {
    EXPECT_EQ(batch.rows(), 2);  // in the first task the memory's share is nothing
    EXPECT_EQ(batch.loss_rows().coefficient(0), 0.5f);
  });
  rig.Boundary({});
  rig.Boundary({});
  rig.Step({0, 1}, [](TrainingBatch& batch, StepContext&) {
    ASSERT_EQ(batch.rows(), 4);
    for (int64_t row = 0; row < 4; ++row) {
      EXPECT_FLOAT_EQ(batch.loss_rows().coefficient(row), row < 2 ? 1.0f / 6 : 1.0f / 3);
    }
  });
}

TEST(ExperienceReplayTest, RingsKeepTheNewestOfEachClassOrTask) {
  ReplayRig classes("experience_replay",
                    {{"policy", std::string("class_ring")}, {"ring_size", int64_t{2}}});
  ReplayRig tasks("experience_replay",
                  {{"policy", std::string("task_ring")}, {"ring_size", int64_t{2}}});
  for (ReplayRig* rig : {&classes, &tasks}) {
    rig->Step({0, 1, 0, 0});
    rig->Step({0, 1, 1, 1}, nullptr, 1);
  }
  const auto sorted = [](std::vector<uint64_t> kept) {
    std::sort(kept.begin(), kept.end());
    return kept;
  };
  EXPECT_EQ(sorted(classes.Kept()), (std::vector<uint64_t>{4, 5, 7, 8}));
  EXPECT_EQ(sorted(tasks.Kept()), (std::vector<uint64_t>{3, 4, 7, 8}));
}

TEST(ExperienceReplayTest, ABudgetOfBytesLowersTheNumberKept) {
  const int64_t each = 4 + kExemplarOverheadBytes;  // four features of a byte
  ReplayRig rig("experience_replay",
                {{"storage", std::string("uint8")}, {"memory_bytes", 3 * each + 1}});
  rig.Step({0, 1, 0, 1, 0, 1});
  EXPECT_EQ(rig.Kept().size(), 3u);
  LearnerGauges gauges;
  rig.strategy().AddGauges(&gauges);
  EXPECT_EQ(gauges.episodic_bytes, 3 * each);
}

TEST(ExperienceReplayTest, ABudgetThatHoldsNothingIsRefused) {
  const StrategyEntry& entry = **FindStrategy("experience_replay");
  StrategyEnvironment environment;
  environment.feature_count = 100;
  const StrategySpec spec{"experience_replay", {{"memory_bytes", int64_t{99}}}};
  const auto made = entry.make(*StrategyParameters::Resolve(entry.help, spec), environment);
  EXPECT_EQ(made.status().code(), absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace engram::strategies
