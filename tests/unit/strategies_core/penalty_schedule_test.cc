// The schedule against its formulas, through a save, and at every strategy that it scales.
#include "strategies/core/penalty_schedule.h"

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"
#include "strategies/api/compute.h"
#include "strategies/api/learner.h"
#include "tests/unit/strategies_core/small_stream.h"

namespace engram::strategies {
namespace {

PenaltyScheduleOptions Of(PenaltyScheduleKind kind) {
  PenaltyScheduleOptions options;
  options.kind = kind;
  options.period_steps = 10;
  options.decay = 0.5;
  return options;
}

void Advance(PenaltySchedule* schedule, int steps) {
  for (int i = 0; i < steps; ++i) schedule->OnStep();
}

TEST(PenaltyScheduleTest, FollowsTasksAndClasses) {
  PenaltySchedule schedule;
  const std::vector<double> expected[] = {{1, 0, 0, 0, 1, 1},
                                          {1, 1, 0.5, 0.5, 1, 1},
                                          {1, 2, 2.0 / 3, 2.0 / 3, 1, 0.5},
                                          {1, 3, 0.75, 0.75, 1, 0.25}};
  for (int64_t task = 0; task < 4; ++task) {
    for (int kind = 0; kind < 6; ++kind) {
      const PenaltyScheduleOptions options = Of(static_cast<PenaltyScheduleKind>(kind));
      EXPECT_DOUBLE_EQ(schedule.Factor(options, 2 * (task + 1)),
                       expected[task][static_cast<size_t>(kind)])
          << task << " " << kind;
    }
    schedule.OnBoundary(2 * (task + 1));
  }
}

TEST(PenaltyScheduleTest, ClassesThatAreNotNewLeaveTheShareWhole) {
  PenaltySchedule schedule;
  schedule.OnBoundary(10);
  EXPECT_EQ(schedule.Factor(Of(PenaltyScheduleKind::kClassShare), 10), 1);
  EXPECT_EQ(schedule.Factor(Of(PenaltyScheduleKind::kClassShare), 40), 0.25);
}

TEST(PenaltyScheduleTest, DecaysWithTheStepsSinceTheBoundaryDownToTheFloor) {
  PenaltyScheduleOptions options = Of(PenaltyScheduleKind::kStepDecay);
  options.floor = 0.2;
  PenaltySchedule schedule;
  Advance(&schedule, 30);
  schedule.OnBoundary(2);
  Advance(&schedule, 9);
  EXPECT_EQ(schedule.Factor(options, 2), 1);
  Advance(&schedule, 1);
  EXPECT_EQ(schedule.Factor(options, 2), 0.5);
  Advance(&schedule, 10);
  EXPECT_EQ(schedule.Factor(options, 2), 0.25);
  Advance(&schedule, 10);
  EXPECT_EQ(schedule.Factor(options, 2), 0.2);
}

TEST(PenaltyScheduleTest, WarmsUpAnewAfterEveryBoundary) {
  PenaltyScheduleOptions options = Of(PenaltyScheduleKind::kTasks);
  options.warm_up_steps = 4;
  PenaltySchedule schedule;
  schedule.OnBoundary(2);
  Advance(&schedule, 50);
  schedule.OnBoundary(4);
  for (const double expected : {0.5, 1.0, 1.5, 2.0, 2.0}) {
    EXPECT_DOUBLE_EQ(schedule.Factor(options, 4), expected);
    schedule.OnStep();
  }
}

TEST(PenaltyScheduleTest, SavedProgressContinues) {
  PenaltySchedule schedule;
  schedule.OnBoundary(3);
  Advance(&schedule, 7);
  StateWriter writer;
  schedule.SaveState(&writer);
  const std::string bytes = writer.Finish();
  PenaltySchedule restored;
  ASSERT_TRUE(restored.LoadState(*StateReader::Open(bytes)).ok());
  for (const PenaltyScheduleKind kind :
       {PenaltyScheduleKind::kTaskShare, PenaltyScheduleKind::kClassShare}) {
    PenaltyScheduleOptions options = Of(kind);
    options.warm_up_steps = 20;
    EXPECT_EQ(restored.Factor(options, 6), schedule.Factor(options, 6));
  }
}

// A strategy, the parameter that is scheduled, and a value of it.
struct Scheduled {
  const char* test_name;
  StrategySpec spec;
  const char* parameter;
  double value;
};

class ScheduledPenaltyTest : public testing::TestWithParam<Scheduled> {
 protected:
  static void SetUpTestSuite() {
    SetComputeThreads(1);
    EnterComputeThread();
  }

  std::unique_ptr<Learner> Make(double value, const PenaltyScheduleOptions& schedule) const {
    ModelOptions options = SmallModel(5);
    options.strategies = {GetParam().spec};
    options.strategies[0].parameters[GetParam().parameter] = value;
    options.penalty_schedule = schedule;
    auto learner = MakeLearner(options);
    EXPECT_TRUE(learner.ok()) << learner.status();
    return std::move(learner).value();
  }

  static void Train(Learner* learner, SmallStream* stream, const std::vector<int32_t>& classes,
                    int steps) {
    for (int step = 0; step < steps; ++step) {
      ASSERT_TRUE(learner->Train(stream->Next(classes).View()).ok());
    }
  }

  // State in the middle of the second task.
  std::string SecondTask(double value, const PenaltyScheduleOptions& schedule) const {
    const auto learner = Make(value, schedule);
    SmallStream stream(5, 3);
    Train(learner.get(), &stream, {0, 1, 0, 1}, 12);
    EXPECT_TRUE(learner->MarkBoundary({0, 1, 1000}).ok());
    Train(learner.get(), &stream, {2, 3, 2, 3}, 8);
    return SavedTensors(*learner);
  }
};

TEST_P(ScheduledPenaltyTest, ItsStrengthIsWhatTheScheduleMakesOfIt) {
  const double value = GetParam().value;
  const std::string half = SecondTask(value, Of(PenaltyScheduleKind::kTaskShare));
  EXPECT_EQ(half, SecondTask(value / 2, {}));
  EXPECT_NE(half, SecondTask(value, {}));
  EXPECT_EQ(SecondTask(value, Of(PenaltyScheduleKind::kTasks)), SecondTask(value, {}));
}

TEST_P(ScheduledPenaltyTest, ARestoredLearnerWarmsUpFromWhereItWas) {
  PenaltyScheduleOptions schedule = Of(PenaltyScheduleKind::kClassShare);
  schedule.warm_up_steps = 10;
  const auto original = Make(GetParam().value, schedule);
  SmallStream stream(5, 3);
  Train(original.get(), &stream, {0, 1, 0, 1}, 12);
  ASSERT_TRUE(original->MarkBoundary({0, 1, 1000}).ok());
  Train(original.get(), &stream, {2, 3, 2, 3}, 4);
  const auto saved = original->Save([](const MemberKey&) { return false; });
  const auto restored = Make(GetParam().value, schedule);
  ASSERT_TRUE(restored->Restore(*saved, AllPayloads(*saved)).ok());
  SmallStream same = stream;
  Train(original.get(), &stream, {2, 3, 2, 3}, 8);
  Train(restored.get(), &same, {2, 3, 2, 3}, 8);
  EXPECT_EQ(SavedTensors(*original), SavedTensors(*restored));
}

INSTANTIATE_TEST_SUITE_P(
    Strategies, ScheduledPenaltyTest,
    testing::Values(Scheduled{"ewc", {"ewc", {}}, "lambda", 8},
                    Scheduled{"online_ewc", {"online_ewc", {{"gamma", 0.9}}}, "lambda", 8},
                    Scheduled{"mas", {"mas", {}}, "lambda", 2},
                    Scheduled{"si", {"si", {}}, "c", 4},
                    Scheduled{"si_total",
                              {"si", {{"path_gradient", std::string("total")}}},
                              "c",
                              4},
                    Scheduled{"rwalk", {"rwalk", {}}, "lambda", 8},
                    Scheduled{"lwf", {"lwf", {}}, "lambda", 2}),
    [](const auto& test) { return std::string(test.param.test_name); });

}  // namespace
}  // namespace engram::strategies
