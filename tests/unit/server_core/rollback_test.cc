// Rollback: what it brings back, what it drops, and that recovery repeats it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "google/rpc/error_details.pb.h"
#include "server/lineage.h"
#include "tests/testing/server/model_bench.h"

namespace engram::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::MakeBoundary;
using testing::MakeExample;
using testing::MakeExamples;
using testing::MakeHeldOut;
using testing::MakeMessage;
using testing::MakeSpec;
using testing::ModelBench;

TEST(RollbackTest, BringsBackLearnerClassesAndTask) {
  ModelBench bench;
  bench.LearnNow(MakeExamples(3, 1));
  const v1::Checkpoint checkpoint = bench.CheckpointNow("before");
  const uint64_t digest = bench.learner().digest();
  bench.LearnNow(MakeExamples(3, 2));
  bench.BoundaryNow("b");
  bench.LearnNow(MakeExamples(3, 3));
  bench.Settle();
  const v1::RollbackResponse response = bench.RollbackNow("before");
  EXPECT_EQ(response.checkpoint(), checkpoint.id());
  EXPECT_EQ(response.previous_version(), 10);
  EXPECT_EQ(response.restored_sequence(), 3);
  EXPECT_EQ(response.rollback_sequence(), 11);
  EXPECT_EQ(response.dropped().first(), 4);
  EXPECT_EQ(response.dropped().last(), 10);
  EXPECT_EQ(response.dropped_examples(), 6);
  EXPECT_THAT(response.undone_boundaries(), ElementsAre("task-1"));
  EXPECT_EQ(bench.learner().digest(), digest);
  const v1::Model model = bench.model().Describe();
  EXPECT_EQ(model.version(), 11);
  EXPECT_EQ(model.classes_size(), 1);
  EXPECT_EQ(model.current_task(), "task-1");
  EXPECT_THAT(model.tasks(), ElementsAre("task-1", "b"));
  EXPECT_EQ(bench.model().statistics().manual_rollbacks, 1);
}

TEST(RollbackTest, WhatComesAfterIsLearnedOnTheRestoredModel) {
  ModelBench bench;
  bench.LearnNow(MakeExamples(3, 1));
  bench.CheckpointNow("before");
  bench.LearnNow(MakeExamples(5, 2));
  bench.RollbackNow("before");
  bench.LearnNow({MakeExample(8), MakeExample(9), MakeExample(8)});
  bench.Settle();
  EXPECT_THAT(bench.learner().trained(), ElementsAre(10, 11, 12));
  const Served live = bench.model().Live();
  ASSERT_EQ(live.view->labels.size(), 3);
  EXPECT_EQ(live.view->labels[1].number(), 8);  // class indexes are given anew
  EXPECT_EQ(bench.model().Report().train_examples(), 6);
  EXPECT_EQ(bench.model().Report().dropped_examples(), 5);
}

TEST(RollbackTest, ALaggingTrainerJumpsWithoutLearningWhatIsDropped) {
  ModelBench bench;
  bench.LearnNow(MakeExamples(3, 1));
  bench.CheckpointNow("before");
  for (int i = 0; i < 50; ++i) bench.Learn(MakeExamples(100, 2));
  bench.Learn({MakeHeldOut(1, "later")});
  bench.store().Commit();
  const auto answer = bench.Rollback("before");
  bench.model().RunOnce();  // submits the record
  bench.store().Commit();
  bench.model().RunOnce();  // stands behind it
  ASSERT_TRUE(answer->has_value());
  const v1::RollbackResponse response = ***answer;
  EXPECT_EQ(response.dropped_examples(), 5000);
  EXPECT_EQ(bench.model().Live().version(), response.rollback_sequence());
  EXPECT_TRUE(bench.learner().trained().empty());
  bench.Settle();
  EXPECT_TRUE(bench.learner().trained().empty());
  const v1::Report report = bench.model().Report();
  ASSERT_EQ(report.tasks_size(), 2);
  EXPECT_EQ(report.tasks(1).held_out_rows(), 1);  // held-out rows are not undone
}

TEST(RollbackTest, HeldOutRowsPassedOverBelongToTheTaskOfTheirTime) {
  ModelBench bench;
  bench.LearnNow(MakeExamples(3, 1));
  bench.CheckpointNow("before");
  bench.Learn(MakeExamples(3, 2));
  bench.Boundary("b");
  bench.Learn({MakeHeldOut(2)});
  bench.store().Commit();
  bench.RollbackNow("before");
  const v1::Report report = bench.model().Report();
  EXPECT_EQ(report.tasks(0).held_out_rows(), 0);
  EXPECT_EQ(report.tasks(1).held_out_rows(), 1);
}

TEST(RollbackTest, ADryRunOnlyTells) {
  ModelBench bench;
  bench.LearnNow(MakeExamples(3, 1));
  bench.CheckpointNow("before");
  bench.LearnNow(MakeExamples(4, 2));
  bench.BoundaryNow();
  bench.Settle();
  v1::RollbackRequest request;
  request.set_checkpoint("before");
  request.set_dry_run(true);
  absl::optional<absl::StatusOr<v1::RollbackResponse>> answer;
  bench.model().Rollback(request, [&](absl::StatusOr<v1::RollbackResponse> response) {
    answer = std::move(response);
  });
  ASSERT_TRUE(answer.has_value() && answer->ok());
  EXPECT_EQ((*answer)->dropped_examples(), 4);
  EXPECT_EQ((*answer)->rollback_sequence(), 0);
  EXPECT_EQ((*answer)->undone_boundaries_size(), 1);
  EXPECT_EQ(bench.model().DurableSequence(), 8);
  EXPECT_EQ(bench.model().Report().rollbacks_size(), 0);
  request.set_expected_current_version(7);
  bench.model().Rollback(request, [&](absl::StatusOr<v1::RollbackResponse> response) {
    answer = std::move(response);
  });
  EXPECT_TRUE(absl::IsAborted(answer->status()));
}

TEST(RollbackTest, ToWhatIsServedIsNothing) {
  ModelBench bench;
  bench.LearnNow(MakeExamples(3, 1));
  bench.CheckpointNow("now");
  const v1::RollbackResponse response = bench.RollbackNow("now");
  EXPECT_EQ(response.rollback_sequence(), 0);
  EXPECT_EQ(response.restored_sequence(), 3);
  EXPECT_EQ(bench.model().DurableSequence(), 3);
}

TEST(RollbackTest, ComparesTheVersionAndRunsOneAtATime) {
  ModelBench bench;
  bench.LearnNow(MakeExamples(3, 1));
  bench.CheckpointNow("before");
  bench.LearnNow(MakeExamples(3, 2));
  bench.Settle();
  const auto lost = bench.Rollback("before", 3);
  bench.Settle();
  EXPECT_TRUE(absl::IsAborted((*lost)->status()));
  EXPECT_EQ((*lost)->status().message(), "current is 6, request expected 3");
  const auto first = bench.Rollback("before", 6);
  const auto second = bench.Rollback("before");
  ASSERT_TRUE(second->has_value());
  EXPECT_TRUE(absl::IsAborted((*second)->status()));
  EXPECT_EQ((*second)->status().message(), "rollback in progress");
  bench.Settle();
  EXPECT_TRUE((*first)->ok());
}

TEST(RollbackTest, UnknownAndDamagedCheckpointsAreRefusedBeforeAnythingHappens) {
  ModelBench bench;
  bench.LearnNow(MakeExamples(3, 1));
  const std::string id = bench.CheckpointNow("before").id();
  bench.LearnNow(MakeExamples(3, 2));
  bench.Settle();
  EXPECT_TRUE(absl::IsNotFound((*bench.Rollback("nothing"))->status()));
  bench.store().CorruptCheckpoint(bench.uid(), id);
  const auto damaged = bench.Rollback("before");
  bench.Settle();
  EXPECT_TRUE(absl::IsDataLoss((*damaged)->status()));
  EXPECT_EQ(bench.model().DurableSequence(), 6);
  EXPECT_EQ(bench.model().Live().version(), 6);
}

TEST(RollbackTest, APausedModelMayBeRolledBackAndStaysPaused) {
  ModelBench bench;
  bench.LearnNow(MakeExamples(3, 1));
  bench.CheckpointNow("before");
  bench.LearnNow(MakeExamples(3, 2));
  bench.Settle();
  bench.model().SetPaused(true);
  bench.Settle();
  const v1::RollbackResponse response = bench.RollbackNow("before");
  EXPECT_EQ(bench.model().Live().version(), response.rollback_sequence());
  EXPECT_TRUE(bench.model().Describe().paused());
}

TEST(RollbackTest, ItsRecordGetsACheckpointAndUntilThenTheTargetIsPinned) {
  ModelBench bench;
  bench.LearnNow(MakeExamples(3, 1));
  const std::string id = bench.CheckpointNow("before").id();
  bench.LearnNow(MakeExamples(3, 2));
  bench.CheckpointNow("later");
  const auto answer = bench.Rollback("before");
  bench.Train();
  ASSERT_TRUE(answer->has_value());
  const absl::Status pinned = bench.model().DeleteCheckpoint(id);
  EXPECT_TRUE(absl::IsFailedPrecondition(pinned));
  EXPECT_THAT(std::string(pinned.message()), HasSubstr("pinned"));
  bench.Settle();
  EXPECT_TRUE(bench.model().DeleteCheckpoint(id).ok());
  const auto checkpoints = *bench.model().ListCheckpoints();
  ASSERT_EQ(checkpoints.size(), 2);
  EXPECT_EQ(checkpoints[0].applied_sequence(), 7);
  const uint64_t digest = bench.learner().digest();
  bench.Restart();
  EXPECT_EQ(bench.learner().digest(), digest);
  EXPECT_EQ(bench.model().Live().version(), 7);
}

TEST(RollbackTest, TheRowsOfUndoneBoundariesStayMarked) {
  ModelBench bench;
  bench.LearnNow({MakeHeldOut(1), MakeExample(1), MakeExample(1)});
  bench.BoundaryNow("b");
  bench.CheckpointNow("one");
  bench.LearnNow({MakeHeldOut(2), MakeExample(2), MakeExample(2)});
  bench.BoundaryNow("c");
  bench.Settle();
  const uint64_t record = bench.RollbackNow("one").rollback_sequence();
  for (bool restarted : {false, true}) {
    if (restarted) bench.Restart();
    const v1::Report report = bench.model().Report();
    ASSERT_EQ(report.rows_size(), 2);
    EXPECT_EQ(report.rows(0).undone_by(), 0);
    EXPECT_EQ(report.rows(1).undone_by(), record);
    ASSERT_EQ(report.rollbacks_size(), 1);
    EXPECT_EQ(report.rollbacks(0).dropped_examples(), 2);
    EXPECT_EQ(report.summary().acc(), 1.0);  // of the row that stands
  }
  EXPECT_TRUE(bench.store().importance().List(bench.uid())->size() == 1);
}

TEST(RollbackTest, GoesForwardToABranchThatAnEarlierRollbackLeft) {
  ModelBench bench;
  bench.LearnNow(MakeExamples(3, 1));
  bench.CheckpointNow("early");
  bench.LearnNow(MakeExamples(3, 2));
  bench.CheckpointNow("late");
  const uint64_t late = bench.learner().digest();
  bench.RollbackNow("early");
  bench.LearnNow(MakeExamples(3, 3));
  bench.Settle();
  const v1::RollbackResponse forward = bench.RollbackNow("late");
  EXPECT_EQ(bench.learner().digest(), late);
  EXPECT_EQ(forward.dropped_examples(), 3);
  EXPECT_EQ(bench.model().Report().train_examples(), 6);
  bench.Restart();
  EXPECT_EQ(bench.learner().digest(), late);
}

TEST(RollbackTest, ACrashBeforeTheRecordIsDurableLeavesTheOldState) {
  ModelBench bench;
  bench.LearnNow(MakeExamples(3, 1));
  bench.CheckpointNow("before");
  bench.LearnNow(MakeExamples(3, 2));
  bench.Settle();
  const uint64_t digest = bench.learner().digest();
  const auto answer = bench.Rollback("before");
  bench.model().RunOnce();
  bench.Restart();
  EXPECT_FALSE(answer->has_value());
  EXPECT_EQ(bench.learner().digest(), digest);
  EXPECT_EQ(bench.model().Live().version(), 6);
}

TEST(RollbackTest, ACrashAfterTheRecordIsDurableLeavesTheNewState) {
  for (int turns = 0; turns < 3; ++turns) {
    ModelBench bench;
    bench.LearnNow(MakeExamples(3, 1));
    const std::string id = bench.CheckpointNow("before").id();
    const uint64_t digest = bench.learner().digest();
    bench.LearnNow({MakeExample(2), MakeHeldOut(3), MakeExample(2), MakeExample(2)});
    bench.Settle();
    bench.Rollback("before");
    bench.model().RunOnce();
    bench.store().Commit();
    for (int i = 0; i < turns; ++i) bench.model().RunOnce();
    bench.Restart();
    EXPECT_EQ(bench.learner().digest(), digest);
    EXPECT_EQ(bench.model().Live().version(), 8);
    EXPECT_EQ(bench.model().Report().rollbacks_size(), 1);
    EXPECT_EQ(bench.model().Report().tasks(0).held_out_rows(), 1);
    EXPECT_TRUE(bench.model().DeleteCheckpoint(id).ok());  // the alias is there
  }
}

TEST(RollbackTest, WithoutItsCheckpointARollbackIsReplayedByCapturingTheStateOnTheWay) {
  ModelBench bench;
  bench.LearnNow(MakeExamples(4, 1));
  const std::string target = bench.CheckpointNow("target").id();
  bench.LearnNow(MakeExamples(5, 2));
  bench.RollbackNow("target");
  bench.LearnNow(MakeExamples(4, 3));
  bench.Settle();
  const uint64_t digest = bench.learner().digest();
  const uint64_t version = bench.model().Live().version();
  ASSERT_TRUE(bench.store().checkpoints().RemoveAll(bench.uid()).ok());
  bench.Restart();
  EXPECT_EQ(bench.learner().digest(), digest);
  EXPECT_EQ(bench.model().Live().version(), version);
}

// A replay of the whole log also evaluates undone boundaries that the live trainer had jumped over,
// and with them baselines that it never measured.
std::string Standing(v1::Report report) {
  auto* rows = report.mutable_rows();
  rows->erase(std::remove_if(rows->begin(), rows->end(),
                             [](const v1::AccuracyRow& row) { return row.undone_by() != 0; }),
              rows->end());
  for (v1::TaskReport& task : *report.mutable_tasks()) task.clear_baseline();
  report.mutable_summary()->clear_fwt();
  report.mutable_task_summary()->clear_fwt();
  return report.DebugString();
}

// Everything a client may do, killed and replayed.
class RandomRollbackTest : public ::testing::TestWithParam<int> {};

void Act(ModelBench* bench, std::mt19937_64* random, std::vector<std::string>* checkpoints) {
  const int what = static_cast<int>((*random)() % 20);
  if (what < 9) {
    std::vector<v1::Example> examples;
    for (uint64_t i = 0; i <= (*random)() % 5; ++i) {
      const auto label = static_cast<int64_t>((*random)() % 6);
      examples.push_back((*random)() % 4 == 0 ? MakeHeldOut(label) : MakeExample(label));
    }
    bench->Learn(std::move(examples));
  } else if (what < 11) {
    bench->Boundary();
  } else if (what < 13) {
    bench->clock().Advance(absl::Milliseconds(60));
    bench->Train();
  } else if (what < 15) {
    checkpoints->push_back(bench->CheckpointNow().id());
  } else if (what < 17 && !checkpoints->empty()) {
    bench->Rollback((*checkpoints)[(*random)() % checkpoints->size()]);
  } else {
    bench->model().RunOnce();
    bench->store().Commit();
    if ((*random)() % 2 == 0) bench->background().RunOne();
  }
}

TEST_P(RandomRollbackTest, ReplayOfTheWholeLogWithoutCheckpointsGivesTheSameBits) {
  std::mt19937_64 random(GetParam());
  v1::ModelSpec spec = MakeSpec();
  spec.set_max_batch_wait_ms(50);
  spec.set_held_out_fraction(0.1);
  ModelBench bench(spec);
  std::vector<std::string> checkpoints;
  for (int round = 0; round < 8; ++round) {
    const uint64_t acts = 5 + random() % 15;
    for (uint64_t i = 0; i < acts; ++i) Act(&bench, &random, &checkpoints);
    if (random() % 2 == 0) continue;
    bench.Restart();
    const auto producers = *bench.store().log().Producers(bench.uid());
    bench.next_producer_sequence = producers.empty() ? 1 : producers[0].last_sequence + 1;
  }
  bench.Settle();
  bench.clock().Advance(absl::Seconds(1));
  bench.Settle();
  const uint64_t digest = bench.learner().digest();
  const v1::Report report = bench.model().Report();
  EXPECT_GT(bench.model().DurableSequence(), 20);
  bench.Restart();
  EXPECT_EQ(bench.learner().digest(), digest);
  EXPECT_EQ(bench.model().Report().DebugString(), report.DebugString());
  ASSERT_TRUE(bench.store().checkpoints().RemoveAll(bench.uid()).ok());
  bench.Restart();
  EXPECT_EQ(bench.learner().digest(), digest);
  EXPECT_EQ(Standing(bench.model().Report()), Standing(report));
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomRollbackTest, ::testing::Range(1, 41));

}  // namespace
}  // namespace engram::server
