#include "client/scenario/run_plan.h"

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "client/flags.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::scenario {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

absl::StatusOr<RunPlan> PlanOf(const std::vector<std::string>& args) {
  RunFlags run;
  client::FlagSet flags("scenario run", "test");
  AddRunFlags(&run, &flags);
  const absl::Status parsed = flags.Parse(args);
  if (!parsed.ok()) return parsed;
  return MakeRunPlan(args, run);
}

std::vector<uint64_t> SeedsOf(const std::vector<std::string>& args) {
  const RunPlan plan = PlanOf(args).value();
  std::vector<uint64_t> seeds;
  for (const RunOptions& options : plan.strategies.front()) {
    seeds.push_back(options.scenario.seed);
  }
  return seeds;
}

TEST(RunPlanTest, FlagsReachTheirOptions) {
  const RunPlan plan =
      PlanOf({"split-mnist", "--strategy", "finetune", "--strategy=ewc", "--tasks=2",
              "--hidden=64,32", "--scenario", "domain", "--seed", "9", "--lr", "0.1",
              "--keep_model", "--data", "folder", "--angles=slices", "--drop_last",
              "--resume=file"})
          .value();
  EXPECT_FALSE(plan.seeds);
  EXPECT_EQ(plan.resume_file, "file");
  ASSERT_EQ(plan.strategies.size(), 2u);
  EXPECT_EQ(plan.strategies[1][0].strategy, "ewc");
  const RunOptions& options = plan.strategies[0][0];
  EXPECT_EQ(options.scenario.name, "split-mnist");
  EXPECT_EQ(options.strategy, "finetune");
  EXPECT_EQ(options.scenario.tasks, 2);
  EXPECT_THAT(options.hidden, ElementsAre(64, 32));
  EXPECT_EQ(options.scenario.incremental, Incremental::kDomain);
  EXPECT_EQ(options.scenario.angles, Angles::kSlices);
  EXPECT_EQ(options.scenario.seed, 9u);
  EXPECT_EQ(options.learning_rate, 0.1);
  EXPECT_TRUE(options.schedule.drop_last);
  EXPECT_TRUE(options.keep_model);
  EXPECT_EQ(options.data_path, "folder");
}

TEST(RunPlanTest, OneNumberOfSeedsCountsAndSeveralAreThemselves) {
  EXPECT_THAT(SeedsOf({"split-mnist", "--seeds=3"}), ElementsAre(1, 2, 3));
  EXPECT_THAT(SeedsOf({"split-mnist", "--seeds=7,0"}), ElementsAre(7, 0));
  EXPECT_THAT(SeedsOf({"split-mnist", "--seed=5"}), ElementsAre(5));
  EXPECT_TRUE(PlanOf({"split-mnist", "--seeds=1"})->seeds);
}

TEST(RunPlanTest, SeedsOutsideTheBoundsAreRefused) {
  EXPECT_THAT(PlanOf({"split-mnist", "--seeds=0"}).status().message(), HasSubstr("seeds"));
  EXPECT_THAT(PlanOf({"split-mnist", "--seeds=1001"}).status().message(), HasSubstr("seeds"));
  EXPECT_THAT(PlanOf({"split-mnist", "--seeds=1,-1"}).status().message(), HasSubstr("seeds"));
}

TEST(RunPlanTest, NamedModelsOfSeveralRunsDiffer) {
  const RunPlan plan = PlanOf({"split-mnist", "--model=m", "--seeds=2", "--strategy=finetune",
                               "--strategy=ewc:lambda=3"})
                           .value();
  EXPECT_EQ(plan.strategies[0][0].model, "m-finetune-s1");
  EXPECT_EQ(plan.strategies[0][1].model, "m-finetune-s2");
  EXPECT_EQ(plan.strategies[1][1].model, "m-ewc-s2");
  EXPECT_EQ(PlanOf({"split-mnist", "--model=m"})->strategies[0][0].model, "m");
  EXPECT_EQ(PlanOf({"split-mnist", "--seeds=2"})->strategies[0][1].model, "");
}

TEST(RunPlanTest, ScenarioIsWhatItIsKnownForUnlessNamed) {
  EXPECT_EQ(PlanOf({"permuted-mnist"})->strategies[0][0].scenario.incremental,
            Incremental::kDomain);
  EXPECT_EQ(PlanOf({"split-mnist"})->strategies[0][0].scenario.incremental, Incremental::kClass);
}

TEST(RunPlanTest, StreamsAreLearnedExampleByExampleUnlessToldOtherwise) {
  EXPECT_EQ(PlanOf({"electricity"})->strategies[0][0].schedule.batch_size, 1);
  EXPECT_EQ(PlanOf({"weather", "--batch_size=5"})->strategies[0][0].schedule.batch_size, 5);
  EXPECT_EQ(PlanOf({"imdb-films"})->strategies[0][0].schedule.batch_size, 10);
}

TEST(RunPlanTest, WrongTextsAreRefusedByName) {
  EXPECT_THAT(PlanOf({"split-mnist", "--angles=odd"}).status().message(), HasSubstr("angles"));
  EXPECT_THAT(PlanOf({"split-mnist", "--scenario=classes"}).status().message(),
              HasSubstr("scenario"));
  EXPECT_THAT(PlanOf({"split-mnist", "--strategy=magic"}).status().message(),
              HasSubstr("magic"));
  EXPECT_EQ(PlanOf({"split-mnist", "--protocol=x"}).status().code(),
            absl::StatusCode::kInvalidArgument);
}

}  // namespace
}  // namespace engram::scenario
