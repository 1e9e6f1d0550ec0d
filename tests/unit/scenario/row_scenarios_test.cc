// Scenarios of other rows than digits: photos, reviews, streams.
#include <set>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "client/datasets/hashed_text.h"
#include "client/scenario/row_features.h"
#include "client/scenario/row_messages.h"
#include "client/scenario/scenario.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/scenario/small_rows.h"

namespace engram::scenario {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

ScenarioOptions Options(const std::string& name, int64_t tasks = 0) {
  ScenarioOptions options;
  options.name = name;
  options.tasks = tasks;
  return options;
}

datasets::RowSplit RowsOf(const std::string& name) {
  return SmallRows(FindScenario(name).value().source);
}

Scenario Make(const ScenarioOptions& options) {
  auto scenario = MakeScenario(options, RowsOf(options.name));
  EXPECT_TRUE(scenario.ok()) << scenario.status();
  return *std::move(scenario);
}

std::vector<std::string> NamesOf(const Scenario& scenario) {
  std::vector<std::string> names;
  for (const Task& task : scenario.tasks) names.push_back(task.name);
  return names;
}

std::set<int> GroupsOf(const datasets::RowSet& set, const std::vector<TaskRow>& rows) {
  std::set<int> groups;
  for (const TaskRow& row : rows) groups.insert(set.groups[static_cast<size_t>(row.index)]);
  return groups;
}

TEST(RowScenariosTest, EveryListedScenarioCanBeMadeInEveryKind) {
  for (const ScenarioHelp& help : ListScenarios()) {
    for (const Incremental kind : {Incremental::kClass, Incremental::kTask, Incremental::kDomain}) {
      ScenarioOptions options = Options(help.name);
      options.incremental = kind;
      const Scenario scenario = Make(options);
      EXPECT_EQ(static_cast<int64_t>(scenario.tasks.size()), help.tasks) << help.name;
      EXPECT_EQ(scenario.feature_count, SmallRows(help.source).train.FeatureCount());
      for (const Task& task : scenario.tasks) EXPECT_FALSE(task.train.empty());
    }
  }
}

TEST(RowScenariosTest, Cifar10IsCutLikeTheDigits) {
  const Scenario scenario = Make(Options("split-cifar10"));
  EXPECT_THAT(NamesOf(scenario), ElementsAre("classes-0-1", "classes-2-3", "classes-4-5",
                                             "classes-6-7", "classes-8-9"));
  EXPECT_EQ(scenario.feature_count, 12);
  EXPECT_EQ(scenario.tasks[2].train.size(), 8u);
  EXPECT_EQ(scenario.tasks[2].held_out.size(), 4u);
  for (const TaskRow& row : scenario.tasks[2].train) EXPECT_EQ(row.label, row.index % 10);
}

TEST(RowScenariosTest, RatingsGoFromThePlainestToTheMildest) {
  const datasets::RowSplit rows = RowsOf("imdb-ratings");
  const Scenario four = Make(Options("imdb-ratings"));
  EXPECT_THAT(NamesOf(four),
              ElementsAre("ratings-1-10", "ratings-2-9", "ratings-3-8", "ratings-4-7"));
  EXPECT_THAT(GroupsOf(rows.train, four.tasks[1].train), ElementsAre(2, 9));
  EXPECT_EQ(four.incremental, Incremental::kDomain);
  const Scenario two = Make(Options("imdb-ratings", 2));
  EXPECT_THAT(NamesOf(two), ElementsAre("ratings-1-10-2-9", "ratings-3-8-4-7"));
  EXPECT_THAT(GroupsOf(rows.test, two.tasks[1].held_out), ElementsAre(3, 4, 7, 8));
  EXPECT_THAT(MakeScenario(Options("imdb-ratings", 3), rows).status().message(),
              HasSubstr("tasks: expected 1 or 2 or 4, got 3"));
}

TEST(RowScenariosTest, FilmsAreCutByTheirNumbersAndNoneIsSplit) {
  datasets::RowSplit rows = RowsOf("imdb-films");
  // Films before and after all training films belong to the ends.
  rows.test.groups[0] = -5;
  rows.test.groups.back() = 999;
  const auto scenario = MakeScenario(Options("imdb-films"), rows);
  ASSERT_TRUE(scenario.ok()) << scenario.status();
  EXPECT_THAT(NamesOf(*scenario),
              ElementsAre("films-1", "films-2", "films-3", "films-4", "films-5"));
  size_t train = 0;
  size_t held_out = 0;
  int last = 0;
  for (const Task& task : scenario->tasks) {
    const std::set<int> films = GroupsOf(rows.train, task.train);
    EXPECT_EQ(films.size(), 4u);
    EXPECT_GT(*films.begin(), last);
    last = *films.rbegin();
    train += task.train.size();
    held_out += task.held_out.size();
  }
  EXPECT_EQ(train, rows.train.labels.size());
  EXPECT_EQ(held_out, rows.test.labels.size());
}

TEST(RowScenariosTest, StreamKeepsItsOrderAndHoldsNothingOut) {
  const Scenario scenario = Make(Options("electricity"));
  ASSERT_EQ(scenario.tasks.size(), 1u);
  EXPECT_TRUE(scenario.prequential);
  EXPECT_TRUE(scenario.tasks[0].held_out.empty());
  ASSERT_EQ(scenario.tasks[0].train.size(), kStreamLabels.size());
  for (size_t row = 0; row < kStreamLabels.size(); ++row) {
    EXPECT_EQ(scenario.tasks[0].train[row].index, static_cast<int32_t>(row));
    EXPECT_EQ(scenario.tasks[0].train[row].label, kStreamLabels[row]);
  }
  EXPECT_EQ(NoChangeAccuracy(scenario.tasks[0]), 0.6);
}

TEST(RowScenariosTest, LimitedStreamIsItsBeginning) {
  ScenarioOptions options = Options("weather");
  options.examples_per_task = 4;
  const Scenario scenario = Make(options);
  ASSERT_EQ(scenario.tasks[0].train.size(), 4u);
  EXPECT_EQ(scenario.tasks[0].train[3].index, 3);
  EXPECT_EQ(NoChangeAccuracy(scenario.tasks[0]), 0.5);
  EXPECT_THAT(MakeScenario(Options("weather", 2), RowsOf("weather")).status().message(),
              HasSubstr("tasks: expected 1, got 2"));
}

TEST(RowScenariosTest, RowsOfAnotherScenarioAreRefused) {
  const auto labels = MakeScenario(Options("electricity"), RowsOf("split-mnist"));
  EXPECT_EQ(labels.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(labels.status().message(), HasSubstr("electricity: expected labels below 2"));
  const auto groups = MakeScenario(Options("imdb-films"), RowsOf("electricity"));
  EXPECT_THAT(groups.status().message(), HasSubstr("expected 10 groups, one a row, got 0"));
}

TEST(RowFeaturesTest, NumbersComeAsTheyAreAndTextsHashed) {
  const datasets::RowSet stream = RowsOf("weather").train;
  std::vector<float> out(2);
  FillFeatures(stream, 3, {}, absl::MakeSpan(out));
  EXPECT_THAT(out, ElementsAre(3.0f, -0.5f));
  const datasets::RowSet reviews = RowsOf("imdb-films").train;
  std::vector<float> hashed(16);
  std::vector<float> expected(16);
  FillFeatures(reviews, 1, {}, absl::MakeSpan(hashed));
  datasets::HashText(reviews.texts[1], absl::MakeSpan(expected));
  EXPECT_EQ(hashed, expected);
}

TEST(RowMessagesTest, PicturesTravelAsBytesAndNumbersAsFloats) {
  const datasets::RowSet photos = RowsOf("split-cifar10").train;
  v1::Features features;
  features.add_shape(7);
  SetRowFeatures(photos, 9, {}, &features);
  EXPECT_EQ(features.dense_uint8(), std::string(12, 9));
  EXPECT_TRUE(features.dense().empty());
  EXPECT_EQ(features.shape_size(), 0);
  PixelMap map(12, 0);
  map[5] = -1;
  SetRowFeatures(photos, 9, map, &features);
  EXPECT_EQ(features.dense_uint8()[4], 9);
  EXPECT_EQ(features.dense_uint8()[5], 0);
  SetRowFeatures(RowsOf("weather").train, 0, {}, &features);
  EXPECT_EQ(features.dense().size(), 8u);
  EXPECT_TRUE(features.dense_uint8().empty());
}

}  // namespace
}  // namespace engram::scenario
