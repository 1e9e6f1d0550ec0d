#include "client/scenario/scenario.h"

#include <algorithm>
#include <cstdint>
#include <map>
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

constexpr int64_t kTrainPerClass = 12;
constexpr int64_t kTestPerClass = 4;

const datasets::RowSplit& Digits() {
  static const auto* const kSplit = new datasets::RowSplit(
      datasets::GenerateDigits({1, kTrainPerClass, kTestPerClass}).value());
  return *kSplit;
}

ScenarioOptions Options(const std::string& name) {
  ScenarioOptions options;
  options.name = name;
  return options;
}

Scenario Make(const ScenarioOptions& options) {
  auto scenario = MakeScenario(options, Digits());
  EXPECT_TRUE(scenario.ok()) << scenario.status();
  return *std::move(scenario);
}

absl::Status Refusal(const ScenarioOptions& options) {
  return MakeScenario(options, Digits()).status();
}

std::set<int> LabelsOf(const std::vector<TaskRow>& rows) {
  std::set<int> labels;
  for (const TaskRow& row : rows) labels.insert(row.label);
  return labels;
}

std::vector<int> ImagesOf(const std::vector<TaskRow>& rows) {
  std::vector<int> images;
  for (const TaskRow& row : rows) images.push_back(row.index);
  return images;
}

TEST(ScenarioTest, SplitGivesEveryTaskItsTwoDigits) {
  const Scenario scenario = Make(Options("split-mnist"));
  ASSERT_EQ(scenario.tasks.size(), 5u);
  EXPECT_EQ(scenario.incremental, Incremental::kClass);
  EXPECT_EQ(scenario.feature_count, 784);
  EXPECT_EQ(scenario.tasks[0].name, "digits-0-1");
  EXPECT_EQ(scenario.tasks[4].name, "digits-8-9");
  for (int index = 0; index < 5; ++index) {
    const Task& task = scenario.tasks[index];
    EXPECT_THAT(LabelsOf(task.train), ElementsAre(2 * index, 2 * index + 1));
    EXPECT_THAT(LabelsOf(task.held_out), ElementsAre(2 * index, 2 * index + 1));
    EXPECT_TRUE(task.map.empty());
  }
}

TEST(ScenarioTest, SplitUsesEveryImageOnce) {
  const Scenario scenario = Make(Options("split-mnist"));
  std::set<int> train;
  std::set<int> held_out;
  for (const Task& task : scenario.tasks) {
    for (const TaskRow& row : task.train) {
      EXPECT_TRUE(train.insert(row.index).second);
      EXPECT_EQ(row.label, Digits().train.labels[row.index]);
    }
    for (const TaskRow& row : task.held_out) EXPECT_TRUE(held_out.insert(row.index).second);
  }
  EXPECT_EQ(static_cast<int64_t>(train.size()), 10 * kTrainPerClass);
  EXPECT_EQ(static_cast<int64_t>(held_out.size()), 10 * kTestPerClass);
  EXPECT_EQ(scenario.HeldOutRowsMax(), 2 * kTestPerClass);
}

TEST(ScenarioTest, SplitDomainAsksForOddOrEven) {
  ScenarioOptions options = Options("split-mnist");
  options.incremental = Incremental::kDomain;
  for (const Task& task : Make(options).tasks) {
    EXPECT_THAT(LabelsOf(task.train), ElementsAre(0, 1));
    for (const TaskRow& row : task.train) {
      EXPECT_EQ(row.label, Digits().train.labels[row.index] % 2);
    }
  }
}

TEST(ScenarioTest, SplitTakesAnyDivisorOfTen) {
  ScenarioOptions options = Options("split-mnist");
  options.tasks = 2;
  EXPECT_EQ(Make(options).tasks[1].name, "digits-5-6-7-8-9");
  options.tasks = 3;
  EXPECT_EQ(Refusal(options).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Refusal(options).message(), HasSubstr("tasks"));
}

TEST(ScenarioTest, PermutationsAreDistinctBijections) {
  ScenarioOptions options = Options("permuted-mnist");
  options.tasks = 4;
  const Scenario scenario = Make(options);
  std::set<PixelMap> maps;
  for (const Task& task : scenario.tasks) {
    PixelMap sorted = task.map;
    std::sort(sorted.begin(), sorted.end());
    ASSERT_EQ(sorted.size(), 784u);
    for (int pixel = 0; pixel < 784; ++pixel) ASSERT_EQ(sorted[pixel], pixel);
    maps.insert(task.map);
  }
  EXPECT_EQ(maps.size(), 4u);
}

TEST(ScenarioTest, PermutedIsDomainIncrementalByDefault) {
  const Scenario scenario = Make(Options("permuted-mnist"));
  EXPECT_EQ(scenario.incremental, Incremental::kDomain);
  EXPECT_EQ(scenario.tasks.size(), 10u);
  for (const Task& task : scenario.tasks) EXPECT_EQ(*LabelsOf(task.train).rbegin(), 9);
}

TEST(ScenarioTest, OneTaskOfAllDigitsKeepsTenLabels) {
  ScenarioOptions options = Options("permuted-mnist");
  options.tasks = 1;
  EXPECT_EQ(LabelsOf(Make(options).tasks[0].train).size(), 10u);
}

TEST(ScenarioTest, ClassAndTaskIncrementalPermutedTellTasksApartByLabel) {
  for (const Incremental kind : {Incremental::kClass, Incremental::kTask}) {
    ScenarioOptions options = Options("permuted-mnist");
    options.tasks = 3;
    options.incremental = kind;
    const Scenario scenario = Make(options);
    for (int index = 0; index < 3; ++index) {
      for (const TaskRow& row : scenario.tasks[index].train) {
        EXPECT_EQ(row.label, 10 * index + Digits().train.labels[row.index]);
      }
    }
  }
}

TEST(ScenarioTest, RotationsStartUprightAndAreEvenlySpaced) {
  ScenarioOptions options = Options("rotated-mnist");
  options.tasks = 4;
  const Scenario scenario = Make(options);
  EXPECT_EQ(scenario.tasks[0].name, "rotation-0");
  EXPECT_EQ(scenario.tasks[1].name, "rotation-45");
  EXPECT_EQ(scenario.tasks[3].name, "rotation-135");
  for (int pixel = 0; pixel < 784; ++pixel) EXPECT_EQ(scenario.tasks[0].map[pixel], pixel);
  EXPECT_NE(scenario.tasks[1].map, scenario.tasks[2].map);
}

std::vector<double> AnglesOf(const ScenarioOptions& options) {
  std::vector<double> angles;
  for (const Task& task : Make(options).tasks) {
    angles.push_back(std::stod(task.name.substr(std::string("rotation-").size())));
  }
  return angles;
}

TEST(ScenarioTest, SlicesGiveEveryTaskAnAngleOfItsOwnShare) {
  ScenarioOptions options = Options("rotated-mnist");
  options.angles = Angles::kSlices;
  const std::vector<double> angles = AnglesOf(options);
  ASSERT_EQ(angles.size(), 20u);
  for (size_t task = 0; task < angles.size(); ++task) {
    EXPECT_GE(angles[task], 9.0 * static_cast<double>(task));
    EXPECT_LT(angles[task], 9.0 * static_cast<double>(task + 1));
  }
}

TEST(ScenarioTest, UniformAnglesAreDrawnFromTheHalfTurnByTheSeed) {
  ScenarioOptions options = Options("rotated-mnist");
  options.angles = Angles::kUniform;
  const std::vector<double> angles = AnglesOf(options);
  EXPECT_GE(*std::min_element(angles.begin(), angles.end()), 0);
  EXPECT_LT(*std::max_element(angles.begin(), angles.end()), 180);
  EXPECT_FALSE(std::is_sorted(angles.begin(), angles.end()));
  EXPECT_EQ(angles, AnglesOf(options));
  options.seed = 2;
  EXPECT_NE(angles, AnglesOf(options));
}

TEST(ScenarioTest, ShuffledDigitsMeetAsTheSeedSaysAndEachIsSomewhere) {
  ScenarioOptions options = Options("split-mnist");
  options.shuffle_classes = true;
  std::set<int> digits;
  std::set<std::string> first_tasks;
  for (const Task& task : Make(options).tasks) {
    EXPECT_EQ(LabelsOf(task.train).size(), 2u);
    for (const int label : LabelsOf(task.train)) digits.insert(label);
    for (const TaskRow& row : task.train) {
      EXPECT_EQ(row.label, Digits().train.labels[row.index]);
    }
  }
  EXPECT_EQ(digits.size(), 10u);
  for (options.seed = 1; options.seed <= 10; ++options.seed) {
    first_tasks.insert(Make(options).tasks[0].name);
  }
  EXPECT_GT(first_tasks.size(), 3u);
}

// As in the source: it is the place in the shuffled order that is odd or even, not the digit.
TEST(ScenarioTest, DomainsOfShuffledDigitsHaveBothLabelsInEveryTask) {
  ScenarioOptions options = Options("split-mnist");
  options.shuffle_classes = true;
  options.incremental = Incremental::kDomain;
  for (options.seed = 1; options.seed <= 5; ++options.seed) {
    for (const Task& task : Make(options).tasks) {
      EXPECT_THAT(LabelsOf(task.train), ElementsAre(0, 1));
      EXPECT_THAT(LabelsOf(task.held_out), ElementsAre(0, 1));
    }
  }
}

TEST(ScenarioTest, PaddedPicturesArePermutedWithTheirBackground) {
  ScenarioOptions options = Options("permuted-mnist");
  options.side = 32;
  const Scenario scenario = Make(options);
  EXPECT_EQ(scenario.feature_count, 1024);
  for (const Task& task : scenario.tasks) {
    ASSERT_EQ(task.map.size(), 1024u);
    EXPECT_EQ(std::count(task.map.begin(), task.map.end(), -1), 1024 - 784);
    EXPECT_EQ(std::set<int32_t>(task.map.begin(), task.map.end()).size(), 785u);
    // Background is spread over the picture, not left at its border.
    EXPECT_NE(std::count(task.map.begin(), task.map.begin() + 64, -1), 64);
  }
}

TEST(ScenarioTest, ValidationImagesAreInNoTask) {
  ScenarioOptions options = Options("permuted-mnist");
  options.tasks = 2;
  options.validation_rows = 20;
  for (const Task& task : Make(options).tasks) {
    EXPECT_EQ(task.train.size(), size_t{10 * kTrainPerClass - 20});
    for (const TaskRow& row : task.train) EXPECT_GE(row.index, 20);
  }
}

TEST(ScenarioTest, LabelsAreThoseOfEveryTask) {
  ScenarioOptions options = Options("permuted-mnist");
  options.tasks = 2;
  options.incremental = Incremental::kClass;
  EXPECT_EQ(Make(options).Labels().size(), 20u);
  EXPECT_EQ(Make(options).Labels().back(), 19);
  options.incremental = Incremental::kDomain;
  EXPECT_EQ(Make(options).Labels().size(), 10u);
}

TEST(ScenarioTest, SeedDecidesOrderAndPermutationsAndNothingElse) {
  ScenarioOptions options = Options("permuted-mnist");
  options.seed = 5;
  const Scenario one = Make(options);
  const Scenario same = Make(options);
  options.seed = 6;
  const Scenario other = Make(options);
  for (size_t index = 0; index < one.tasks.size(); ++index) {
    EXPECT_EQ(ImagesOf(one.tasks[index].train), ImagesOf(same.tasks[index].train));
    EXPECT_EQ(one.tasks[index].map, same.tasks[index].map);
    EXPECT_NE(ImagesOf(one.tasks[index].train), ImagesOf(other.tasks[index].train));
    EXPECT_NE(one.tasks[index].map, other.tasks[index].map);
    std::vector<int> sorted = ImagesOf(one.tasks[index].train);
    std::vector<int> other_sorted = ImagesOf(other.tasks[index].train);
    std::sort(sorted.begin(), sorted.end());
    std::sort(other_sorted.begin(), other_sorted.end());
    EXPECT_EQ(sorted, other_sorted);
  }
}

TEST(ScenarioTest, StreamIsShuffled) {
  const std::vector<int> images = ImagesOf(Make(Options("split-mnist")).tasks[0].train);
  EXPECT_FALSE(std::is_sorted(images.begin(), images.end()));
}

TEST(ScenarioTest, TasksOfPermutedDrawDifferentImagesWhenLimited) {
  ScenarioOptions options = Options("permuted-mnist");
  options.tasks = 2;
  options.examples_per_task = 30;
  options.held_out_per_task = 7;
  const Scenario scenario = Make(options);
  EXPECT_EQ(scenario.tasks[0].train.size(), 30u);
  EXPECT_EQ(scenario.tasks[0].held_out.size(), 7u);
  EXPECT_NE(ImagesOf(scenario.tasks[0].train), ImagesOf(scenario.tasks[1].train));
}

TEST(ScenarioTest, MoreExamplesThanThereAreIsRefused) {
  ScenarioOptions options = Options("split-mnist");
  options.examples_per_task = 2 * kTrainPerClass;
  EXPECT_EQ(Make(options).tasks[0].train.size(), size_t{2 * kTrainPerClass});
  ++options.examples_per_task;
  EXPECT_EQ(Refusal(options).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(Refusal(options).message(), HasSubstr("digits-0-1 has 24 examples, got 25"));
}

TEST(ScenarioTest, OptionsOutsideTheBoundsAreRefused) {
  ScenarioOptions options = Options("permuted-mnist");
  options.tasks = 1001;
  EXPECT_THAT(Refusal(options).message(), HasSubstr("tasks: expected 1 to 1000, got 1001"));
  options = Options("permuted-mnist");
  options.examples_per_task = -1;
  EXPECT_THAT(Refusal(options).message(), HasSubstr("examples_per_task"));
  options = Options("permuted-mnist");
  options.side = 27;
  EXPECT_THAT(Refusal(options).message(), HasSubstr("side: expected 28 to 256, got 27"));
  options = Options("permuted-mnist");
  options.validation_rows = 10 * kTrainPerClass;
  EXPECT_THAT(Refusal(options).message(), HasSubstr("validation_rows"));
  options = Options("permuted-mnist");
  options.held_out_per_task = 10 * kTestPerClass + 1;
  EXPECT_THAT(Refusal(options).message(), HasSubstr("held_out_per_task"));
}

TEST(ScenarioTest, UnknownNameListsTheKnownOnes) {
  const absl::Status status = Refusal(Options("split-cifar"));
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  for (const ScenarioHelp& help : ListScenarios()) {
    EXPECT_THAT(status.message(), HasSubstr(help.name));
  }
}

TEST(ScenarioTest, DigitsThatAreMissingAreRefused) {
  datasets::RowSplit source = Digits();
  for (uint8_t& label : source.test.labels) label = 3;
  const auto scenario = MakeScenario(Options("split-mnist"), source);
  EXPECT_EQ(scenario.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(scenario.status().message(), HasSubstr("digits-0-1"));
}

TEST(ScenarioTest, EveryScenarioOfDigitsCanBeMadeInEveryKind) {
  for (const ScenarioHelp& help : ListScenarios()) {
    if (help.source != RowSource::kDigits) continue;
    for (const Incremental kind : {Incremental::kClass, Incremental::kTask, Incremental::kDomain}) {
      ScenarioOptions options = Options(help.name);
      options.incremental = kind;
      const Scenario scenario = Make(options);
      EXPECT_EQ(static_cast<int64_t>(scenario.tasks.size()), help.tasks);
      std::set<std::string> names;
      for (const Task& task : scenario.tasks) names.insert(task.name);
      EXPECT_EQ(names.size(), scenario.tasks.size());
    }
  }
}

TEST(ScenarioTest, IncrementalNamesRoundTrip) {
  for (const Incremental kind : {Incremental::kClass, Incremental::kTask, Incremental::kDomain}) {
    EXPECT_EQ(ParseIncremental(IncrementalName(kind)).value(), kind);
  }
  EXPECT_EQ(ParseIncremental("classes").status().code(), absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace engram::scenario
