// The guard: when it fires, what comes of it, and that recovery repeats what came of it.
#include "server/canary.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/testing/server/model_bench.h"

namespace engram::server {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;
using testing::MakeExample;
using testing::MakeHeldOut;
using testing::MakeSpec;
using testing::ModelBench;
using Fired = v1::ReportEvent::Canary;

v1::AccuracyRow Measured(uint64_t sequence, const std::vector<double>& accuracies,
                         int64_t rows = 100) {
  v1::AccuracyRow row;
  row.set_sequence(sequence);
  for (const double accuracy : accuracies) {
    row.add_cells()->set_accuracy(accuracy);
    row.mutable_cells(row.cells_size() - 1)->set_held_out_rows(rows);
  }
  return row;
}

void Rewind(uint64_t record, uint64_t restored, Rewinds* rewinds) {
  auto* rewind = rewinds->Add();
  rewind->set_record(record);
  rewind->set_restored(restored);
}

TEST(CanaryTest, FallsOnlyBeyondWhatIsAllowedAndOnce) {
  Canary canary;
  EXPECT_EQ(canary.Judge(Measured(10, {0.95}), 0.05, {}).judged, 0) << "nothing to hold it against";
  const auto at_the_limit = canary.Judge(Measured(20, {0.90}), 0.05, {});
  EXPECT_TRUE(at_the_limit.good());
  EXPECT_NEAR(at_the_limit.drop, 0.05, 1e-12);
  const auto fallen = canary.Judge(Measured(30, {0.89}), 0.05, {});
  ASSERT_EQ(fallen.falls.size(), 1u);
  EXPECT_EQ(fallen.falls[0].best, 0.95);
  EXPECT_EQ(fallen.falls[0].now, 0.89);
  EXPECT_EQ(fallen.falls[0].best_version, 10u);
  EXPECT_EQ(fallen.falls[0].good_version, 20u);
  const auto still_low = canary.Judge(Measured(40, {0.5}), 0.05, {});
  EXPECT_TRUE(still_low.falls.empty()) << "said already";
  EXPECT_FALSE(still_low.good());
  EXPECT_TRUE(canary.Judge(Measured(50, {0.91}), 0.05, {}).good());
  EXPECT_EQ(canary.Judge(Measured(60, {0.5}), 0.05, {}).falls.size(), 1u) << "fell again";
}

TEST(CanaryTest, JudgesEachTaskByItselfAndNoneOfFewRows) {
  Canary canary;
  canary.Judge(Measured(10, {0.9, 0.3}), 0.1, {});
  const auto verdict = canary.Judge(Measured(20, {0.2, 0.4}), 0.1, {});
  ASSERT_EQ(verdict.falls.size(), 1u);
  EXPECT_EQ(verdict.falls[0].task, 0);
  EXPECT_EQ(verdict.judged, 2);
  Canary other;
  other.Judge(Measured(10, {0.9}, Canary::kRowsMin - 1), 0.1, {});
  EXPECT_EQ(other.Judge(Measured(20, {0.1}, Canary::kRowsMin - 1), 0.1, {}).judged, 0);
}

TEST(CanaryTest, WhatARollbackUndidIsNoMeasure) {
  Canary canary;
  canary.Judge(Measured(10, {0.7}), 0.1, {});
  canary.Judge(Measured(20, {0.95}), 0.1, {});
  Rewinds rewinds;
  Rewind(30, 10, &rewinds);
  EXPECT_TRUE(canary.Judge(Measured(40, {0.68}), 0.1, rewinds).good());
  Rewind(50, 20, &rewinds);  // forward again
  EXPECT_FALSE(canary.Judge(Measured(60, {0.68}), 0.1, rewinds).good());
}

TEST(CanaryTest, TheBestOutlivesManyMeasurements) {
  Canary canary;
  canary.Judge(Measured(1, {0.95}), 0.1, {});
  for (uint64_t i = 2; i < 200; ++i) {
    ASSERT_TRUE(canary.Judge(Measured(i, {0.9}), 0.1, {}).good());
  }
  const auto verdict = canary.Judge(Measured(200, {0.8}), 0.1, {});
  ASSERT_EQ(verdict.falls.size(), 1u);
  EXPECT_EQ(verdict.falls[0].best_version, 1u);
}

v1::ModelSpec GuardedSpec(v1::Guard::Action action, int64_t max_rollbacks = 3) {
  v1::ModelSpec spec = MakeSpec();
  spec.set_evaluate_every_examples(30);
  spec.mutable_guard()->set_canary_drop(0.2);
  spec.mutable_guard()->set_action(action);
  spec.mutable_guard()->set_max_rollbacks(max_rollbacks);
  return spec;
}

std::vector<v1::Example> Rows(int count, bool flipped) {
  std::vector<v1::Example> examples;
  for (int i = 0; i < count; ++i) {
    const int64_t label = 1 + i % 2;
    examples.push_back(MakeExample(flipped ? 3 - label : label));
    *examples.back().mutable_features() = MakeExample(label).features();
  }
  return examples;
}

// Forty held-out rows, thirty honest examples, evaluated: every row is right.
void LearnHonestly(ModelBench* bench) {
  std::vector<v1::Example> canary;
  for (int i = 0; i < 40; ++i) canary.push_back(MakeHeldOut(1 + i % 2));
  bench->LearnNow(canary);
  bench->LearnNow(Rows(30, /*flipped=*/false));
  bench->Settle();
}

void Poison(ModelBench* bench, int count = 90) {
  bench->LearnNow(Rows(count, /*flipped=*/true));
  bench->Settle();
}

TEST(CanaryGateTest, ReportsWhatFellAndLeavesTheModelAlone) {
  ModelBench bench(GuardedSpec(v1::Guard::REPORT));
  int events = 0;
  const uint64_t id = bench.model().Watch([&](const v1::ReportEvent& event) {
    events += event.kind_case() == v1::ReportEvent::kCanary ? 1 : 0;
  });
  LearnHonestly(&bench);
  EXPECT_EQ(bench.model().statistics().canary_drops, 0u);
  Poison(&bench);
  const v1::Report report = bench.model().Report();
  ASSERT_EQ(report.canaries_size(), 1);
  EXPECT_EQ(report.canaries(0).task(), "task-1");
  EXPECT_EQ(report.canaries(0).best(), 1.0);
  EXPECT_EQ(report.canaries(0).now(), 0.0);
  EXPECT_EQ(report.canaries(0).held_out_rows(), 40);
  EXPECT_EQ(report.canaries(0).version(), 160u);
  EXPECT_EQ(report.canaries(0).outcome(), Fired::REPORTED);
  EXPECT_EQ(events, 1);
  EXPECT_EQ(report.rollbacks_size(), 0);
  EXPECT_EQ(bench.model().statistics().canary_drops, 1u);
  EXPECT_EQ(bench.model().statistics().canary_drop, 1.0);
  EXPECT_EQ(bench.model().Describe().state(), v1::Model::SERVING);
  Poison(&bench);
  EXPECT_EQ(bench.model().Report().canaries_size(), 1) << "once, until it has recovered";
  bench.model().Unwatch(id);
}

TEST(CanaryGateTest, IsSilentBelowTheThresholdAndWithoutAGuard) {
  ModelBench bench(GuardedSpec(v1::Guard::ROLLBACK));
  LearnHonestly(&bench);
  bench.CheckpointNow("good");
  bench.LearnNow(Rows(90, /*flipped=*/false));
  bench.LearnNow(Rows(10, /*flipped=*/true));  // one in ten: the class means hardly move
  bench.Settle();
  EXPECT_EQ(bench.model().Report().canaries_size(), 0);
  EXPECT_EQ(bench.model().Report().rollbacks_size(), 0);
  v1::ModelSpec unguarded = GuardedSpec(v1::Guard::REPORT);
  unguarded.clear_guard();
  ModelBench other(unguarded);
  LearnHonestly(&other);
  Poison(&other);
  EXPECT_EQ(other.model().Report().canaries_size(), 0);
}

TEST(CanaryGateTest, RollsBackToTheCheckpointBeforeThePoisonAndRecoveryRepeatsIt) {
  ModelBench bench(GuardedSpec(v1::Guard::ROLLBACK));
  LearnHonestly(&bench);
  const v1::Checkpoint good = bench.CheckpointNow("good");
  const uint64_t digest = bench.learner().digest();
  bench.LearnNow(Rows(15, /*flipped=*/true));
  bench.CheckpointNow("half-poisoned");  // newer than the last good evaluation: not the target
  Poison(&bench);
  const v1::Report report = bench.model().Report();
  ASSERT_EQ(report.canaries_size(), 1);
  EXPECT_EQ(report.canaries(0).outcome(), Fired::ROLLBACK);
  EXPECT_EQ(report.canaries(0).checkpoint(), good.id());
  ASSERT_EQ(report.rollbacks_size(), 1);
  EXPECT_EQ(report.rollbacks(0).checkpoint(), good.id());
  EXPECT_EQ(report.rollbacks(0).dropped_examples(), 105);
  EXPECT_EQ(bench.learner().digest(), digest);
  EXPECT_EQ(bench.model().statistics().automatic_rollbacks, 1u);
  EXPECT_EQ(bench.model().statistics().manual_rollbacks, 0u);
  EXPECT_FALSE(bench.model().Describe().paused());
  ASSERT_EQ(bench.guard_actions.size(), 1u);
  EXPECT_EQ(bench.guard_actions[0].method, "engram.v1.Checkpoints/Rollback");
  EXPECT_EQ(bench.guard_actions[0].model, "digits");
  EXPECT_EQ(bench.guard_actions[0].checkpoint, good.id());
  EXPECT_TRUE(bench.guard_actions[0].outcome.ok());
  const uint64_t version = bench.model().Live().version();
  EXPECT_EQ(version, report.rollbacks(0).sequence());
  bench.Restart();
  EXPECT_EQ(bench.learner().digest(), digest);
  EXPECT_EQ(bench.model().Live().version(), version);
  ASSERT_TRUE(bench.store().checkpoints().RemoveAll(bench.uid()).ok());
  bench.Restart();
  EXPECT_EQ(bench.learner().digest(), digest) << "a replay of the whole log";
  EXPECT_EQ(bench.model().Report().rollbacks_size(), 1) << "and no second one";
  EXPECT_EQ(bench.guard_actions.size(), 1u) << "what is repeated was told";
}

TEST(CanaryGateTest, WithoutACheckpointFromBeforeItOnlyReports) {
  ModelBench bench(GuardedSpec(v1::Guard::ROLLBACK));
  LearnHonestly(&bench);
  bench.LearnNow(Rows(15, /*flipped=*/true));
  bench.CheckpointNow("too-late");
  Poison(&bench);
  const v1::Report report = bench.model().Report();
  ASSERT_EQ(report.canaries_size(), 1);
  EXPECT_EQ(report.canaries(0).outcome(), Fired::REPORTED);
  EXPECT_EQ(report.rollbacks_size(), 0);
  EXPECT_TRUE(bench.guard_actions.empty()) << "nothing was done";
}

TEST(CanaryGateTest, PausesWithTheLastRollbackThatIsAllowedUntilResumed) {
  ModelBench bench(GuardedSpec(v1::Guard::ROLLBACK, /*max_rollbacks=*/2));
  LearnHonestly(&bench);
  bench.CheckpointNow("good");
  const uint64_t digest = bench.learner().digest();
  Poison(&bench);
  EXPECT_FALSE(bench.model().Describe().paused());
  ASSERT_TRUE(bench.model().DeleteCheckpoint("good").ok());  // the one at the record is as good
  Poison(&bench);
  ASSERT_EQ(bench.model().Report().canaries_size(), 2);
  EXPECT_EQ(bench.model().Report().canaries(1).outcome(), Fired::ROLLBACK_AND_PAUSE);
  ASSERT_EQ(bench.guard_actions.size(), 3u);
  EXPECT_EQ(bench.guard_actions[2].method, "engram.v1.Models/PauseTraining");
  v1::Model model = bench.model().Describe();
  EXPECT_TRUE(model.paused());
  EXPECT_EQ(model.state(), v1::Model::SERVING);
  EXPECT_THAT(model.state_reason(), HasSubstr("after 2 rollbacks: task-1 fell from 1 to 0"));
  Poison(&bench);
  EXPECT_EQ(bench.learner().digest(), digest) << "nothing more is trained";
  bench.Restart();
  EXPECT_TRUE(bench.model().Describe().paused());
  EXPECT_EQ(bench.model().Describe().state_reason(), model.state_reason());
  EXPECT_EQ(bench.learner().digest(), digest);
  bench.model().SetPaused(false);
  bench.LearnNow(Rows(240, /*flipped=*/false));
  bench.Settle();
  model = bench.model().Describe();
  EXPECT_FALSE(model.paused());
  EXPECT_EQ(model.state_reason(), "");
}

TEST(CanaryGateTest, AGoodRowOfRForgivesEarlierRollbacks) {
  ModelBench bench(GuardedSpec(v1::Guard::ROLLBACK, /*max_rollbacks=*/2));
  LearnHonestly(&bench);
  bench.CheckpointNow("good");
  Poison(&bench);
  bench.LearnNow(Rows(30, /*flipped=*/false));
  bench.BoundaryNow("b");
  bench.Settle();
  Poison(&bench);
  EXPECT_EQ(bench.model().Report().rollbacks_size(), 2);
  EXPECT_FALSE(bench.model().Describe().paused());
}

TEST(CanaryGateTest, ARestartedServerKnowsTheRowsOfR) {
  ModelBench bench(GuardedSpec(v1::Guard::ROLLBACK));
  LearnHonestly(&bench);
  bench.BoundaryNow("b");
  bench.Settle();
  bench.Restart();
  Poison(&bench);
  const v1::Report report = bench.model().Report();
  ASSERT_EQ(report.canaries_size(), 1);
  EXPECT_EQ(report.canaries(0).task(), "task-1");
  EXPECT_EQ(report.canaries(0).outcome(), Fired::ROLLBACK);
}

TEST(CanaryGateTest, ADamagedCheckpointLeavesAReport) {
  ModelBench bench(GuardedSpec(v1::Guard::ROLLBACK, /*max_rollbacks=*/1));
  LearnHonestly(&bench);
  const std::string id = bench.CheckpointNow("good").id();
  bench.store().CorruptCheckpoint(bench.uid(), id);
  Poison(&bench);
  EXPECT_EQ(bench.model().Report().canaries_size(), 1);
  EXPECT_EQ(bench.model().Report().rollbacks_size(), 0);
  EXPECT_FALSE(bench.model().Describe().paused());
  ASSERT_EQ(bench.guard_actions.size(), 1u);
  EXPECT_FALSE(bench.guard_actions[0].outcome.ok());
  EXPECT_THAT(bench.model().DeleteCheckpoint(id).ToString(), Not(HasSubstr("pinned")));
}

}  // namespace
}  // namespace engram::server
