#include "client/scenario/scenario_runner.h"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/datasets/digit_generator.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/scenario/fake_scenario_server.h"
#include "tests/unit/scenario/small_rows.h"

namespace engram::scenario {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

const datasets::RowSplit& Digits() {
  static const auto* const kSplit =
      new datasets::RowSplit(datasets::GenerateDigits({1, 6, 3}).value());
  return *kSplit;
}

RunOptions TwoTasks() {
  RunOptions options;
  options.scenario.name = "split-mnist";
  options.scenario.tasks = 2;
  options.model = "m";
  options.message_examples = 7;
  return options;
}

absl::StatusOr<RunResult> RunOn(const FakeScenarioServer& server, const RunOptions& options) {
  return RunScenario(server.Connect(), options, Digits(), RunEvents{});
}

std::vector<v1::Example> ExamplesOf(const std::vector<v1::LearnMessage>& messages) {
  std::vector<v1::Example> examples;
  for (const v1::LearnMessage& message : messages) {
    examples.insert(examples.end(), message.examples().begin(), message.examples().end());
  }
  return examples;
}

TEST(ScenarioRunnerTest, HeldOutRowsOfAllTasksComeBeforeAnyTraining) {
  FakeScenarioServer server;
  ASSERT_TRUE(RunOn(server, TwoTasks()).ok());
  const auto examples = ExamplesOf(server.stored());
  ASSERT_EQ(examples.size(), 30u + 60u);
  std::set<std::string> held_out_tasks;
  for (size_t i = 0; i < examples.size(); ++i) {
    EXPECT_EQ(examples[i].split(), i < 30 ? v1::HELD_OUT : v1::TRAIN) << i;
    EXPECT_EQ(examples[i].task().empty(), i >= 30) << i;
    if (i < 30) held_out_tasks.insert(examples[i].task());
    EXPECT_EQ(examples[i].features().dense_uint8().size(), 784u);
    EXPECT_FALSE(examples[i].features().has_uint8_scale());
  }
  EXPECT_THAT(held_out_tasks, ElementsAre("digits-0-1-2-3-4", "digits-5-6-7-8-9"));
}

TEST(ScenarioRunnerTest, EveryTaskEndsWithABoundaryThatNamesTheNext) {
  FakeScenarioServer server;
  ASSERT_TRUE(RunOn(server, TwoTasks()).ok());
  std::vector<std::string> next_tasks;
  std::vector<std::set<int64_t>> labels(1);
  for (const v1::LearnMessage& message : server.stored()) {
    for (const v1::Example& example : message.examples()) {
      if (example.split() == v1::TRAIN) labels.back().insert(example.label().number());
    }
    if (!message.has_boundary()) continue;
    next_tasks.push_back(message.boundary().next_task());
    labels.emplace_back();
  }
  EXPECT_THAT(next_tasks, ElementsAre("digits-5-6-7-8-9", ""));
  EXPECT_THAT(labels,
              ElementsAre(ElementsAre(0, 1, 2, 3, 4), ElementsAre(5, 6, 7, 8, 9), IsEmpty()));
}

TEST(ScenarioRunnerTest, MessagesHoldAtMostWhatWasAsked) {
  FakeScenarioServer server;
  ASSERT_TRUE(RunOn(server, TwoTasks()).ok());
  int full = 0;
  for (const v1::LearnMessage& message : server.stored()) {
    EXPECT_LE(message.examples_size(), 7);
    full += message.examples_size() == 7;
  }
  EXPECT_GT(full, 8);
}

TEST(ScenarioRunnerTest, SecondPassSendsTheSameRowsAgain) {
  FakeScenarioServer server;
  RunOptions options = TwoTasks();
  options.schedule.epochs = 2;
  const auto result = RunOn(server, options);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->trained_examples, 120);
}

TEST(ScenarioRunnerTest, IterationsDecideHowManyExamplesATaskLearns) {
  FakeScenarioServer server;
  RunOptions options = TwoTasks();
  options.schedule = {/*batch_size=*/8, /*epochs=*/1, /*iterations=*/10, /*drop_last=*/true};
  const auto result = RunOn(server, options);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->trained_examples, 2 * 80);
}

TEST(ScenarioRunnerTest, ResultIsReadFromTheReport) {
  FakeScenarioServer server;
  std::vector<TaskOutcome> outcomes;
  std::vector<int64_t> sent;
  RunEvents events;
  events.on_task = [&](const TaskOutcome& outcome) { outcomes.push_back(outcome); };
  events.on_progress = [&](int64_t examples) { sent.push_back(examples); };
  const auto result = RunScenario(server.Connect(), TwoTasks(), Digits(), events);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_THAT(result->r, ElementsAre(ElementsAre(0.0, 0.01), ElementsAre(0.1, 0.11)));
  EXPECT_EQ(result->summary.acc(), 0.5);
  EXPECT_EQ(result->trained_examples, 60);
  EXPECT_GT(result->ExamplesPerSecond(), 0);
  EXPECT_GE(result->seconds, result->training_seconds);
  ASSERT_EQ(outcomes.size(), 2u);
  EXPECT_EQ(outcomes[1].task, "digits-5-6-7-8-9");
  EXPECT_EQ(outcomes[1].examples, 30);
  EXPECT_EQ(sent.back(), 60);
  EXPECT_TRUE(std::is_sorted(sent.begin(), sent.end()));
}

TEST(ScenarioRunnerTest, TaskIncrementalReadsTheMaskedFigures) {
  FakeScenarioServer server;
  RunOptions options = TwoTasks();
  options.scenario.incremental = Incremental::kTask;
  const auto result = RunOn(server, options);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->summary.acc(), 1);
  EXPECT_EQ(result->r[0][0], 1.0);
  EXPECT_EQ(server.calls().created[0].spec().head().kind(), v1::Head::PER_TASK);
}

TEST(ScenarioRunnerTest, ModelIsDeletedUnlessItIsToBeKept) {
  FakeScenarioServer server;
  ASSERT_TRUE(RunOn(server, TwoTasks()).ok());
  EXPECT_THAT(server.calls().deleted, ElementsAre("m"));
  FakeScenarioServer keeper;
  RunOptions options = TwoTasks();
  options.keep_model = true;
  ASSERT_TRUE(RunOn(keeper, options).ok());
  EXPECT_THAT(keeper.calls().deleted, IsEmpty());
}

TEST(ScenarioRunnerTest, RejectedMessageFailsTheRunAndTheModelGoes) {
  ServerScript script;
  script.learn.reject = {2};
  FakeScenarioServer server(script);
  const auto result = RunOn(server, TwoTasks());
  EXPECT_EQ(result.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(result.status().message(), HasSubstr("features: expected 2 values"));
  EXPECT_THAT(server.calls().deleted, ElementsAre("m"));
}

TEST(ScenarioRunnerTest, ReportOfAnotherNumberOfExamplesFailsTheRun) {
  ServerScript script;
  script.miscount = -10;
  FakeScenarioServer server(script);
  const auto result = RunOn(server, TwoTasks());
  EXPECT_EQ(result.status().code(), absl::StatusCode::kInternal);
  EXPECT_THAT(result.status().message(),
              AllOf(HasSubstr("expected 60 examples"), HasSubstr("says 50")));
}

TEST(ScenarioRunnerTest, SlowLearningIsWaitedForAsLongAsTheModelMoves) {
  ServerScript script;
  script.slow_waits = 5;
  FakeScenarioServer server(script);
  EXPECT_TRUE(RunOn(server, TwoTasks()).ok());
  EXPECT_GT(server.calls().waits, 5);
}

TEST(ScenarioRunnerTest, CheckpointsAreLabelledByTask) {
  FakeScenarioServer server;
  RunOptions options = TwoTasks();
  options.checkpoints = true;
  ASSERT_TRUE(RunOn(server, options).ok());
  std::vector<std::string> labels;
  for (const auto& request : server.calls().checkpoints) labels.push_back(request.label());
  EXPECT_THAT(labels, ElementsAre("after-digits-0-1-2-3-4", "after-digits-5-6-7-8-9"));
}

TEST(ScenarioRunnerTest, PredictLoadIsMeasured) {
  FakeScenarioServer server;
  RunOptions options = TwoTasks();
  options.predict_load = true;
  const auto result = RunOn(server, options);
  ASSERT_TRUE(result.ok()) << result.status();
  ASSERT_TRUE(result->predictions.has_value());
  EXPECT_EQ(result->predictions->failures, 0);
  EXPECT_EQ(static_cast<size_t>(result->predictions->predictions),
            server.calls().predicted_tasks.size());
  EXPECT_THAT(server.calls().predicted_tasks, Each(""));
}

// Drives the load alone, so that the number of calls is certain.
PredictLoadReport LoadUntil(FakeScenarioServer* server, size_t calls) {
  ScenarioOptions options;
  options.name = "split-mnist";
  const Scenario scenario = MakeScenario(options, Digits()).value();
  PredictLoad load(server->Connect(), "m", scenario, Digits());
  load.UseTasks(1);
  server->AwaitPredictions(calls);
  return load.Stop();
}

TEST(PredictLoadTest, ModelWithoutAClassIsNoFailure) {
  ServerScript script;
  script.classless_predictions = 2;
  FakeScenarioServer server(script);
  const PredictLoadReport report = LoadUntil(&server, 6);
  EXPECT_EQ(report.failures, 0);
  EXPECT_GE(report.predictions, 3);
  EXPECT_GT(report.PredictionsPerSecond(), 0);
}

TEST(PredictLoadTest, LaterFailuresAreCountedAndTheLoadGoesOn) {
  ServerScript script;
  script.failed_predictions = 2;
  FakeScenarioServer server(script);
  const PredictLoadReport report = LoadUntil(&server, 6);
  EXPECT_EQ(report.failures, 2);
  EXPECT_THAT(report.last_failure.message(), HasSubstr("gone"));
  EXPECT_GE(report.predictions, 3);
  EXPECT_GE(report.p99_seconds, report.p50_seconds);
}

TEST(ScenarioRunnerTest, TaskIncrementalPredictionsNameATaskThatHasBegun) {
  FakeScenarioServer server;
  RunOptions options = TwoTasks();
  options.scenario.incremental = Incremental::kTask;
  options.predict_load = true;
  ASSERT_TRUE(RunOn(server, options).ok());
  EXPECT_THAT(server.calls().predicted_tasks, Each("digits-0-1-2-3-4"));
}

RunOptions Stream() {
  RunOptions options;
  options.scenario.name = "electricity";
  options.schedule.batch_size = 1;
  options.model = "m";
  return options;
}

absl::StatusOr<RunResult> RunStream(const FakeScenarioServer& server, const RunOptions& options) {
  const datasets::RowSplit rows = SmallRows(RowSource::kElectricity);
  return RunScenario(server.Connect(), options, rows, RunEvents{});
}

TEST(ScenarioRunnerTest, StreamIsLearnedExampleByExampleAndScoredBeforeEachStep) {
  FakeScenarioServer server;
  const auto result = RunStream(server, Stream());
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(server.calls().created[0].spec().batch_size(), 1);
  EXPECT_EQ(result->prequential_accuracy, 0.8);
  EXPECT_EQ(result->no_change, 0.6);
  const auto examples = ExamplesOf(server.stored());
  ASSERT_EQ(examples.size(), kStreamLabels.size());
  for (size_t i = 0; i < examples.size(); ++i) {
    EXPECT_EQ(examples[i].split(), v1::TRAIN);
    EXPECT_EQ(examples[i].label().number(), kStreamLabels[i]);
    EXPECT_EQ(examples[i].features().dense().size(), 2u * 4);
  }
}

TEST(ScenarioRunnerTest, OtherScenariosHaveNoPrequentialFigures) {
  FakeScenarioServer server;
  const auto result = RunOn(server, TwoTasks());
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_FALSE(result->prequential_accuracy.has_value());
  EXPECT_FALSE(result->no_change.has_value());
}

TEST(ScenarioRunnerTest, StreamIsNeitherRepeatedNorAskedForHeldOutRows) {
  FakeScenarioServer server;
  RunOptions options = Stream();
  options.schedule.epochs = 2;
  EXPECT_THAT(RunStream(server, options).status().message(), HasSubstr("epochs: expected 1 to 1"));
  options = Stream();
  options.predict_load = true;
  EXPECT_THAT(RunStream(server, options).status().message(), HasSubstr("predict_load"));
  EXPECT_THAT(server.calls().created, IsEmpty());
}

TEST(ScenarioRunnerTest, NothingIsCreatedForOptionsThatCannotWork) {
  FakeScenarioServer server;
  RunOptions options = TwoTasks();
  options.scenario.tasks = 3;
  EXPECT_EQ(RunOn(server, options).status().code(), absl::StatusCode::kInvalidArgument);
  options = TwoTasks();
  options.strategy = "magic";
  EXPECT_EQ(RunOn(server, options).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(server.calls().created, IsEmpty());
}

TEST(EvaluateTasksTest, WeighsChunksAndNamesTasksWhereHeadsAreTheirs) {
  FakeScenarioServer server;
  ScenarioOptions options;
  options.name = "split-mnist";
  options.incremental = Incremental::kTask;
  const Scenario scenario = MakeScenario(options, Digits()).value();
  const auto accuracies = EvaluateTasks(server.Connect(), "m", 7, scenario, Digits());
  ASSERT_TRUE(accuracies.ok()) << accuracies.status();
  EXPECT_THAT(*accuracies, ElementsAre(0.5, 0.5, 0.5, 0.5, 0.5));
  const Calls calls = server.calls();
  ASSERT_EQ(calls.evaluations.size(), 5u);
  EXPECT_EQ(calls.evaluations[0].version(), 7u);
  EXPECT_EQ(calls.evaluations[2].examples(0).task(), "digits-4-5");
  EXPECT_EQ(calls.evaluations[0].examples(0).features().dense_uint8().size(), 784u);
}

}  // namespace
}  // namespace engram::scenario
