// Held-out sets, rows of R, baselines, live evaluation, events.
#include "server/evaluator.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "server/held_out_sets.h"
#include "server/record_kind.h"
#include "server/report_book.h"
#include "server/sequence_hash.h"
#include "tests/testing/server/model_bench.h"

namespace engram::server {
namespace {

using ::testing::ElementsAre;
using testing::FakeStore;
using testing::MakeExample;
using testing::MakeHeldOut;
using testing::MakeSpec;
using testing::ModelBench;

HeldOutSets::Options SetOptions(int64_t max_per_task) {
  HeldOutSets::Options options;
  options.model = 1;
  options.feature_count = 2;
  options.max_per_task = max_per_task;
  options.seed = 5;
  return options;
}

std::vector<uint64_t> Sequences(HeldOutSets* sets, const std::string& task) {
  std::vector<uint64_t> sequences;
  for (const auto& row : sets->Share().at(task)->rows) sequences.push_back(row.sequence);
  std::sort(sequences.begin(), sequences.end());
  return sequences;
}

TEST(HeldOutSetsTest, KeepTheRowsOfHighestPriorityWhateverTheOrderOfRestarts) {
  FakeStore store;
  HeldOutSets sets(SetOptions(10), &store.held_out());
  for (uint64_t sequence = 1; sequence <= 200; ++sequence) {
    sets.Add("a", sequence, MakeHeldOut(1));
  }
  std::vector<uint64_t> expected(200);
  for (uint64_t i = 0; i < 200; ++i) expected[i] = i + 1;
  std::sort(expected.begin(), expected.end(), [](uint64_t x, uint64_t y) {
    return HeldOutPriority(5, x) > HeldOutPriority(5, y);
  });
  expected.resize(10);
  std::sort(expected.begin(), expected.end());
  EXPECT_EQ(Sequences(&sets, "a"), expected);

  // The first hundred became durable, the rest comes again from the log.
  FakeStore other_store;
  HeldOutSets before(SetOptions(10), &other_store.held_out());
  for (uint64_t sequence = 1; sequence <= 100; ++sequence) {
    before.Add("a", sequence, MakeHeldOut(1));
  }
  ASSERT_TRUE(before.WriteAdded().ok());
  ASSERT_TRUE(before.WriteEvicted(100).ok());
  HeldOutSets after(SetOptions(10), &other_store.held_out());
  ASSERT_TRUE(after.Load(100).ok());
  for (uint64_t sequence = 50; sequence <= 200; ++sequence) {
    after.Add("a", sequence, MakeHeldOut(1));  // those up to 100 are known
  }
  EXPECT_EQ(Sequences(&after, "a"), expected);
}

TEST(HeldOutSetsTest, ASharedSetDoesNotChange) {
  FakeStore store;
  HeldOutSets sets(SetOptions(10), &store.held_out());
  sets.Add("a", 1, MakeHeldOut(1));
  const HeldOutSets::View view = sets.Share();
  sets.Add("a", 2, MakeHeldOut(2));
  EXPECT_EQ(view.at("a")->rows.size(), 1);
  EXPECT_EQ(view.at("a")->features, (std::vector<float>{10, 1}));
  EXPECT_EQ(sets.Share().at("a")->rows.size(), 2);
}

TEST(HeldOutSetsTest, EvictedRowsAreDeletedOnlyBehindTheirEvictor) {
  FakeStore store;
  HeldOutSets sets(SetOptions(1), &store.held_out());
  uint64_t later = 2;
  while (HeldOutPriority(5, later) < HeldOutPriority(5, 1)) ++later;
  sets.Add("a", 1, MakeHeldOut(1));
  sets.Add("a", later, MakeHeldOut(2));
  auto stored = [&] {
    int rows = 0;
    EXPECT_TRUE(store.held_out().ForEach(1, [&](storage::HeldOutRow) { return ++rows > 0; }).ok());
    return rows;
  };
  ASSERT_TRUE(sets.WriteAdded().ok());
  ASSERT_TRUE(sets.WriteEvicted(later - 1).ok());
  EXPECT_EQ(stored(), 2);
  ASSERT_TRUE(sets.WriteEvicted(later).ok());
  EXPECT_EQ(stored(), 1);
}

// Two tasks of two classes each; held-out rows of both come before anything is learned.
void RunTwoTasks(ModelBench* bench) {
  bench->LearnNow({MakeHeldOut(1, "one"), MakeHeldOut(2, "one"), MakeHeldOut(3, "two"),
                   MakeHeldOut(4, "two")});
  bench->LearnNow({MakeExample(1), MakeExample(2), MakeExample(1)});
  bench->BoundaryNow("two");
  bench->LearnNow({MakeExample(3), MakeExample(4), MakeExample(3)});
  bench->BoundaryNow("three");
  bench->Settle();
}

v1::ModelSpec TwoTaskSpec() {
  v1::ModelSpec spec = MakeSpec();
  spec.set_first_task("one");
  return spec;
}

TEST(ReportTest, RowsAreBoundariesAndColumnsAreTasks) {
  ModelBench bench(TwoTaskSpec());
  RunTwoTasks(&bench);
  const v1::Report report = bench.model().Report();
  ASSERT_EQ(report.rows_size(), 2);
  EXPECT_EQ(report.rows(0).ended_task(), "one");
  EXPECT_EQ(report.rows(0).cells(0).accuracy(), 1.0);
  EXPECT_EQ(report.rows(0).cells(1).accuracy(), 0.0);  // classes without an output are wrong
  EXPECT_EQ(report.rows(1).ended_task(), "two");
  EXPECT_EQ(report.rows(1).cells(0).accuracy(), 1.0);
  EXPECT_EQ(report.rows(1).cells(1).accuracy(), 1.0);
  EXPECT_FALSE(report.rows(1).cells(2).has_accuracy());  // "three" has no held-out rows
  EXPECT_EQ(report.summary().acc(), 1.0);
  EXPECT_EQ(report.summary().bwt(), 0.0);
  EXPECT_EQ(report.summary().fwt(), 0.0);
  EXPECT_EQ(report.tasks(1).baseline(), 0.0);
  EXPECT_EQ(report.tasks(1).held_out_rows(), 2);
  EXPECT_EQ(report.tasks(1).best_accuracy(), 1.0);
}

TEST(ReportTest, ForgettingShowsWhenATaskMovesAClass) {
  ModelBench bench(TwoTaskSpec());
  bench.LearnNow({MakeHeldOut(1), MakeExample(1), MakeExample(2), MakeExample(2)});
  bench.BoundaryNow("two");
  // Class 1 now looks like 9: its mean leaves the held-out row of task one to class 2.
  v1::Example moved = MakeExample(9);
  moved.mutable_label()->set_number(1);
  bench.LearnNow(std::vector<v1::Example>(6, moved));
  bench.BoundaryNow("three");
  bench.Settle();
  const v1::Report report = bench.model().Report();
  EXPECT_EQ(report.rows(0).cells(0).accuracy(), 1.0);
  EXPECT_EQ(report.rows(1).cells(0).accuracy(), 0.0);
  EXPECT_EQ(report.tasks(0).forgetting(), 1.0);
  EXPECT_EQ(report.tasks(0).accuracy(), 0.0);
  EXPECT_EQ(report.tasks(0).best_accuracy(), 1.0);
}

TEST(ReportTest, TaskAccuracyLooksAtTheTasksOwnClasses) {
  ModelBench bench(TwoTaskSpec());
  bench.LearnNow({MakeExample(1), MakeExample(1), MakeExample(1)});
  bench.BoundaryNow("two");
  v1::Example near_one = MakeHeldOut(2, "two");  // labelled 2, looks like 1
  near_one.mutable_features()->set_dense(MakeExample(1).features().dense());
  bench.LearnNow({near_one, MakeExample(2), MakeExample(2), MakeExample(2)});
  bench.BoundaryNow("three");
  bench.Settle();
  const v1::AccuracyRow::Cell cell = bench.model().Report().rows(1).cells(1);
  EXPECT_EQ(cell.accuracy(), 0.0);
  EXPECT_EQ(cell.task_accuracy(), 1.0);
}

TEST(ReportTest, ForwardTransferOnlyCountsTasksWhoseRowsCameFirst) {
  ModelBench bench(TwoTaskSpec());
  bench.LearnNow({MakeHeldOut(1), MakeExample(1), MakeExample(1)});
  bench.BoundaryNow("two");
  bench.LearnNow({MakeExample(2), MakeExample(2), MakeHeldOut(2)});
  bench.BoundaryNow("three");
  bench.Settle();
  const v1::Report report = bench.model().Report();
  EXPECT_FALSE(report.summary().has_fwt());
  EXPECT_FALSE(report.tasks(1).has_baseline());
  EXPECT_TRUE(report.summary().has_acc());
}

TEST(ReportTest, BaselinesOutliveARestart) {
  ModelBench bench(TwoTaskSpec());
  RunTwoTasks(&bench);
  const std::string report = bench.model().Report().DebugString();
  bench.Restart();
  EXPECT_EQ(bench.model().Report().DebugString(), report);
}

TEST(ReportTest, ABoundaryOfTheDriftDetectorIsMarkedAndStaysMarked) {
  ModelBench bench(TwoTaskSpec());
  bench.LearnNow({MakeHeldOut(1), MakeExample(1), MakeExample(1), MakeExample(1)});
  bench.BoundaryNow("two");
  internal::BoundaryRecord boundary;
  boundary.set_next_task("three");
  boundary.set_source(internal::BoundaryRecord::DRIFT);
  storage::Submission submission;
  submission.model = bench.uid();
  submission.records.push_back(
      {static_cast<uint8_t>(RecordKind::kBoundary), boundary.SerializeAsString()});
  ASSERT_TRUE(bench.store().log().Submit(submission, [](const absl::Status&) {}).ok());
  bench.Settle();
  for (const bool restarted : {false, true}) {
    if (restarted) bench.Restart();
    const v1::Report report = bench.model().Report();
    ASSERT_EQ(report.rows_size(), 2);
    EXPECT_FALSE(report.rows(0).drift());
    EXPECT_TRUE(report.rows(1).drift());
    EXPECT_EQ(report.rows(1).ended_task(), "two");
    EXPECT_EQ(report.rows(1).cells(0).accuracy(), 1.0);
  }
}

TEST(ReportTest, ExemplarsAreCountedByTaskAndByClassWithTheirNames) {
  StreamState state = StreamState::Fresh(TwoTaskSpec());
  v1::Label label;
  for (const int64_t number : {7, 8, 9}) {
    label.set_number(number);
    state.ApplyExample(label, "two", /*held_out=*/false);
  }
  strategies::LearnerGauges gauges;
  gauges.episodic_by_task = {0, 5};
  gauges.episodic_by_class = {4, 0, 1, 2};  // the last one has no label yet
  ReportBook book("m");
  book.SetStream(3, state, gauges);
  const v1::Report report = book.Report(3, {});
  ASSERT_EQ(report.tasks_size(), 2);
  EXPECT_EQ(report.tasks(0).exemplars(), 0);
  EXPECT_EQ(report.tasks(1).exemplars(), 5);
  ASSERT_EQ(report.classes_size(), 2);
  EXPECT_EQ(report.classes(0).label().number(), 7);
  EXPECT_EQ(report.classes(0).exemplars(), 4);
  EXPECT_EQ(report.classes(1).label().number(), 9);
  EXPECT_EQ(report.classes(1).exemplars(), 1);
}

TEST(ReportTest, ExemplarsOfClassesBeyondAThousandAreNotListed) {
  StreamState state = StreamState::Fresh(TwoTaskSpec());
  v1::Label label;
  for (int64_t number = 0; number < 1001; ++number) {
    label.set_number(number);
    state.ApplyExample(label, "", /*held_out=*/false);
  }
  strategies::LearnerGauges gauges;
  gauges.episodic_by_class.assign(1001, 1);
  ReportBook book("m");
  book.SetStream(1, state, gauges);
  EXPECT_EQ(book.Report(1, {}).classes_size(), 1000);
}

TEST(ReportTest, LiveEvaluationComesBetweenBoundariesWithinItsShare) {
  v1::ModelSpec spec = TwoTaskSpec();
  spec.set_evaluate_every_examples(6);
  ModelBench bench(spec);
  bench.LearnNow({MakeHeldOut(1), MakeHeldOut(2)});
  bench.LearnNow({MakeExample(1), MakeExample(1), MakeExample(1)});
  bench.Settle();
  EXPECT_FALSE(bench.model().Report().tasks(0).has_accuracy());
  bench.LearnNow({MakeExample(1), MakeExample(1), MakeExample(1)});
  bench.Settle();
  EXPECT_EQ(bench.model().Report().tasks(0).accuracy(), 0.5);
  EXPECT_EQ(bench.model().Report().rows_size(), 0);
}

TEST(ReportTest, WatchersSeeTheReportThenEveryEvent) {
  ModelBench bench(TwoTaskSpec());
  std::vector<std::string> events;
  const uint64_t id = bench.model().Watch([&](const v1::ReportEvent& event) {
    switch (event.kind_case()) {
      case v1::ReportEvent::kReport:
        events.push_back("report");
        break;
      case v1::ReportEvent::kEvaluated:
        events.push_back("row " + event.evaluated().row().ended_task());
        break;
      case v1::ReportEvent::kCheckpoint:
        events.push_back(absl::StrCat("checkpoint ", event.checkpoint().applied_sequence()));
        break;
      case v1::ReportEvent::kRolledBack:
        events.push_back(absl::StrCat("back to ", event.rolled_back().restored_sequence()));
        break;
      default:
        events.push_back("?");
    }
  });
  EXPECT_THAT(events, ElementsAre("report"));
  bench.LearnNow({MakeHeldOut(1), MakeExample(1), MakeExample(1)});
  bench.BoundaryNow("two");
  bench.Settle();
  EXPECT_THAT(events, ElementsAre("report", "row one", "report", "checkpoint 4"));
  events.clear();
  bench.LearnNow({MakeExample(2), MakeExample(2), MakeExample(2)});
  bench.Settle();
  bench.RollbackNow((*bench.model().ListCheckpoints())[0].id());
  EXPECT_THAT(events, ElementsAre("back to 4", "report"));
  bench.model().Unwatch(id);
  bench.BoundaryNow("two");
  bench.Settle();
  EXPECT_EQ(events.size(), 2);
}

}  // namespace
}  // namespace engram::server
