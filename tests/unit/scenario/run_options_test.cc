#include "client/scenario/run_options.h"

#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/datasets/digit_generator.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::scenario {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::MatchesRegex;

const datasets::RowSplit& Digits() {
  static const auto* const kSplit =
      new datasets::RowSplit(datasets::GenerateDigits({1, 6, 3}).value());
  return *kSplit;
}

v1::ModelSpec SpecOf(const RunOptions& options) {
  const Scenario scenario = MakeScenario(options.scenario, Digits()).value();
  const auto spec = BuildSpec(options, scenario);
  EXPECT_TRUE(spec.ok()) << spec.status();
  return *spec;
}

TEST(RunOptionsTest, DefaultsAreTheOnlineProtocol) {
  RunOptions options;
  options.scenario.name = "split-mnist";
  const v1::ModelSpec spec = SpecOf(options);
  EXPECT_EQ(spec.feature_count(), 784);
  EXPECT_THAT(spec.mlp().hidden(), ElementsAre(256, 256));
  EXPECT_EQ(spec.head().kind(), v1::Head::GROWING);
  EXPECT_EQ(spec.optimizer().learning_rate(), 0.05);
  EXPECT_TRUE(spec.optimizer().has_sgd());
  EXPECT_EQ(spec.batch_size(), 10);
  EXPECT_EQ(spec.first_task(), "digits-0-1");
}

// Nothing but the client's rows is held out, and time never cuts a batch.
TEST(RunOptionsTest, MeasurementDependsOnTheStreamAlone) {
  RunOptions options;
  options.scenario.name = "split-mnist";
  const v1::ModelSpec spec = SpecOf(options);
  EXPECT_TRUE(spec.has_held_out_fraction());
  EXPECT_EQ(spec.held_out_fraction(), 0);
  EXPECT_EQ(spec.held_out_max_per_task(), 6);
  EXPECT_TRUE(spec.has_evaluate_every_examples());
  EXPECT_EQ(spec.evaluate_every_examples(), 0);
  EXPECT_TRUE(spec.has_max_batch_wait_ms());
  EXPECT_EQ(spec.max_batch_wait_ms(), 0);
}

TEST(RunOptionsTest, NoHiddenLayerIsLogisticRegressionAndNotTheServersDefault) {
  RunOptions options;
  options.scenario.name = "split-mnist";
  options.hidden = {};
  const v1::ModelSpec spec = SpecOf(options);
  EXPECT_TRUE(spec.has_mlp());
  EXPECT_EQ(spec.mlp().hidden_size(), 0);
}

TEST(RunOptionsTest, TaskIncrementalHasOneHeadATask) {
  RunOptions options;
  options.scenario.name = "split-mnist";
  options.scenario.incremental = Incremental::kTask;
  EXPECT_EQ(SpecOf(options).head().kind(), v1::Head::PER_TASK);
}

TEST(RunOptionsTest, StrategiesKeepTheirOrderAndParameters) {
  RunOptions options;
  options.scenario.name = "split-mnist";
  options.strategy = "experience_replay:memory_size=77+ewc:lambda=3";
  const v1::ModelSpec spec = SpecOf(options);
  ASSERT_EQ(spec.strategies_size(), 2);
  EXPECT_EQ(spec.strategies(0).experience_replay().memory_size(), 77);
  EXPECT_EQ(spec.strategies(1).ewc().lambda(), 3);
}

TEST(RunOptionsTest, UnknownStrategyOrOptimizerIsRefused) {
  RunOptions options;
  options.scenario.name = "split-mnist";
  const Scenario scenario = MakeScenario(options.scenario, Digits()).value();
  options.strategy = "magic";
  EXPECT_EQ(BuildSpec(options, scenario).status().code(), absl::StatusCode::kInvalidArgument);
  options.strategy = "finetune";
  options.optimizer = "magic";
  EXPECT_EQ(BuildSpec(options, scenario).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(RunOptionsTest, ScheduleAndMessageSizeAreBounded) {
  RunOptions options;
  EXPECT_TRUE(CheckRunOptions(options).ok());
  options.schedule.epochs = 0;
  EXPECT_THAT(CheckRunOptions(options).message(), HasSubstr("epochs"));
  options.schedule.epochs = 1;
  options.message_examples = 1025;
  EXPECT_THAT(CheckRunOptions(options).message(), HasSubstr("message_examples"));
}

TEST(RunOptionsTest, FixedHeadHasEveryLabelFromTheStart) {
  RunOptions options;
  options.scenario.name = "split-mnist";
  options.head = "fixed";
  const v1::ModelSpec spec = SpecOf(options);
  EXPECT_EQ(spec.head().kind(), v1::Head::FIXED);
  ASSERT_EQ(spec.labels_size(), 10);
  EXPECT_EQ(spec.labels(9).number(), 9);
  options.scenario.incremental = Incremental::kDomain;
  EXPECT_EQ(SpecOf(options).labels_size(), 2);
  options.scenario.incremental = Incremental::kTask;
  EXPECT_EQ(SpecOf(options).head().kind(), v1::Head::PER_TASK);
}

TEST(RunOptionsTest, HeadOfAnotherNameIsRefused) {
  RunOptions options;
  options.scenario.name = "split-mnist";
  options.head = "per_task";
  const Scenario scenario = MakeScenario(options.scenario, Digits()).value();
  EXPECT_THAT(BuildSpec(options, scenario).status().message(),
              HasSubstr("head: expected growing or fixed, got \"per_task\""));
}

TEST(RunOptionsTest, NoHiddenLayerIsLogisticRegression) {
  RunOptions options;
  options.scenario.name = "split-mnist";
  options.hidden.clear();
  EXPECT_TRUE(SpecOf(options).has_mlp());
  EXPECT_EQ(SpecOf(options).mlp().hidden_size(), 0);
}

TEST(RunOptionsTest, RunsWhoseTasksFillNoBatchAreRefused) {
  RunOptions options;
  options.scenario.name = "split-mnist";
  options.schedule.batch_size = 128;
  EXPECT_TRUE(MakeRunScenario(options, Digits()).ok());
  options.schedule.drop_last = true;
  EXPECT_THAT(MakeRunScenario(options, Digits()).status().message(),
              HasSubstr("digits-0-1 of 12 examples fills no batch of 128"));
}

TEST(RunOptionsTest, MadeUpModelNamesAreValidAndDiffer) {
  RunOptions options;
  options.scenario.name = "split-mnist";
  options.scenario.seed = 3;
  options.strategy = "experience_replay:memory_size=500+ewc";
  std::set<std::string> names;
  for (int i = 0; i < 8; ++i) {
    const std::string name = ModelName(options);
    EXPECT_THAT(name, MatchesRegex("split-mnist-experience-replay-ewc-s3-[0-9a-f]{6}"));
    names.insert(name);
  }
  EXPECT_GT(names.size(), 1u);
  options.model = "mine";
  EXPECT_EQ(ModelName(options), "mine");
}

TEST(RunOptionsTest, MissingDataFolderIsNotFound) {
  RunOptions options;
  options.scenario.name = "split-mnist";
  options.data_path = "no-such-folder";
  EXPECT_EQ(LoadRows(options).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace engram::scenario
