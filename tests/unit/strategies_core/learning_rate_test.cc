// Schedules against their formulas, and their state through a save.
#include "strategies/core/learning_rate.h"

#include <cmath>
#include <string>

#include "gtest/gtest.h"

namespace engram::strategies {
namespace {

ScheduleOptions Schedule(ScheduleKind kind) {
  ScheduleOptions options;
  options.kind = kind;
  options.period_steps = 10;
  return options;
}

void Advance(LearningRate* rate, int steps, double loss = 1) {
  for (int i = 0; i < steps; ++i) rate->OnStep(loss);
}

TEST(LearningRateTest, ConstantStaysWhatItIs) {
  LearningRate rate(0.3, Schedule(ScheduleKind::kConstant));
  Advance(&rate, 100);
  EXPECT_EQ(rate.value(), 0.3);
}

TEST(LearningRateTest, AStepDecaysAfterEveryPeriod) {
  LearningRate rate(1, Schedule(ScheduleKind::kStep));
  Advance(&rate, 9);
  EXPECT_EQ(rate.value(), 1);
  Advance(&rate, 1);
  EXPECT_EQ(rate.value(), 0.5);
  Advance(&rate, 20);
  EXPECT_EQ(rate.value(), 0.125);
}

TEST(LearningRateTest, ACosineFallsToTheFloorAndStays) {
  ScheduleOptions options = Schedule(ScheduleKind::kCosine);
  options.floor = 0.2;
  LearningRate rate(1, options);
  EXPECT_EQ(rate.value(), 1);
  Advance(&rate, 5);
  EXPECT_NEAR(rate.value(), 0.6, 1e-12);
  Advance(&rate, 5);
  EXPECT_NEAR(rate.value(), 0.2, 1e-12);
  Advance(&rate, 50);
  EXPECT_NEAR(rate.value(), 0.2, 1e-12);
}

TEST(LearningRateTest, APlateauDecaysOnlyWithoutProgress) {
  LearningRate rate(1, Schedule(ScheduleKind::kPlateau));
  Advance(&rate, 10, 2.0);
  Advance(&rate, 10, 1.0);
  EXPECT_EQ(rate.value(), 1);
  Advance(&rate, 10, 1.0);
  EXPECT_EQ(rate.value(), 0.5);
  Advance(&rate, 10, 0.5);
  EXPECT_EQ(rate.value(), 0.5);
}

TEST(LearningRateTest, AWarmUpRisesLinearlyAndABoundaryBeginsAnew) {
  ScheduleOptions options = Schedule(ScheduleKind::kCosine);
  options.warm_up_steps = 4;
  options.restart_at_boundary = true;
  LearningRate rate(1, options);
  rate.OnBoundary();
  EXPECT_EQ(rate.value(), 0.25);
  Advance(&rate, 10);
  EXPECT_NEAR(rate.value(), 0, 1e-12);
  rate.OnBoundary();
  EXPECT_EQ(rate.value(), 0.25);
}

TEST(LearningRateTest, TheFirstStepIsWarmedUpToo) {
  ScheduleOptions options = Schedule(ScheduleKind::kConstant);
  options.warm_up_steps = 4;
  const LearningRate rate(1, options);
  EXPECT_EQ(rate.value(), 0.25);
}

TEST(LearningRateTest, SavedProgressContinues) {
  LearningRate rate(1, Schedule(ScheduleKind::kPlateau));
  Advance(&rate, 25);
  StateWriter writer;
  rate.SaveState(&writer);
  const std::string bytes = writer.Finish();
  LearningRate restored(1, Schedule(ScheduleKind::kPlateau));
  ASSERT_TRUE(restored.LoadState(*StateReader::Open(bytes)).ok());
  EXPECT_EQ(restored.value(), rate.value());
  Advance(&rate, 5);
  Advance(&restored, 5);
  EXPECT_EQ(restored.value(), rate.value());
  EXPECT_LT(rate.value(), 1);
}

}  // namespace
}  // namespace engram::strategies
