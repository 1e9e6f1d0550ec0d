#include "client/watch_view.h"

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::client {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::Not;

std::vector<std::string> Plain(const WatchView& view, int width, int height) {
  std::vector<std::string> lines;
  for (const ScreenLine& line : view.Lines(width, height, /*unicode=*/false)) {
    std::string& text = lines.emplace_back();
    for (const InkedText& part : line) text += part.text;
  }
  return lines;
}

std::string Page(const WatchView& view, int width = 80, int height = 24) {
  std::string page;
  for (const std::string& line : Plain(view, width, height)) absl::StrAppend(&page, line, "\n");
  return page;
}

v1::Model Digits(uint64_t durable, uint64_t version) {
  v1::Model model;
  model.set_name("digits");
  model.set_state(v1::Model::SERVING);
  model.set_current_task("evening");
  model.set_durable_sequence(durable);
  model.set_version(version);
  return model;
}

v1::Report MorningAndEvening() {
  v1::Report report;
  report.set_model_version(300);
  report.set_train_examples(100);
  report.set_prequential_accuracy(0.875);
  for (const char* name : {"morning", "evening"}) report.add_tasks()->set_task(name);
  report.mutable_tasks(0)->set_accuracy(0.5);
  report.mutable_tasks(0)->set_best_accuracy(1.0);
  report.mutable_tasks(0)->set_forgetting(0.5);
  v1::AccuracyRow* row = report.add_rows();
  row->set_sequence(200);
  row->set_ended_task("morning");
  row->add_cells()->set_accuracy(1.0);
  row->add_cells();
  return report;
}

const absl::Time kStart = absl::UnixEpoch();

TEST(WatchViewTest, ShowsStateTasksAndFigures) {
  WatchView view;
  view.Update(Digits(310, 300), MorningAndEvening(), {}, kStart);
  const std::string page = Page(view);
  EXPECT_THAT(page, HasSubstr("digits  SERVING  task evening  version 300"));
  EXPECT_THAT(page, HasSubstr("lag 10"));
  EXPECT_THAT(page, HasSubstr("prequential 87.5"));
  EXPECT_THAT(page, HasSubstr("morning"));
  EXPECT_THAT(page, HasSubstr("   50.0  100.0    50.0"));
  EXPECT_THAT(page, HasSubstr("evening*"));
  EXPECT_THAT(page, HasSubstr("boundary    ended morning, accuracy 100.0 over 1 tasks"));
}

TEST(WatchViewTest, TheSparklineHasBoundariesAndWhatWasSeenBetween) {
  WatchView view;
  v1::Report report = MorningAndEvening();
  view.Update(Digits(300, 300), report, {}, kStart);
  report.set_model_version(400);
  report.mutable_tasks(0)->set_accuracy(0.0);
  view.Update(Digits(400, 400), report, {}, kStart + absl::Seconds(1));
  // 1.0 at the boundary, 0.5 and 0 since.
  EXPECT_THAT(Page(view), HasSubstr("morning  #=_"));
}

TEST(WatchViewTest, RatesAreOverTheLastSeconds) {
  WatchView view;
  v1::Report report = MorningAndEvening();
  view.Update(Digits(1000, 1000), report, {}, kStart);
  report.set_train_examples(300);
  view.Update(Digits(1400, 1200), report, {}, kStart + absl::Seconds(2));
  EXPECT_THAT(Page(view), HasSubstr("stored 200/s  learned 100/s  lag 200"));
}

TEST(WatchViewTest, EventsAreTheNewestFirst) {
  WatchView view;
  v1::Report report = MorningAndEvening();
  report.add_rollbacks()->set_sequence(280);
  report.mutable_rollbacks(0)->set_checkpoint("best");
  report.add_canaries()->set_task("morning");
  report.mutable_canaries(0)->set_version(250);
  v1::Checkpoint checkpoint;
  checkpoint.set_applied_sequence(220);
  checkpoint.set_label("best");
  view.Update(Digits(300, 300), report, {checkpoint}, kStart);
  const std::string page = Page(view);
  const size_t rollback = page.find("rollback    to best");
  const size_t canary = page.find("canary      morning fell");
  const size_t kept = page.find("checkpoint  best");
  const size_t boundary = page.find("boundary    ended morning");
  ASSERT_NE(boundary, std::string::npos) << page;
  EXPECT_LT(rollback, canary);
  EXPECT_LT(canary, kept);
  EXPECT_LT(kept, boundary);
}

TEST(WatchViewTest, FitsEveryTerminal) {
  WatchView view;
  v1::Report report;
  for (int i = 0; i < 50; ++i) report.add_tasks()->set_task(absl::StrCat("a-rather-long-name-", i));
  view.Update(Digits(1, 1), report, {}, kStart);
  for (const int height : {1, 2, 5, 10, 24, 80}) {
    for (const int width : {1, 20, 80, 200}) {
      EXPECT_EQ(Plain(view, width, height).size(), static_cast<size_t>(std::max(2, height)))
          << width << "x" << height;
    }
  }
}

TEST(WatchViewTest, ManyTasksScroll) {
  WatchView view;
  v1::Report report;
  for (int i = 0; i < 50; ++i) report.add_tasks()->set_task(absl::StrCat("t", i, "."));
  view.Update(Digits(1, 1), report, {}, kStart);
  EXPECT_THAT(Page(view), AllOf(HasSubstr("t49."), Not(HasSubstr("t5.")), HasSubstr("of 50")));
  view.Scroll(-100);
  EXPECT_THAT(Page(view), AllOf(HasSubstr("t0."), Not(HasSubstr("t49."))));
  view.Scroll(100);
  EXPECT_THAT(Page(view), HasSubstr("t49."));
  // Which ones they are stands where an eye can see it.
  for (const std::string& line : Plain(view, 80, 24)) {
    if (!absl::StrContains(line, "of 50")) continue;
    EXPECT_LE(ColumnsOf(line), 80) << line;
  }
}

TEST(WatchViewTest, ASilentServerIsSaidAndForgottenWhenItIsBack) {
  WatchView view;
  view.Update(Digits(300, 300), MorningAndEvening(), {}, kStart);
  view.SetTrouble("UNAVAILABLE: no server answers");
  EXPECT_THAT(Page(view), AllOf(HasSubstr("no server answers"), HasSubstr("morning")));
  view.Update(Digits(300, 300), MorningAndEvening(), {}, kStart + absl::Seconds(9));
  EXPECT_THAT(Page(view), Not(HasSubstr("no server answers")));
}

TEST(SparklineTest, KeepsTheNewestAndItsScale) {
  EXPECT_EQ(Sparkline({0, 0.5, 1}, 1, 10, false), "_=#");
  EXPECT_EQ(Sparkline({0, 0.5, 1}, 1, 2, true), "▅█");
  EXPECT_EQ(Sparkline({3, 3}, 0, 5, false), "__");
  EXPECT_EQ(Sparkline({1}, 1, 0, false), "");
  EXPECT_EQ(ColumnsOf("▅█a"), 3);
}

}  // namespace
}  // namespace engram::client
