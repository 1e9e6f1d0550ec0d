#include "client/report_svg.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::client {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

// A square R: row i after task i, its sequence 100 * (i + 1).
v1::Report Learned(int tasks) {
  v1::Report report;
  report.set_model("digits");
  for (int i = 0; i < tasks; ++i) {
    v1::TaskReport* task = report.add_tasks();
    task->set_task(absl::StrCat("task-", i));
    task->set_accuracy(0.75);
    v1::AccuracyRow* row = report.add_rows();
    row->set_sequence(100 * static_cast<uint64_t>(i + 1));
    row->set_ended_task(task->task());
    for (int j = 0; j < tasks; ++j) row->add_cells()->set_accuracy(0.5 + 0.001 * i);
  }
  report.set_model_version(100 * static_cast<uint64_t>(tasks));
  return report;
}

int Count(const std::string& text, const std::string& part) {
  int count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST(ReportSvgTest, DrawsALineATaskAndACellAnEntry) {
  const std::string svg = ReportSvg(Learned(3));
  EXPECT_EQ(Count(svg, "<polyline"), 3);
  EXPECT_EQ(Count(svg, "fill-opacity"), 9);
  EXPECT_EQ(Count(svg, "class=\"boundary\""), 3);
  EXPECT_THAT(svg, HasSubstr("50.2</text>"));
  EXPECT_THAT(svg, HasSubstr("<title id=\"title\">What digits knows and what it forgot</title>"));
  EXPECT_THAT(svg, HasSubstr("Accuracy of 3 tasks at 3 boundaries"));
  EXPECT_THAT(svg, HasSubstr("prefers-color-scheme: dark"));
}

TEST(ReportSvgTest, MarksARollbackAndWhatItUndid) {
  v1::Report report = Learned(2);
  const std::string before = ReportSvg(report);
  EXPECT_THAT(before, Not(HasSubstr("class=\"rollback\"")));
  report.mutable_rows(1)->set_undone_by(250);
  report.add_rollbacks()->set_sequence(250);
  report.mutable_rollbacks(0)->set_checkpoint("best");
  const std::string svg = ReportSvg(report);
  EXPECT_EQ(Count(svg, "class=\"rollback\""), 1);
  EXPECT_THAT(svg, HasSubstr("rollback to best"));
  EXPECT_THAT(svg, HasSubstr("after task-1 (undone)"));
  EXPECT_EQ(Count(svg, "class=\"hollow\""), 2);
}

TEST(ReportSvgTest, NamesCannotBecomeMarkup) {
  v1::Report report = Learned(1);
  report.set_model("<b>&\"");
  EXPECT_THAT(ReportSvg(report), HasSubstr("What &lt;b&gt;&amp;&quot; knows"));
  EXPECT_THAT(ReportSvg(report), Not(HasSubstr("<b>")));
}

TEST(ReportSvgTest, ALongNameLeavesRoomForItsAccuracy) {
  v1::Report report = Learned(1);
  report.mutable_tasks(0)->set_task(std::string(128, 't'));
  EXPECT_THAT(ReportSvg(report), HasSubstr(absl::StrCat(">", std::string(24, 't'), "  75.0<")));
}

TEST(ReportSvgTest, SaysWhatItLeavesOut) {
  const std::string svg = ReportSvg(Learned(40));
  EXPECT_EQ(Count(svg, "<polyline"), 16);
  EXPECT_THAT(svg, HasSubstr("the last 16 of 40 tasks  the last 32 of 40 boundaries"));
}

TEST(ReportSvgTest, AModelWithoutABoundaryHasAPictureToo) {
  EXPECT_THAT(ReportSvg({}), HasSubstr("no boundary has been evaluated yet"));
  EXPECT_THAT(ReportSvg(Learned(1)), Not(HasSubstr("nan")));
}

}  // namespace
}  // namespace engram::client
