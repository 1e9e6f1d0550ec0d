#include "client/spec_flags.h"

#include <cstdio>
#include <fstream>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::client {
namespace {

using ::testing::Contains;
using ::testing::HasSubstr;
using ::testing::SizeIs;

std::string ErrorOf(absl::string_view text) {
  const auto parsed = ParseStrategyList(text);
  EXPECT_EQ(parsed.status().code(), absl::StatusCode::kInvalidArgument) << text;
  return std::string(parsed.status().message());
}

TEST(SpecFlagsTest, SetsParametersByTheirNames) {
  const auto spec = ParseStrategy("experience_replay:memory_size=1000,policy=class_balanced");
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->experience_replay().memory_size(), 1000);
  EXPECT_EQ(spec->experience_replay().policy(), v1::ExperienceReplay::CLASS_BALANCED);
}

TEST(SpecFlagsTest, AStrategyWithoutParametersKeepsTheServersDefaults) {
  const auto spec = ParseStrategy("ewc");
  ASSERT_TRUE(spec.ok());
  ASSERT_TRUE(spec->has_ewc());
  EXPECT_FALSE(spec->ewc().has_lambda());
}

TEST(SpecFlagsTest, AListIsJoinedByPlusOutermostFirst) {
  const auto specs = ParseStrategyList("replay+ewc:lambda=1e+3,fisher=SAMPLED+online_ewc");
  ASSERT_TRUE(specs.ok()) << specs.status();
  ASSERT_THAT(*specs, SizeIs(3));
  EXPECT_TRUE((*specs)[0].has_experience_replay());
  EXPECT_EQ((*specs)[1].ewc().lambda(), 1000);
  EXPECT_EQ((*specs)[1].ewc().fisher(), v1::SAMPLED);
  EXPECT_TRUE((*specs)[2].has_online_ewc());
}

TEST(SpecFlagsTest, FormattingIsTheInverseOfParsing) {
  const std::string text = "experience_replay:memory_size=50,policy=CLASS_BALANCED+ewc:lambda=3";
  v1::ModelSpec model;
  const auto specs = ParseStrategyList(text);
  ASSERT_TRUE(specs.ok()) << specs.status();
  for (const auto& spec : *specs) *model.add_strategies() = spec;
  EXPECT_EQ(FormatStrategies(model.strategies()), text);
  EXPECT_EQ(FormatStrategies(v1::ModelSpec().strategies()), "finetune");
}

TEST(SpecFlagsTest, SaysWhatCouldStandInstead) {
  EXPECT_THAT(ErrorOf("ewk"), HasSubstr("one of finetune, experience_replay, ewc, online_ewc"));
  EXPECT_THAT(ErrorOf(""), HasSubstr("unknown name \"\""));
  EXPECT_THAT(ErrorOf("ewc:lamda=3"), HasSubstr("lamda is no parameter, expected one of lambda"));
  EXPECT_THAT(ErrorOf("ewc:lambda=big"), HasSubstr("lambda: expected a number, got \"big\""));
  EXPECT_THAT(ErrorOf("ewc:lambda"), HasSubstr("expected key=value, got \"lambda\""));
  EXPECT_THAT(ErrorOf("replay:policy=FIFO"), HasSubstr("one of RESERVOIR, CLASS_BALANCED"));
  EXPECT_THAT(ErrorOf("replay:memory_size=1.5"), HasSubstr("expected a whole number"));
  EXPECT_THAT(ErrorOf("finetune:lambda=1"), HasSubstr("it has none"));
}

TEST(SpecFlagsTest, NamesEveryStrategyOfTheProtoFile) {
  EXPECT_THAT(StrategyNames(), Contains("online_ewc"));
  for (const std::string& name : StrategyNames()) {
    EXPECT_TRUE(ParseStrategy(name).ok()) << name;
  }
}

TEST(SpecFlagsTest, SetsTheOptimizerAndKeepsTheLearningRate) {
  v1::Optimizer optimizer;
  optimizer.set_learning_rate(0.1);
  ASSERT_TRUE(SetOptimizer("adamw:beta1=0.8,weight_decay=0.01", &optimizer).ok());
  EXPECT_EQ(optimizer.adamw().beta1(), 0.8);
  EXPECT_EQ(optimizer.adamw().weight_decay(), 0.01);
  EXPECT_EQ(optimizer.learning_rate(), 0.1);
  EXPECT_THAT(std::string(SetOptimizer("rmsprop", &optimizer).message()),
              HasSubstr("one of sgd, adam, adamw"));
}

TEST(SpecFlagsTest, AScheduleTakesItsNumbersByName) {
  engram::v1::Schedule schedule;
  ASSERT_TRUE(SetSchedule("cosine:period_steps=2000,restart_at_boundary=true", &schedule).ok());
  EXPECT_EQ(schedule.kind(), engram::v1::Schedule::COSINE);
  EXPECT_EQ(schedule.period_steps(), 2000);
  EXPECT_TRUE(schedule.restart_at_boundary());
  EXPECT_THAT(std::string(SetSchedule("sometimes", &schedule).message()), HasSubstr("schedule"));
  EXPECT_THAT(std::string(SetSchedule("step:tempo=3", &schedule).message()), HasSubstr("tempo"));
}

TEST(SpecFlagsTest, APenaltyScheduleIsAKindAndItsNumbers) {
  engram::v1::PenaltySchedule schedule;
  ASSERT_TRUE(SetPenaltySchedule("step_decay:period_steps=50,decay=0.9", &schedule).ok());
  EXPECT_EQ(schedule.kind(), engram::v1::PenaltySchedule::STEP_DECAY);
  EXPECT_EQ(schedule.period_steps(), 50);
  EXPECT_EQ(schedule.decay(), 0.9);
  EXPECT_THAT(std::string(SetPenaltySchedule("sometimes", &schedule).message()),
              HasSubstr("penalty_schedule: kind"));
}

TEST(SpecFlagsTest, AnAugmentationIsItsFields) {
  engram::v1::Augmentation augmentation;
  ASSERT_TRUE(
      SetAugmentation("height=28,width=28,flip_horizontal=true,mixup_alpha=0.2", &augmentation)
          .ok());
  EXPECT_EQ(augmentation.height(), 28);
  EXPECT_TRUE(augmentation.flip_horizontal());
  EXPECT_EQ(augmentation.mixup_alpha(), 0.2);
  EXPECT_THAT(std::string(SetAugmentation("spin=3", &augmentation).message()),
              HasSubstr("augmentation.spin"));
}

TEST(SpecFlagsTest, SetsTheHeadInAnyCase) {
  v1::Head head;
  ASSERT_TRUE(SetHead("per_task", &head).ok());
  EXPECT_EQ(head.kind(), v1::Head::PER_TASK);
  EXPECT_THAT(std::string(SetHead("two", &head).message()), HasSubstr("GROWING, FIXED, PER_TASK"));
}

TEST(SpecFlagsTest, ReadsASpecFile) {
  const std::string path = ::testing::TempDir() + "/engram_spec.txtpb";
  std::ofstream(path) << "feature_count: 784\nstrategies { ewc { lambda: 3 } }\n";
  const auto spec = ReadSpecFile(path);
  ASSERT_TRUE(spec.ok()) << spec.status();
  EXPECT_EQ(spec->feature_count(), 784);
  EXPECT_EQ(spec->strategies(0).ewc().lambda(), 3);
  std::ofstream(path) << "feature_count: 784\nfeatures: 3\n";
  const auto wrong = ReadSpecFile(path);
  EXPECT_EQ(wrong.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(wrong.status().message()), HasSubstr(":2:"));
  std::remove(path.c_str());
  EXPECT_EQ(ReadSpecFile(path).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace engram::client
