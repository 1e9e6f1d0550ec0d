#include "client/scenario/run_report.h"

#include <string>
#include <vector>

#include "client/scenario/predict_load.h"
#include "client/scenario/scenario_runner.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::scenario {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;
using ::testing::Optional;

RunResult TwoTasks() {
  RunResult result;
  result.options.scenario.name = "split-mnist";
  result.options.scenario.seed = 4;
  result.options.strategy = "finetune";
  result.model = "m";
  result.tasks = {"digits-0-1", "digits-2-3"};
  result.r = {{0.99, absl::nullopt}, {0.25, 0.98}};
  result.summary.set_acc(0.615);
  result.summary.set_bwt(-0.74);
  result.summary.set_forgetting(0.74);
  result.trained_examples = 100;
  result.training_seconds = 0.5;
  result.seconds = 2;
  return result;
}

Scenario TwoTaskScenario() {
  Scenario scenario;
  scenario.tasks.resize(2);
  scenario.tasks[0].name = "a";
  scenario.tasks[1].name = "b";
  return scenario;
}

void AddRow(v1::Report* report, const std::vector<double>& accuracies, uint64_t undone_by) {
  v1::AccuracyRow* row = report->add_rows();
  row->set_undone_by(undone_by);
  for (const double accuracy : accuracies) {
    v1::AccuracyRow::Cell* cell = row->add_cells();
    if (accuracy >= 0) cell->set_accuracy(accuracy);
    if (accuracy >= 0) cell->set_task_accuracy(accuracy + 0.25);
  }
}

// Scripts and acceptance checks read exactly these keys.
TEST(RunReportTest, ResultObjectHasTheKeysOfTheSurface) {
  const client::Json json = ResultJson(TwoTasks());
  std::vector<std::string> keys;
  for (const auto& item : json.items()) keys.push_back(item.key());
  EXPECT_THAT(keys, ElementsAre("event", "scenario", "protocol", "strategy", "seed", "acc", "bwt",
                                "fwt", "forgetting", "r", "examples_per_second", "seconds"));
  EXPECT_EQ(json["event"], "result");
  EXPECT_EQ(json["scenario"], "split-mnist");
  EXPECT_EQ(json["protocol"], "online");
  EXPECT_EQ(json["seed"], 4);
  EXPECT_EQ(json["acc"], 0.615);
  EXPECT_EQ(json["examples_per_second"], 200.0);
}

TEST(RunReportTest, StreamHasItsScoreAndTheBaselineBesideIt) {
  RunResult result = TwoTasks();
  result.prequential_accuracy = 0.902;
  result.no_change = 0.853;
  const client::Json json = ResultJson(result);
  EXPECT_EQ(json["prequential_accuracy"], 0.902);
  EXPECT_EQ(json["no_change"], 0.853);
  EXPECT_THAT(RunTable(result),
              HasSubstr("prequential accuracy 90.2 % over the whole stream, no-change 85.3 %"));
}

TEST(RunReportTest, WhatHasNoValueIsNull) {
  const client::Json json = ResultJson(TwoTasks());
  EXPECT_TRUE(json["fwt"].is_null());
  EXPECT_TRUE(json["r"][0][1].is_null());
  EXPECT_EQ(json["r"][1][0], 0.25);
}

TEST(RunReportTest, TableShowsRAndTheSummaryInPerCent) {
  const std::string text = RunTable(TwoTasks());
  EXPECT_THAT(text, AllOf(HasSubstr("t1 digits-0-1  99.0     -"), HasSubstr("25.0  98.0"),
                          HasSubstr("ACC 61.5"), HasSubstr("BWT -74.0"), HasSubstr("FWT -"),
                          HasSubstr("forgetting 74.0")));
  EXPECT_THAT(text, Not(HasSubstr("predictions")));
}

TEST(RunReportTest, TableShowsThePredictionsServedMeanwhile) {
  RunResult result = TwoTasks();
  PredictLoadReport load;
  load.predictions = 500;
  load.seconds = 0.25;
  load.p50_seconds = 0.0004;
  load.p99_seconds = 0.0012;
  result.predictions = load;
  EXPECT_THAT(RunTable(result), HasSubstr("500, 2000 a second from one client, p50 0.40 ms, "
                                          "p99 1.20 ms"));
  EXPECT_EQ(PredictionsJson(result)["predictions_per_second"], 2000.0);
}

TEST(RunReportTest, FailedPredictionsAreShown) {
  RunResult result = TwoTasks();
  PredictLoadReport load;
  load.failures = 3;
  load.last_failure = absl::NotFoundError("model \"m\"");
  result.predictions = load;
  EXPECT_THAT(RunTable(result), AllOf(HasSubstr("failed: 3"), HasSubstr("NOT_FOUND")));
}

TEST(RunReportTest, ComparisonHasOneLineAStrategy) {
  RunResult other = TwoTasks();
  other.options.strategy = "experience_replay+ewc";
  other.summary.set_acc(0.9);
  const std::string text = ComparisonTable({FiguresOf(TwoTasks()), FiguresOf(other)});
  EXPECT_THAT(text, HasSubstr("finetune               61.5  -74.0    -        74.0"));
  EXPECT_THAT(text, HasSubstr("experience_replay+ewc  90.0"));
}

TEST(RunReportTest, TaskLineShowsTheTasksSoFar) {
  TaskOutcome outcome;
  outcome.index = 0;
  outcome.task = "digits-0-1";
  outcome.examples = 400;
  outcome.seconds = 0.1;
  outcome.accuracy = {0.991, 0.0};
  outcome.summary.set_acc(0.991);
  EXPECT_EQ(TaskLine(outcome),
            "task 1/2 digits-0-1: 400 examples in 0.10 s (4000/s), accuracy 99.1, ACC 99.1");
  const client::Json json = TaskJson(TwoTasks().options, outcome);
  EXPECT_EQ(json["accuracy"][0], 0.991);
  EXPECT_EQ(json["strategy"], "finetune");
  EXPECT_EQ(json["seed"], 4);
}

TEST(StandingRowsTest, ColumnsFollowTheScenarioWhateverTheReportsOrder) {
  v1::Report report;
  report.add_tasks()->set_task("b");
  report.add_tasks()->set_task("other");
  report.add_tasks()->set_task("a");
  AddRow(&report, {0.2, 0.3, 0.1}, 0);
  const auto rows = StandingRows(report, TwoTaskScenario(), false);
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_THAT(rows[0], ElementsAre(Optional(0.1), Optional(0.2)));
}

TEST(StandingRowsTest, UndoneRowsAreLeftOut) {
  v1::Report report;
  report.add_tasks()->set_task("a");
  report.add_tasks()->set_task("b");
  AddRow(&report, {0.5, -1}, 0);
  AddRow(&report, {0.6, 0.7}, 99);
  const auto rows = StandingRows(report, TwoTaskScenario(), false);
  ASSERT_EQ(rows.size(), 1u);
  EXPECT_THAT(rows[0], ElementsAre(Optional(0.5), absl::nullopt));
}

TEST(StandingRowsTest, TaskReadingTakesTheMaskedAccuracy) {
  v1::Report report;
  report.add_tasks()->set_task("a");
  AddRow(&report, {0.5}, 0);
  EXPECT_THAT(StandingRows(report, TwoTaskScenario(), true)[0][0], Optional(0.75));
}

TEST(QuantileTest, IsTheSmallestValueThatCoversTheShare) {
  std::vector<float> values = {5, 1, 4, 2, 3};
  EXPECT_EQ(Quantile(0.5, &values), 3);
  EXPECT_EQ(Quantile(0.99, &values), 5);
  EXPECT_EQ(Quantile(0.2, &values), 1);
  std::vector<float> none;
  EXPECT_EQ(Quantile(0.5, &none), 0);
}

}  // namespace
}  // namespace engram::scenario
