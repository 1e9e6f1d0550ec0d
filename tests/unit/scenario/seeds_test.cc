#include "client/scenario/seeds.h"

#include <cmath>
#include <string>
#include <vector>

#include "client/scenario/run_report.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::scenario {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

RunFigures Seed(uint64_t seed, double acc) {
  RunFigures figures;
  figures.scenario = "split-mnist";
  figures.protocol = "vdv";
  figures.strategy = "ewc";
  figures.seed = seed;
  figures.acc = acc;
  return figures;
}

// 2, 4, 4, 4, 5, 5, 7, 9: mean 5, sum of squares 32.
TEST(SeedsTest, DeviationIsThatOfTheSample) {
  const auto spread = SpreadOf({2.0, 4.0, 4.0, 4.0, 5.0, 5.0, 7.0, 9.0});
  ASSERT_TRUE(spread.has_value());
  EXPECT_EQ(spread->count, 8);
  EXPECT_DOUBLE_EQ(spread->mean, 5);
  EXPECT_DOUBLE_EQ(*spread->sd, std::sqrt(32.0 / 7));
  EXPECT_DOUBLE_EQ(*spread->sem, std::sqrt(32.0 / 7 / 8));
}

TEST(SeedsTest, OneValueHasNoDeviationAndNoneHasNoMean) {
  const auto one = SpreadOf(std::vector<absl::optional<double>>{absl::nullopt, 3.0});
  ASSERT_TRUE(one.has_value());
  EXPECT_EQ(one->count, 1);
  EXPECT_EQ(one->mean, 3);
  EXPECT_FALSE(one->sd.has_value());
  EXPECT_FALSE(one->sem.has_value());
  EXPECT_FALSE(SpreadOf(std::vector<absl::optional<double>>{absl::nullopt}).has_value());
}

TEST(SeedsTest, TableHasMeanDeviationAndErrorInPerCent) {
  const std::string text = SeedsTable({{Seed(1, 0.98), Seed(2, 1.0)}, {Seed(1, 0.5)}});
  EXPECT_THAT(text, HasSubstr("2  99.00 +- 1.41 (1.00)    -    -           -            -\n"));
  EXPECT_THAT(text, HasSubstr("1                 50.00"));
}

TEST(SeedsTest, SummaryNamesItsSeedsAndFigures) {
  const client::Json json = SummaryJson({Seed(3, 0.25), Seed(5, 0.75)});
  EXPECT_EQ(json["event"], "summary");
  EXPECT_EQ(json["protocol"], "vdv");
  EXPECT_EQ(json["seeds"], client::Json({3, 5}));
  EXPECT_DOUBLE_EQ(json["acc"]["mean"].get<double>(), 0.5);
  EXPECT_DOUBLE_EQ(json["acc"]["sd"].get<double>(), std::sqrt(0.125));
  EXPECT_DOUBLE_EQ(json["acc"]["sem"].get<double>(), 0.25);
  EXPECT_TRUE(json["bwt"].is_null());
  EXPECT_FALSE(json.contains("prequential_accuracy"));
  EXPECT_TRUE(SummaryJson({Seed(3, 0.25)})["acc"]["sd"].is_null());
}

TEST(SeedsTest, StreamsAreSummedUpByTheirPrequentialAccuracy) {
  RunFigures stream = Seed(1, 0.9);
  stream.prequential_accuracy = 0.75;
  EXPECT_EQ(SummaryJson({stream})["prequential_accuracy"]["mean"], 0.75);
}

TEST(SeedsTest, FiguresSurviveTheResultObject) {
  RunResult result;
  result.options.scenario.name = "split-mnist";
  result.options.scenario.seed = 7;
  result.options.protocol = "vdv";
  result.options.strategy = "ewc:lambda=3";
  result.summary.set_acc(0.1 + 0.2);
  result.summary.set_bwt(-0.25);
  result.prequential_accuracy = 0.3;
  result.trained_examples = 30;
  result.training_seconds = 7;
  const auto line = client::Json::parse(ResultJson(result).dump());
  const RunFigures read = FiguresOf(line);
  const RunFigures direct = FiguresOf(result);
  EXPECT_EQ(read.scenario, "split-mnist");
  EXPECT_EQ(read.protocol, "vdv");
  EXPECT_EQ(read.strategy, "ewc:lambda=3");
  EXPECT_EQ(read.seed, 7u);
  EXPECT_EQ(*read.acc, 0.1 + 0.2);
  EXPECT_EQ(read.bwt, direct.bwt);
  EXPECT_EQ(read.fwt, absl::nullopt);
  EXPECT_EQ(read.prequential_accuracy, 0.3);
  EXPECT_EQ(read.examples_per_second, direct.examples_per_second);
}

}  // namespace
}  // namespace engram::scenario
