// The tables against what the sources say, through the options and specs that they lead to.
#include "client/scenario/protocols.h"

#include <algorithm>
#include <set>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/flags.h"
#include "client/scenario/run_plan.h"
#include "client/spec_flags.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::scenario {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

RunOptions OptionsOf(const std::vector<std::string>& args) {
  RunFlags run;
  client::FlagSet flags("scenario run", "test");
  AddRunFlags(&run, &flags);
  EXPECT_TRUE(flags.Parse(args).ok());
  const auto plan = MakeRunPlan(args, run);
  EXPECT_TRUE(plan.ok()) << plan.status();
  return plan.ok() ? plan->strategies.front().front() : RunOptions{};
}

void ExpectSchedule(const Schedule& schedule, const Schedule& expected) {
  EXPECT_EQ(schedule.batch_size, expected.batch_size);
  EXPECT_EQ(schedule.epochs, expected.epochs);
  EXPECT_EQ(schedule.iterations, expected.iterations);
  EXPECT_EQ(schedule.drop_last, expected.drop_last);
}

std::string StrategyOf(const std::string& protocol, const std::string& scenario,
                       Incremental incremental, const std::string& strategy) {
  const auto resolved = ResolveProtocol(protocol, scenario, incremental, strategy);
  EXPECT_TRUE(resolved.ok()) << resolved.status();
  return resolved.ok() ? resolved->strategy : "";
}

double RateOf(const std::string& protocol, const std::string& scenario,
              const std::string& strategy) {
  return OptionsOf({scenario, "--protocol", protocol, "--strategy", strategy}).learning_rate;
}

TEST(ProtocolsTest, OnlineChangesNothing) {
  const RunOptions options = OptionsOf({"split-mnist"});
  EXPECT_EQ(options.protocol, "online");
  EXPECT_EQ(options.strategy, "finetune");
  EXPECT_THAT(options.hidden, ElementsAre(256, 256));
  EXPECT_EQ(options.learning_rate, 0.05);
  EXPECT_EQ(options.head, "growing");
  ExpectSchedule(options.schedule, {10, 1, 0, false});
}

// 5 x 2 digits, MLP 2 x 400, Adam 1e-3, 2 000 iterations of 128 a task, digits assigned by the
// seed, all ten outputs from the first step.
TEST(ProtocolsTest, VdvSplit) {
  const RunOptions options = OptionsOf({"split-mnist", "--protocol=vdv"});
  EXPECT_EQ(options.scenario.tasks, 0);  // five
  EXPECT_EQ(options.scenario.examples_per_task, 0);
  EXPECT_EQ(options.scenario.side, 0);
  EXPECT_TRUE(options.scenario.shuffle_classes);
  EXPECT_THAT(options.hidden, ElementsAre(400, 400));
  EXPECT_EQ(options.optimizer, "adam");
  EXPECT_EQ(options.learning_rate, 1e-3);
  EXPECT_EQ(options.head, "fixed");
  ExpectSchedule(options.schedule, {128, 1, 2000, true});
}

// 10 tasks of all digits, padded to 32 x 32, MLP 2 x 1 000, Adam 1e-4, 5 000 iterations of 128.
TEST(ProtocolsTest, VdvPermuted) {
  const RunOptions options = OptionsOf({"permuted-mnist", "--protocol=vdv"});
  EXPECT_EQ(options.scenario.tasks, 10);
  EXPECT_EQ(options.scenario.examples_per_task, 60000);
  EXPECT_EQ(options.scenario.side, 32);
  EXPECT_THAT(options.hidden, ElementsAre(1000, 1000));
  EXPECT_EQ(options.optimizer, "adam");
  EXPECT_EQ(options.learning_rate, 1e-4);
  EXPECT_EQ(options.head, "fixed");
  ExpectSchedule(options.schedule, {128, 1, 5000, true});
}

// 17 tasks x 55 000 of 60 000 less 5 000, one pass, batch 10, MLP 2 x 256, SGD.
TEST(ProtocolsTest, AgemPermuted) {
  const RunOptions options = OptionsOf({"permuted-mnist", "--protocol=agem"});
  EXPECT_EQ(options.scenario.tasks, 17);
  EXPECT_EQ(options.scenario.examples_per_task, 55000);
  EXPECT_EQ(options.scenario.validation_rows, 5000);
  EXPECT_EQ(options.scenario.side, 0);
  EXPECT_THAT(options.hidden, ElementsAre(256, 256));
  EXPECT_EQ(options.optimizer, "sgd");
  ExpectSchedule(options.schedule, {10, 1, 0, false});
  EXPECT_EQ(RateOf("agem", "permuted-mnist", "finetune"), 0.03);
  EXPECT_EQ(RateOf("agem", "permuted-mnist", "ewc"), 0.03);
  EXPECT_EQ(RateOf("agem", "permuted-mnist", "experience_replay"), 0.1);
}

// 20 tasks x 1 000, one pass, batch 10, MLP 2 x 100, SGD; each rotation in its own slice.
TEST(ProtocolsTest, GemPermutedAndRotated) {
  for (const std::string scenario : {"permuted-mnist", "rotated-mnist"}) {
    const RunOptions options = OptionsOf({scenario, "--protocol=gem"});
    EXPECT_EQ(options.scenario.tasks, 20);
    EXPECT_EQ(options.scenario.examples_per_task, 1000);
    EXPECT_THAT(options.hidden, ElementsAre(100, 100));
    EXPECT_EQ(options.optimizer, "sgd");
    ExpectSchedule(options.schedule, {10, 1, 0, false});
  }
  EXPECT_EQ(OptionsOf({"rotated-mnist", "--protocol=gem"}).scenario.angles, Angles::kSlices);
  EXPECT_EQ(RateOf("gem", "permuted-mnist", "finetune"), 0.03);
  EXPECT_EQ(RateOf("gem", "rotated-mnist", "finetune"), 0.003);
  EXPECT_EQ(RateOf("gem", "permuted-mnist", "ewc"), 0.1);
  EXPECT_EQ(RateOf("gem", "rotated-mnist", "ewc"), 0.01);
}

// 20 tasks x 60 000, one epoch, batch 128, MLP 2 x 100, SGD; 20 angles uniform in [0, 180).
TEST(ProtocolsTest, MammothPermutedAndRotated) {
  for (const std::string scenario : {"permuted-mnist", "rotated-mnist"}) {
    const RunOptions options = OptionsOf({scenario, "--protocol=mammoth"});
    EXPECT_EQ(options.scenario.tasks, 20);
    EXPECT_EQ(options.scenario.examples_per_task, 60000);
    EXPECT_THAT(options.hidden, ElementsAre(100, 100));
    EXPECT_EQ(options.optimizer, "sgd");
    ExpectSchedule(options.schedule, {128, 1, 0, false});
    EXPECT_EQ(RateOf("mammoth", scenario, "finetune"), 0.2);
    EXPECT_EQ(RateOf("mammoth", scenario, "experience_replay"), 0.2);
    EXPECT_EQ(RateOf("mammoth", scenario, "online_ewc"), 0.1);
    EXPECT_EQ(StrategyOf("mammoth", scenario, Incremental::kDomain, "replay"),
              "experience_replay:memory_size=500,replay_batch_size=128");
  }
  EXPECT_EQ(OptionsOf({"rotated-mnist", "--protocol=mammoth"}).scenario.angles, Angles::kUniform);
}

TEST(ProtocolsTest, PublishedParametersDependOnWhatIsIncremental) {
  const auto ewc = [](Incremental incremental) {
    return StrategyOf("vdv", "split-mnist", incremental, "ewc");
  };
  EXPECT_EQ(ewc(Incremental::kTask), "ewc:lambda=100000,fisher_examples=5000,anchor_share=0");
  EXPECT_EQ(ewc(Incremental::kDomain),
            "ewc:lambda=10000000000,fisher_examples=5000,anchor_share=0");
  EXPECT_EQ(ewc(Incremental::kClass), "ewc:lambda=1000000000,fisher_examples=5000,anchor_share=0");
  EXPECT_EQ(StrategyOf("vdv", "permuted-mnist", Incremental::kDomain, "ewc"),
            "ewc:lambda=100,fisher_examples=1000,anchor_share=0");
}

TEST(ProtocolsTest, ParametersOfTheUserWinAndTheOthersStay) {
  EXPECT_EQ(StrategyOf("vdv", "split-mnist", Incremental::kTask, "ewc:lambda=3"),
            "ewc:lambda=3,fisher_examples=5000,anchor_share=0");
  EXPECT_EQ(StrategyOf("vdv", "split-mnist", Incremental::kTask,
                       "experience_replay:policy=RESERVOIR+ewc:lambda=3"),
            "experience_replay:memory_size=1000,replay_batch_size=128,fill=TASK_END,per_class=100,"
            "weighting=TASK_SHARE+ewc:lambda=3,fisher_examples=5000,anchor_share=0");
  EXPECT_EQ(StrategyOf("vdv", "split-mnist", Incremental::kTask, "finetune"), "finetune");
}

TEST(ProtocolsTest, FlagsOfTheUserWin) {
  const RunOptions options =
      OptionsOf({"split-mnist", "--protocol=vdv", "--iterations=7", "--hidden=8", "--lr=0.5",
                 "--shuffle_classes=false", "--optimizer=sgd:momentum=0.9", "--head=growing"});
  ExpectSchedule(options.schedule, {128, 1, 7, true});
  EXPECT_THAT(options.hidden, ElementsAre(8));
  EXPECT_EQ(options.learning_rate, 0.5);
  EXPECT_FALSE(options.scenario.shuffle_classes);
  EXPECT_EQ(options.optimizer, "sgd:momentum=0.9");
  EXPECT_EQ(options.head, "growing");
  EXPECT_EQ(OptionsOf({"permuted-mnist", "--protocol=agem", "--lr=1"}).learning_rate, 1);
}

TEST(ProtocolsTest, OutermostStrategyDecidesTheRate) {
  EXPECT_EQ(RateOf("mammoth", "rotated-mnist", "experience_replay+online_ewc"), 0.2);
  EXPECT_EQ(RateOf("mammoth", "rotated-mnist", "online_ewc+experience_replay"), 0.1);
}

TEST(ProtocolsTest, UnknownNamesSayWhatThereIs) {
  const auto refusal = [](const std::string& protocol, const std::string& scenario) {
    return std::string(
        ResolveProtocol(protocol, scenario, Incremental::kClass, "finetune").status().message());
  };
  EXPECT_THAT(refusal("offline", "split-mnist"),
              HasSubstr("expected online, vdv, agem, gem, mammoth; got \"offline\""));
  EXPECT_THAT(refusal("vdv", "rotated-mnist"),
              HasSubstr("vdv is one of split-mnist, permuted-mnist; got \"rotated-mnist\""));
}

// Each line of the tables can be run, as far as this build has its strategy.
TEST(ProtocolsTest, EveryLineIsValid) {
  const std::vector<std::string> known = client::StrategyNames();
  for (const Protocol& protocol : ListProtocols()) {
    EXPECT_FALSE(protocol.source.empty());
    for (const ProtocolSetting& setting : protocol.settings) {
      const RunOptions options =
          OptionsOf({setting.scenario, absl::StrCat("--protocol=", protocol.name)});
      EXPECT_EQ(options.scenario.name, setting.scenario);
    }
    for (const ProtocolOverride& line : protocol.overrides) {
      const std::vector<std::string> halves = absl::StrSplit(line.strategy, ':');
      if (std::find(known.begin(), known.end(), halves[0]) == known.end()) continue;
      const RunOptions options =
          OptionsOf({line.scenario, absl::StrCat("--protocol=", protocol.name),
                     absl::StrCat("--scenario=", line.incremental.empty() ? "domain"
                                                                          : line.incremental),
                     absl::StrCat("--strategy=", line.strategy)});
      EXPECT_FALSE(options.strategy.empty()) << line.strategy;
    }
  }
}

TEST(ProtocolsTest, LineOfTheUsersMemorySizeCountsAndTheFirstOfAnyOther) {
  const std::string replay = "experience_replay:memory_size=";
  Protocol protocol;
  protocol.any_scenario = true;
  protocol.overrides = {{"s", "", replay + "500,replay_batch_size=5", {"--lr=0.5"}},
                        {"s", "", replay + "200,replay_batch_size=2", {"--lr=0.2"}}};
  const auto resolved = [&](const std::string& strategy) {
    const auto found = ResolveProtocol(protocol, "s", Incremental::kClass, strategy).value();
    return found.strategy + " " + found.flags.front();
  };
  EXPECT_EQ(resolved("experience_replay"), replay + "500,replay_batch_size=5 --lr=0.5");
  EXPECT_EQ(resolved(replay + "200"), replay + "200,replay_batch_size=2 --lr=0.2");
  EXPECT_EQ(resolved(replay + "20"), replay + "20,replay_batch_size=5 --lr=0.5");
}

}  // namespace
}  // namespace engram::scenario
