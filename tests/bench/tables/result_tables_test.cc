#include "tests/bench/tables/result_tables.h"

#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "client/flags.h"
#include "client/scenario/protocols.h"
#include "client/scenario/run_plan.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::bench {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Not;

std::string RowsFile() {
  std::ostringstream text;
  text << std::ifstream(ENGRAM_TABLE_ROWS).rdbuf();
  return text.str();
}

RowOutcome Outcome(const std::string& id, const std::vector<double>& accuracies) {
  RowOutcome outcome;
  outcome.row.id = id;
  outcome.row.scenario = "split-mnist";
  outcome.row.protocol = "vdv";
  outcome.row.incremental = "task";
  outcome.row.strategy = "ewc";
  outcome.row.seeds = static_cast<int64_t>(accuracies.size());
  for (size_t at = 0; at < accuracies.size(); ++at) {
    scenario::RunFigures run;
    run.seed = at + 1;
    run.acc = accuracies[at];
    outcome.runs.push_back(run);
  }
  return outcome;
}

TEST(TableRowsTest, EveryKeyReachesItsField) {
  const auto rows = ParseRows(R"([
    {"id": "a", "scenario": "split-mnist", "protocol": "vdv", "incremental": "task",
     "strategy": "ewc", "flags": ["--lr=1"], "files": "other", "seeds": 3, "served": true,
     "published": 99.06, "spread": "0.15 SEM of 20", "source": "paper", "at_least": 98.5,
     "at_most": 100, "above": [{"id": "b", "by": -0.3}], "note": "n", "blocked": "why"},
    {"id": "b", "scenario": "s", "protocol": "p", "incremental": "class", "strategy": "x",
     "seeds": 1}])");
  ASSERT_TRUE(rows.ok()) << rows.status();
  const TableRow& row = rows->front();
  EXPECT_EQ(row.files, "other");
  EXPECT_TRUE(row.served);
  EXPECT_EQ(row.published, 99.06);
  EXPECT_EQ(row.at_least, 98.5);
  EXPECT_EQ(row.at_most, 100);
  EXPECT_EQ(row.above[0].id, "b");
  EXPECT_EQ(row.above[0].by, -0.3);
  EXPECT_EQ(row.blocked, "why");
  EXPECT_THAT(row.Arguments("DIR"),
              ElementsAre("split-mnist", "--scenario", "task", "--protocol", "vdv", "--strategy",
                          "ewc", "--lr=1", "--seeds", "3", "--data", "DIR"));
  EXPECT_EQ((*rows)[1].published, absl::nullopt);
  EXPECT_EQ((*rows)[1].files, "mnist");
}

TEST(TableRowsTest, WrongRowsAreNamed) {
  const std::string good =
      R"("scenario": "s", "protocol": "p", "incremental": "class", "strategy": "x", "seeds": 1})";
  const auto refusal = [](const std::string& text) {
    return std::string(ParseRows(text).status().message());
  };
  EXPECT_THAT(refusal("{}"), HasSubstr("expected a JSON array"));
  EXPECT_THAT(refusal("[1]"), HasSubstr("row 1: expected an object"));
  EXPECT_THAT(refusal(R"([{"id": "a", "at_leats": 1}])"), HasSubstr("a: no such key \"at_leats\""));
  EXPECT_THAT(refusal(R"([{"id": "a"}])"), HasSubstr("a: "));
  EXPECT_THAT(refusal("[{\"id\": \"a\", \"figure\": \"bwt\", " + good + "]"),
              HasSubstr("expected acc or prequential_accuracy"));
  EXPECT_THAT(refusal("[{\"id\": \"a\", " + good + ", {\"id\": \"a\", " + good + "]"),
              HasSubstr("two rows"));
  EXPECT_THAT(refusal("[{\"id\": \"a\", \"above\": [{\"id\": \"z\", \"by\": 0}], " + good + "]"),
              HasSubstr("above names no row: z"));
}

// A row that could never run would look like one that has not run yet.
TEST(TableRowsTest, TheListOfThisTreeIsValid) {
  const auto rows = ParseRows(RowsFile());
  ASSERT_TRUE(rows.ok()) << rows.status();
  std::set<std::string> protocols;
  for (const scenario::Protocol& protocol : scenario::ListProtocols()) {
    protocols.insert(protocol.name);
  }
  std::set<std::string> held_against;
  for (const TableRow& row : *rows) {
    for (const auto& other : row.above) held_against.insert(other.id);
  }
  for (const TableRow& row : *rows) {
    EXPECT_EQ(protocols.count(row.protocol), 1u) << row.id;
    EXPECT_TRUE(scenario::ParseIncremental(row.incremental).ok()) << row.id;
    EXPECT_TRUE(row.at_least || row.published || !row.blocked.empty() ||
                held_against.count(row.id) == 1)
        << row.id;
    scenario::RunFlags run;
    client::FlagSet flags("", "");
    scenario::AddRunFlags(&run, &flags);
    EXPECT_TRUE(flags.Parse(row.Arguments("DIR")).ok()) << row.id;
  }
}

TEST(ResultTablesTest, TargetHoldsForTheMeanOfAllSeeds) {
  RowOutcome outcome = Outcome("a", {0.98, 0.99});
  EXPECT_EQ(VerdictOf(outcome, {}), Verdict::kNone);
  outcome.row.at_least = 98.5;
  EXPECT_EQ(VerdictOf(outcome, {}), Verdict::kHolds);
  outcome.row.at_least = 98.51;
  EXPECT_EQ(VerdictOf(outcome, {}), Verdict::kMisses);
  outcome.row.at_least = 90;
  outcome.row.at_most = 98.4;
  EXPECT_EQ(VerdictOf(outcome, {}), Verdict::kMisses);
  outcome.row.seeds = 3;
  EXPECT_EQ(VerdictOf(outcome, {}), Verdict::kOpen);
}

TEST(ResultTablesTest, StreamsAreHeldByTheirPrequentialAccuracy) {
  RowOutcome outcome = Outcome("a", {0.98});
  outcome.row.figure = "prequential_accuracy";
  outcome.row.at_least = 87;
  EXPECT_EQ(VerdictOf(outcome, {}), Verdict::kOpen);
  outcome.runs[0].prequential_accuracy = 0.86;
  EXPECT_EQ(VerdictOf(outcome, {}), Verdict::kMisses);
  outcome.runs[0].prequential_accuracy = 0.88;
  EXPECT_EQ(VerdictOf(outcome, {}), Verdict::kHolds);
}

TEST(ResultTablesTest, ComparisonsAreMadeOnTheSeedsThatBothHave) {
  RowOutcome better = Outcome("better", {0.93, 0.95});
  // Its third seed would bring the mean of all above.
  const RowOutcome plain = Outcome("plain", {0.90, 0.92, 0.99});
  better.row.above = {{"plain", 3}};
  EXPECT_EQ(VerdictOf(better, {better, plain}), Verdict::kHolds);
  better.row.above = {{"plain", 3.01}};
  EXPECT_EQ(VerdictOf(better, {better, plain}), Verdict::kMisses);
  EXPECT_EQ(VerdictOf(better, {better, Outcome("plain", {})}), Verdict::kOpen);
}

TEST(ResultTablesTest, TextMarksRowsThatMissAndSaysWhyOthersDidNotRun) {
  RowOutcome missing = Outcome("misses", {0.5, 0.7});
  missing.row.at_least = 98.5;
  missing.row.published = 99.06;
  missing.row.spread = "0.15";
  missing.row.source = "paper";
  missing.strategy = "ewc:lambda=3";
  missing.served_equal = true;
  RowOutcome absent = Outcome("absent", {});
  absent.skipped = "unknown name \"magic\"";
  absent.row.note = "a remark";
  const std::string text = ResultsText({missing, absent});
  EXPECT_THAT(text,
              AllOf(HasSubstr("## split-mnist, protocol vdv\n\nvan de Ven"),
                    HasSubstr("\n`--shuffle_classes --head=fixed"),
                    HasSubstr("| misses | task | `ewc:lambda=3` | 60.00 +- 14.14 (2) | 99.06 "
                              "+- 0.15, paper | >= 98.5 | **misses** | equal |\n"),
                    HasSubstr("| absent | task | `ewc` | not run | - | - | - | - |\n"),
                    HasSubstr("  - not run: unknown name \"magic\"\n"), HasSubstr("  - a remark\n"),
                    HasSubstr("`engram scenario run split-mnist --scenario task --protocol "
                              "vdv --strategy ewc --seeds 2 --data DIR`")));
}

TEST(ResultTablesTest, TextSaysWhatOfTheSourceIsNotTakenOver) {
  RowOutcome outcome = Outcome("a", {});
  outcome.row.scenario = "rotated-mnist";
  outcome.row.protocol = "mammoth";
  EXPECT_THAT(ResultsText({outcome}), HasSubstr("\nNot taken over: Xavier uniform.\n"));
}

TEST(ResultTablesTest, JsonHasEveryRun) {
  RowOutcome outcome = Outcome("a", {0.98, 0.99});
  outcome.row.at_least = 99;
  const client::Json json = ResultsJson({outcome});
  ASSERT_EQ(json.size(), 1u);
  EXPECT_EQ(json[0]["id"], "a");
  EXPECT_DOUBLE_EQ(json[0]["mean"].get<double>(), 0.985);
  EXPECT_EQ(json[0]["runs"].size(), 2u);
  EXPECT_EQ(json[0]["runs"][1]["acc"], 0.99);
  EXPECT_EQ(json[0]["verdict"], "misses");
  EXPECT_TRUE(json[0]["published"].is_null());
  EXPECT_THAT(json.dump(), Not(HasSubstr("**")));
}

TEST(ResultTablesTest, ARowKeepsWhatWasToldOfTheSameRun) {
  RowOutcome told = Outcome("a", {0.5, 0.75});
  told.served_equal = true;
  const client::Json kept = ResultsJson({told});
  RowOutcome same = Outcome("a", {});
  same.row.seeds = 2;
  same.skipped = "no --data mnist=PATH was given";
  TakeKept(kept, &same);
  EXPECT_EQ(ResultsJson({same}), kept);
  RowOutcome fewer = Outcome("a", {0.9});
  fewer.row.seeds = 2;
  TakeKept(kept, &fewer);
  EXPECT_EQ(ResultsJson({fewer}), kept);
  RowOutcome other = Outcome("a", {});
  other.row.seeds = 2;
  other.row.strategy = "ewc:lambda=2";
  TakeKept(kept, &other);
  EXPECT_TRUE(other.runs.empty());
  TakeKept(client::Json(client::Json::value_t::discarded), &other);
  EXPECT_TRUE(other.runs.empty());
}

}  // namespace
}  // namespace engram::bench
