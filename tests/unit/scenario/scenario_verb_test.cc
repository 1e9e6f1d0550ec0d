#include "client/scenario/scenario_verb.h"

#include <cstdio>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "client/json.h"
#include "client/verb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/scenario/fake_scenario_server.h"

namespace engram::scenario {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// What a verb printed, and how it ended.
struct Outcome {
  int code = -1;
  std::string out;
  std::string err;

  std::vector<client::Json> Lines() const {
    std::vector<client::Json> lines;
    for (const auto line : absl::StrSplit(out, '\n', absl::SkipEmpty())) {
      lines.push_back(client::Json::parse(std::string(line)));
    }
    return lines;
  }
};

Outcome RunVerb(const std::vector<std::string>& args, bool json, const std::string& target = "") {
  std::ostringstream out;
  std::ostringstream err;
  client::VerbContext context;
  context.json = json;
  context.out = &out;
  context.err = &err;
  if (!target.empty()) context.connection.target = target;
  Outcome outcome;
  outcome.code = ScenarioVerb(context, args);
  outcome.out = out.str();
  outcome.err = err.str();
  return outcome;
}

std::vector<std::string> SmallRun(const std::vector<std::string>& more) {
  std::vector<std::string> args = {"run", "split-mnist", "--examples_per_task=20",
                                   "--held_out_per_task=5"};
  args.insert(args.end(), more.begin(), more.end());
  return args;
}

TEST(ScenarioVerbTest, JsonIsOneLineATaskAndEndsWithTheResult) {
  FakeScenarioServer server;
  const Outcome outcome = RunVerb(
      SmallRun({"--strategy=ewc:lambda=3", "--seed=9", "--predict_load"}), true, server.target());
  ASSERT_EQ(outcome.code, client::kExitOk) << outcome.err;
  const auto lines = outcome.Lines();
  ASSERT_EQ(lines.size(), 7u);
  for (int task = 0; task < 5; ++task) {
    EXPECT_EQ(lines[task]["event"], "task");
    EXPECT_EQ(lines[task]["index"], task);
  }
  EXPECT_EQ(lines[5]["event"], "predictions");
  EXPECT_EQ(lines[6]["event"], "result");
  EXPECT_EQ(lines[6]["strategy"], "ewc:lambda=3");
  EXPECT_EQ(lines[6]["seed"], 9);
  EXPECT_EQ(lines[6]["r"].size(), 5u);
}

TEST(ScenarioVerbTest, TextShowsLinesMatrixAndDefinitions) {
  FakeScenarioServer server;
  const Outcome outcome = RunVerb(SmallRun({}), false, server.target());
  ASSERT_EQ(outcome.code, client::kExitOk) << outcome.err;
  EXPECT_THAT(outcome.err, HasSubstr("task 5/5 digits-8-9: 20 examples"));
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("t5 digits-8-9"), HasSubstr("ACC 50.0"),
                                 HasSubstr("BWT         mean over")));
}

TEST(ScenarioVerbTest, SeveralStrategiesGetAModelEachAndAComparison) {
  FakeScenarioServer server;
  const Outcome outcome =
      RunVerb(SmallRun({"--strategy=finetune", "--strategy=experience_replay:memory_size=9+ewc",
                        "--model=q", "--tasks=1"}),
              false, server.target());
  ASSERT_EQ(outcome.code, client::kExitOk) << outcome.err;
  EXPECT_THAT(outcome.out, HasSubstr("\nexperience_replay:memory_size=9+ewc  50.0"));
  const Calls calls = server.calls();
  ASSERT_EQ(calls.created.size(), 2u);
  EXPECT_EQ(calls.created[0].name(), "q-finetune");
  EXPECT_EQ(calls.created[1].name(), "q-experience-replay-ewc");
}

TEST(ScenarioVerbTest, EvaluatePrintsEachTask) {
  FakeScenarioServer server;
  const std::vector<std::string> args = {"evaluate", "split-mnist", "--model=m",
                                         "--held_out_per_task=800"};
  const Outcome text = RunVerb(args, false, server.target());
  ASSERT_EQ(text.code, client::kExitOk) << text.err;
  EXPECT_THAT(text.out, AllOf(HasSubstr("m:  digits-0-1 50.0"), HasSubstr("mean 50.0")));
  const auto lines = RunVerb(args, true, server.target()).Lines();
  ASSERT_EQ(lines.size(), 1u);
  EXPECT_EQ(lines[0]["mean"], 0.5);
  // 800 rows do not fit into one request.
  EXPECT_EQ(server.calls().evaluations.size(), 20u);
}

TEST(ScenarioVerbTest, ListNamesEveryScenario) {
  EXPECT_THAT(RunVerb({"list"}, false).out,
              AllOf(HasSubstr("split-mnist"), HasSubstr("permuted-mnist")));
  std::vector<std::string> names;
  for (const auto& line : RunVerb({"list"}, true).Lines()) names.push_back(line["name"]);
  EXPECT_THAT(names, ElementsAre("split-mnist", "permuted-mnist", "rotated-mnist", "split-cifar10",
                                 "imdb-ratings", "imdb-films", "electricity", "weather"));
}

TEST(ScenarioVerbTest, SeedsEndWithASummaryAndKeepTheResultObject) {
  FakeScenarioServer server;
  const Outcome outcome = RunVerb(SmallRun({"--seeds=2", "--tasks=1"}), true, server.target());
  ASSERT_EQ(outcome.code, client::kExitOk) << outcome.err;
  const auto lines = outcome.Lines();
  ASSERT_EQ(lines.size(), 5u);
  EXPECT_EQ(lines[1]["event"], "result");
  EXPECT_EQ(lines[1].size(), 12u);
  EXPECT_EQ(lines[1]["seed"], 1);
  EXPECT_EQ(lines[3]["seed"], 2);
  EXPECT_EQ(lines[4]["event"], "summary");
  EXPECT_EQ(lines[4]["seeds"], client::Json({1, 2}));
  EXPECT_EQ(lines[4]["acc"]["mean"], 0.5);
  EXPECT_EQ(lines[4]["acc"]["sd"], 0.0);
  EXPECT_EQ(server.calls().created[1].spec().seed(), 2u);
}

TEST(ScenarioVerbTest, SeedsOfStrategiesStandUnderEachOther) {
  FakeScenarioServer server;
  const Outcome outcome =
      RunVerb(SmallRun({"--seeds=4,7", "--tasks=1", "--strategy=finetune", "--strategy=ewc"}),
              false, server.target());
  ASSERT_EQ(outcome.code, client::kExitOk) << outcome.err;
  EXPECT_THAT(outcome.out, AllOf(HasSubstr("\nmean +- SD (SEM), %  seeds"), HasSubstr("\newc  "),
                                 HasSubstr("      2  50.00 +- 0.00 (0.00)    -    -")));
}

TEST(ScenarioVerbTest, ResumedRunsAreNotDoneAgain) {
  FakeScenarioServer server;
  const std::string file = ::testing::TempDir() + "/resumed_runs.jsonl";
  std::remove(file.c_str());
  const std::string resume = "--resume=" + file;
  ASSERT_EQ(RunVerb(SmallRun({"--seeds=2", "--tasks=1", resume}), true, server.target()).code,
            client::kExitOk);
  const Outcome more =
      RunVerb(SmallRun({"--seeds=3", "--tasks=1", resume}), true, server.target());
  ASSERT_EQ(more.code, client::kExitOk) << more.err;
  EXPECT_EQ(server.calls().created.size(), 3u);
  const auto lines = more.Lines();
  // Two results that were there, one task and result that were not, the summary of all.
  ASSERT_EQ(lines.size(), 5u);
  EXPECT_EQ(lines[0].size(), 12u);
  EXPECT_EQ(lines[0]["seed"], 1);
  EXPECT_EQ(lines[4]["seeds"].size(), 3u);
  RunVerb(SmallRun({"--seeds=3", "--tasks=1", "--lr=0.1", resume}), true, server.target());
  EXPECT_EQ(server.calls().created.size(), 6u);
  EXPECT_THAT(RunVerb(SmallRun({"--seeds=1", "--tasks=1", resume}), false, server.target()).out,
              HasSubstr("finetune, seed 1: ACC 50.0, from "));
}

TEST(ScenarioVerbTest, ProtocolsAreListedAsFlags) {
  EXPECT_THAT(RunVerb({"protocols"}, false).out,
              AllOf(HasSubstr("vdv: van de Ven"), HasSubstr("--iterations=2000"),
                    HasSubstr("not taken over: Xavier uniform")));
  std::vector<std::string> names;
  for (const auto& line : RunVerb({"protocols"}, true).Lines()) names.push_back(line["name"]);
  EXPECT_THAT(names, ElementsAre("online", "vdv", "agem", "gem", "mammoth"));
}

TEST(ScenarioVerbTest, EvaluateUnderstandsTheProtocolOfTheRun) {
  FakeScenarioServer server;
  const Outcome outcome = RunVerb({"evaluate", "permuted-mnist", "--protocol=vdv", "--model=m",
                                   "--held_out_per_task=5", "--examples_per_task=20"},
                                  true, server.target());
  ASSERT_EQ(outcome.code, client::kExitOk) << outcome.err;
  EXPECT_EQ(server.calls().evaluations[0].examples(0).features().dense_uint8().size(), 1024u);
}

TEST(ScenarioVerbTest, WrongUsageIsFoundBeforeAnythingIsSent) {
  FakeScenarioServer server;
  for (const std::vector<std::string>& args : std::vector<std::vector<std::string>>{
           {},
           {"walk"},
           {"run"},
           {"evaluate", "split-mnist"},
           SmallRun({"--protocol=offline"}),
           SmallRun({"--protocol=agem"}),
           SmallRun({"--angles=random"}),
           SmallRun({"--seeds=0"}),
           SmallRun({"--epochs=0"}),
           SmallRun({"--scenario=classes"}),
           SmallRun({"--strategy=finetune", "--strategy=magic"})}) {
    const Outcome outcome = RunVerb(args, false, server.target());
    EXPECT_EQ(outcome.code, client::kExitUsage) << outcome.err;
    EXPECT_THAT(outcome.err, HasSubstr("usage: engram scenario"));
  }
  EXPECT_THAT(server.calls().created, IsEmpty());
}

TEST(ScenarioVerbTest, FailedCallIsExitOneWithTheCode) {
  const Outcome outcome = RunVerb({"run", "split-cifar"}, false);
  EXPECT_EQ(outcome.code, client::kExitFailed);
  EXPECT_THAT(outcome.err, HasSubstr("NOT_FOUND"));
  const Outcome folder = RunVerb({"run", "split-mnist", "--data=absent"}, false);
  EXPECT_THAT(folder.err, HasSubstr("absent"));
}

}  // namespace
}  // namespace engram::scenario
