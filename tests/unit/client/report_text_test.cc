#include "client/report_text.h"

#include <cmath>

#include "client/table.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::client {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

v1::Report TwoTasks() {
  v1::Report report;
  report.set_model("digits");
  report.set_model_version(99);
  for (const char* name : {"t1", "t2"}) report.add_tasks()->set_task(name);
  report.mutable_tasks(0)->set_accuracy(0.5);
  v1::AccuracyRow* first = report.add_rows();
  first->set_ended_task("t1");
  first->add_cells()->set_accuracy(0.975);
  first->add_cells();
  v1::AccuracyRow* second = report.add_rows();
  second->set_ended_task("t2");
  second->add_cells()->set_accuracy(0.5);
  second->add_cells()->set_accuracy(0.9);
  report.mutable_summary()->set_acc(0.7);
  report.mutable_summary()->set_bwt(-0.475);
  return report;
}

TEST(ReportTextTest, ShowsTheMatrixTheFiguresAndTheirMeaning) {
  const std::string text = ReportText(TwoTasks());
  EXPECT_THAT(text, HasSubstr("after    t1    t2\n"
                              "t1     97.5     -\n"
                              "t2     50.0  90.0\n"));
  EXPECT_THAT(text, HasSubstr("ACC 70.0  BWT -47.5  FWT -  forgetting -"));
  EXPECT_THAT(text, HasSubstr("mean over j of R[T][j]"));
  EXPECT_THAT(text, Not(HasSubstr("within the task's own classes")));
}

TEST(ReportTextTest, MarksRowsThatARollbackUndid) {
  v1::Report report = TwoTasks();
  report.mutable_rows(1)->set_undone_by(1234);
  EXPECT_THAT(MatrixText(report, false), HasSubstr("t2 (undone by rollback 1234)"));
}

TEST(ReportTextTest, ListsRollbacksAndWhatTheyDropped) {
  v1::Report report = TwoTasks();
  report.add_rollbacks()->set_checkpoint("best");
  report.mutable_rollbacks(0)->set_dropped_examples(640);
  EXPECT_THAT(ReportText(report), HasSubstr("rolled back to best (version 0), 640 examples"));
}

TEST(ReportTextTest, SaysWhatTheGuardSaw) {
  v1::Report report = TwoTasks();
  v1::ReportEvent event;
  event.mutable_canary()->set_task("t1");
  event.mutable_canary()->set_best(0.95);
  event.mutable_canary()->set_now(0.25);
  event.mutable_canary()->set_version(77);
  event.mutable_canary()->set_held_out_rows(400);
  const std::string fell =
      "canary      t1 fell from 95.0 to 25.0 at version 77 on 400 held-out rows";
  EXPECT_EQ(EventText(event), fell);
  event.mutable_canary()->set_checkpoint("best");
  event.mutable_canary()->set_outcome(v1::ReportEvent::Canary::ROLLBACK_AND_PAUSE);
  *report.add_canaries() = event.canary();
  EXPECT_THAT(ReportText(report), HasSubstr(fell + ", going back to best and pausing\n"));
}

TEST(ReportTextTest, ShowsTheTaskIncrementalReadingWhenThereIsOne) {
  v1::Report report = TwoTasks();
  report.mutable_rows(0)->mutable_cells(0)->set_task_accuracy(1.0);
  EXPECT_THAT(ReportText(report), HasSubstr("within the task's own classes"));
  EXPECT_THAT(MatrixText(report, true), HasSubstr("100.0"));
}

TEST(ReportTextTest, AModelThatLearnedNothingHasNoMatrix) {
  v1::Report report;
  report.set_model("new");
  EXPECT_THAT(ReportText(report), Not(HasSubstr("ACC")));
}

TEST(ReportTextTest, EventsAreOneLine) {
  v1::ReportEvent event;
  event.mutable_rolled_back()->set_checkpoint("best");
  event.mutable_rolled_back()->set_dropped_examples(12);
  EXPECT_THAT(EventText(event), HasSubstr("rolled back to best"));
  EXPECT_THAT(EventText(event), HasSubstr("12 examples dropped"));
  *event.mutable_evaluated()->mutable_row() = TwoTasks().rows(1);
  EXPECT_EQ(EventText(event), "evaluated   after t2: 50.0 90.0");
  event.mutable_evaluated()->set_live(true);
  EXPECT_THAT(EventText(event), HasSubstr("live at"));
  *event.mutable_report() = TwoTasks();
  EXPECT_THAT(EventText(event), HasSubstr("version 99"));
  event.mutable_checkpoint()->set_id("01H");
  EXPECT_THAT(EventText(event), HasSubstr("checkpoint  01H"));
}

TEST(TableTest, AlignsTextLeftAndNumbersRight) {
  Table table({"name", "count", "note"});
  table.Add({"a", "5", "x"});
  table.Add({"long", "-12.5"});
  EXPECT_EQ(table.Text(),
            "name  count  note\n"
            "a         5  x\n"
            "long  -12.5\n");
}

TEST(TableTest, FormatsFiguresForPeople) {
  EXPECT_EQ(Percent(0.12345), "12.3");
  EXPECT_EQ(Percent(std::nan("")), "-");
  EXPECT_EQ(ByteCount(512), "512 B");
  EXPECT_EQ(ByteCount(3 << 20), "3.0 MiB");
  EXPECT_EQ(TimeText(0), "1970-01-01 00:00:00");
}

}  // namespace
}  // namespace engram::client
