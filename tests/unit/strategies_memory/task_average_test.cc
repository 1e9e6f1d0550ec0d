// The mean over the latest part of a task against its definition, and when there is none.
#include "strategies/core/task_average.h"

#include <algorithm>

#include "gtest/gtest.h"
#include "tests/unit/strategies_memory/fisher_rig.h"

namespace engram::strategies {
namespace {

class TaskAverageTest : public testing::Test {
 protected:
  TaskAverageTest() : rig_(RigOptions(4, {8}, 0).Head(HeadKind::kGrowing)) {
    rig_.Admit({0, 0}, {0, 1});
  }

  // One step that sets every parameter to `value`.
  void StepTo(double value, TaskAverage* average) {
    ParameterArena& arena = rig_.arena();
    for (size_t id = 0; id < arena.slots().size(); ++id) {
      arena.View(static_cast<ParameterId>(id)).fill_(value);
    }
    average->Step();
  }

  static float First(const at::Tensor& flat) { return flat.data_ptr<float>()[0]; }

  FisherRig rig_;
};

TEST_F(TaskAverageTest, IsTheRecursionOverEverySixteenthStep) {
  TaskAverage average(&rig_.arena(), "test", 0.1);
  double mean = 0;
  for (int step = 1; step <= 1000; ++step) {
    const double value = 0.001 * step + (step % 32 == 0 ? 0.5 : -0.5);
    StepTo(value, &average);
    if (step % 16 != 0) continue;
    const double samples = step / 16;
    mean += std::min(1.0, 1 / (0.1 * samples)) * (value - mean);
    if (samples < 20) continue;
    ASSERT_NEAR(First(average.Weights()), mean, 1e-4) << step;
  }
  // Of a path that rises to 1 and swings by a half: behind its end by the share, not its swing.
  EXPECT_NEAR(mean, 0.95, 0.15);
}

TEST_F(TaskAverageTest, ASlowTasksStartIsForgotten) {
  TaskAverage average(&rig_.arena(), "test", 0.1);
  for (int step = 0; step < 4000; ++step) StepTo(step < 2000 ? 100 : 1, &average);
  // (1/2)^10 of the first half is left.
  EXPECT_NEAR(First(average.Weights()), 1, 0.2);
}

TEST_F(TaskAverageTest, FewerThanTwoSamplesInTheShareAreNoMean) {
  TaskAverage average(&rig_.arena(), "test", 0.1);
  for (int step = 1; step < 20 * TaskAverage::kStride; ++step) {
    StepTo(step, &average);
    ASSERT_EQ(First(average.Weights()), step);
  }
  StepTo(1, &average);
  EXPECT_NE(First(average.Weights()), 1);
}

TEST_F(TaskAverageTest, WithoutAShareThereIsNoArrayAndNoMean) {
  const size_t companions = rig_.arena().companions().size();
  TaskAverage average(&rig_.arena(), "test", 0);
  EXPECT_EQ(rig_.arena().companions().size(), companions);
  for (int step = 1; step < 1000; ++step) StepTo(step, &average);
  EXPECT_EQ(First(average.Weights()), 999);
}

TEST_F(TaskAverageTest, ATaskAndAHeadThatGrewBeginAnew) {
  TaskAverage average(&rig_.arena(), "test", 1);
  const auto steps_to = [&](double value) {
    for (int step = 0; step < 3 * TaskAverage::kStride; ++step) StepTo(value, &average);
  };
  steps_to(5);
  average.Restart();
  steps_to(7);
  EXPECT_EQ(First(average.Weights()), 7);

  rig_.Admit({0}, {2});
  StepTo(8, &average);
  EXPECT_EQ(First(average.Weights()), 8);
  steps_to(9);
  EXPECT_EQ(First(average.Weights()), 9);
  const auto head = static_cast<ParameterId>(rig_.arena().slots().size()) - 2;
  EXPECT_EQ(rig_.arena().View(average.Weights(), head).min().item<float>(), 9);
}

TEST_F(TaskAverageTest, GoesOnWhereItWasSaved) {
  TaskAverage average(&rig_.arena(), "test", 0.5);
  for (int step = 0; step < 105; ++step) StepTo(step, &average);
  StateWriter writer;
  average.SaveState(&writer);
  const auto reader = StateReader::Open(writer.Finish());
  ASSERT_TRUE(reader.ok());

  FisherRig other(RigOptions(4, {8}, 0).Head(HeadKind::kGrowing));
  other.Admit({0, 0}, {0, 1});
  TaskAverage restored(&other.arena(), "test", 0.5);
  ASSERT_TRUE(restored.LoadState(*reader).ok());
  other.arena().companions().back().values.copy_(rig_.arena().companions().back().values);
  for (int step = 0; step < 50; ++step) {
    StepTo(3 * step, &average);
    other.arena().flat().copy_(rig_.arena().flat());
    restored.Step();
    ASSERT_TRUE(at::equal(average.Weights(), restored.Weights())) << step;
  }
}

TEST_F(TaskAverageTest, ANegativeCountIsRefused) {
  StateWriter writer;
  writer.PutInteger("average_steps", 1);
  writer.PutInteger("average_samples", -1);
  writer.PutInteger("average_parameters", 1);
  const auto reader = StateReader::Open(writer.Finish());
  ASSERT_TRUE(reader.ok());
  TaskAverage average(&rig_.arena(), "test", 0.5);
  EXPECT_EQ(average.LoadState(*reader).code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace engram::strategies
