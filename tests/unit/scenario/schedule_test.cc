#include "client/scenario/schedule.h"

#include <algorithm>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::scenario {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Task TaskOf(int rows) {
  Task task;
  task.name = "t";
  for (int row = 0; row < rows; ++row) task.train.push_back({row, row % 2});
  return task;
}

std::vector<int> ImagesOf(const std::vector<TaskRow>& rows) {
  std::vector<int> images;
  for (const TaskRow& row : rows) images.push_back(row.index);
  return images;
}

// Rows of each pass until the task is over.
std::vector<size_t> PassesOf(const Task& task, const Schedule& schedule) {
  std::vector<size_t> passes;
  for (int64_t pass = 0;; ++pass) {
    const size_t rows = RowsOfPass(task, schedule, 1, pass).size();
    if (rows == 0) return passes;
    passes.push_back(rows);
  }
}

TEST(ScheduleTest, FirstPassKeepsTheTasksOrderAndLaterOnesShuffleAnew) {
  const Task task = TaskOf(20);
  Schedule schedule;
  schedule.epochs = 3;
  const std::vector<int> first = ImagesOf(RowsOfPass(task, schedule, 1, 0));
  const std::vector<int> second = ImagesOf(RowsOfPass(task, schedule, 1, 1));
  EXPECT_EQ(first, ImagesOf(task.train));
  EXPECT_NE(first, second);
  EXPECT_NE(second, ImagesOf(RowsOfPass(task, schedule, 1, 2)));
  EXPECT_EQ(second, ImagesOf(RowsOfPass(task, schedule, 1, 1)));
  EXPECT_NE(second, ImagesOf(RowsOfPass(task, schedule, 2, 1)));
  EXPECT_TRUE(std::is_permutation(second.begin(), second.end(), first.begin(), first.end()));
}

TEST(ScheduleTest, EpochsKeepTheLastPartialBatch) {
  EXPECT_THAT(PassesOf(TaskOf(25), {10, 2, 0, false}), ElementsAre(25, 25));
  EXPECT_EQ(ScheduledExamples(TaskOf(25), {10, 2, 0, false}), 50);
}

TEST(ScheduleTest, DropLastEndsEachPassWithAWholeBatch) {
  EXPECT_THAT(PassesOf(TaskOf(25), {10, 2, 0, true}), ElementsAre(20, 20));
  EXPECT_EQ(ScheduledExamples(TaskOf(25), {10, 2, 0, true}), 40);
}

// 5 iterations of 10: two whole passes of two batches and half of a third.
TEST(ScheduleTest, IterationsCutTheLastPass) {
  EXPECT_THAT(PassesOf(TaskOf(25), {10, 1, 5, true}), ElementsAre(20, 20, 10));
  EXPECT_THAT(PassesOf(TaskOf(25), {10, 9, 5, false}), ElementsAre(25, 25));
  EXPECT_THAT(PassesOf(TaskOf(25), {10, 1, 1, true}), ElementsAre(10));
  EXPECT_EQ(ScheduledExamples(TaskOf(25), {10, 1, 5, true}), 50);
}

TEST(ScheduleTest, ScenarioIsTheSumOfItsTasks) {
  Scenario scenario;
  scenario.tasks = {TaskOf(25), TaskOf(14)};
  EXPECT_EQ(ScheduledExamples(scenario, {10, 1, 0, true}), 30);
}

TEST(ScheduleTest, OptionsOutsideTheBoundsAreRefused) {
  EXPECT_TRUE(CheckSchedule({}).ok());
  EXPECT_THAT(CheckSchedule({0, 1, 0, false}).message(), HasSubstr("batch_size"));
  EXPECT_THAT(CheckSchedule({1025, 1, 0, false}).message(), HasSubstr("batch_size"));
  EXPECT_THAT(CheckSchedule({10, 0, 0, false}).message(), HasSubstr("epochs"));
  EXPECT_THAT(CheckSchedule({10, 1, -1, false}).message(), HasSubstr("iterations"));
}

TEST(ScheduleTest, DroppedLastBatchMustNotBeTheOnlyOne) {
  Scenario scenario;
  scenario.tasks = {TaskOf(25), TaskOf(9)};
  EXPECT_TRUE(CheckBatchesFill({10, 1, 0, false}, scenario).ok());
  EXPECT_THAT(CheckBatchesFill({10, 1, 0, true}, scenario).message(),
              HasSubstr("of 9 examples fills no batch of 10"));
}

}  // namespace
}  // namespace engram::scenario
