// Summarize against matrices worked by hand.
#include "strategies/api/forgetting.h"

#include <vector>

#include "gtest/gtest.h"

namespace engram::strategies {
namespace {

using Cell = absl::optional<double>;
constexpr absl::nullopt_t kAbsent = absl::nullopt;

AccuracyRow Row(int32_t ended_task, std::vector<Cell> accuracy) {
  AccuracyRow row;
  row.ended_task = ended_task;
  row.accuracy = std::move(accuracy);
  return row;
}

TEST(SummarizeTest, EmptyMatrixHasNoFigure) {
  const ForgettingReport report = Summarize({}, {});
  EXPECT_FALSE(report.acc.has_value());
  EXPECT_FALSE(report.bwt.has_value());
  EXPECT_FALSE(report.fwt.has_value());
  EXPECT_FALSE(report.average_forgetting.has_value());
  EXPECT_TRUE(report.last.empty());
}

TEST(SummarizeTest, FullMatrixGivesTheDefinitions) {
  const std::vector<AccuracyRow> rows = {Row(0, {0.9, 0.2, 0.1}), Row(1, {0.95, 0.8, 0.3}),
                                         Row(2, {0.6, 0.7, 0.85})};
  const ForgettingReport report = Summarize(rows, {{0.1}, {0.15}, {0.05}});
  EXPECT_NEAR(*report.acc, (0.6 + 0.7 + 0.85) / 3, 1e-12);
  EXPECT_NEAR(*report.bwt, ((0.6 - 0.9) + (0.7 - 0.8)) / 2, 1e-12);
  EXPECT_NEAR(*report.fwt, ((0.2 - 0.15) + (0.3 - 0.05)) / 2, 1e-12);
  EXPECT_NEAR(*report.forgetting[0], 0.95 - 0.6, 1e-12);  // the best is not at its own end
  EXPECT_NEAR(*report.forgetting[1], 0.8 - 0.7, 1e-12);
  EXPECT_FALSE(report.forgetting[2].has_value());  // just learned: nothing to forget yet
  EXPECT_NEAR(*report.average_forgetting, (0.35 + 0.1) / 2, 1e-12);
  EXPECT_EQ(report.best, (std::vector<Cell>{0.95, 0.8, 0.85}));
  EXPECT_EQ(report.last, (std::vector<Cell>{0.6, 0.7, 0.85}));
}

TEST(SummarizeTest, OneTaskHasAccuracyButNoTransfer) {
  const ForgettingReport report = Summarize({Row(0, {0.7})}, {0.5});
  EXPECT_NEAR(*report.acc, 0.7, 1e-12);
  EXPECT_FALSE(report.bwt.has_value());
  EXPECT_FALSE(report.fwt.has_value());
  EXPECT_FALSE(report.average_forgetting.has_value());
}

TEST(SummarizeTest, RaggedRowsCountAsAbsentCells) {
  const std::vector<AccuracyRow> rows = {Row(0, {0.9}), Row(1, {0.5, 0.8})};
  const ForgettingReport report = Summarize(rows, {});
  EXPECT_NEAR(*report.acc, 0.65, 1e-12);
  EXPECT_NEAR(*report.bwt, -0.4, 1e-12);
  EXPECT_FALSE(report.fwt.has_value());
}

TEST(SummarizeTest, ATaskWithoutHeldOutRowsIsLeftOutOfEveryMean) {
  const std::vector<AccuracyRow> rows = {Row(0, {0.9, kAbsent, 0.3}), Row(1, {0.8, kAbsent, 0.4}),
                                         Row(2, {0.5, kAbsent, 0.7})};
  const ForgettingReport report = Summarize(rows, {0.1, kAbsent, 0.1});
  EXPECT_NEAR(*report.acc, 0.6, 1e-12);
  EXPECT_NEAR(*report.bwt, -0.4, 1e-12);
  EXPECT_NEAR(*report.fwt, 0.3, 1e-12);
  EXPECT_NEAR(*report.average_forgetting, 0.4, 1e-12);
  EXPECT_FALSE(report.best[1].has_value());
  EXPECT_FALSE(report.last[1].has_value());
  EXPECT_FALSE(report.forgetting[1].has_value());
}

TEST(SummarizeTest, HeldOutRowsThatCameAfterTheEndGiveNoBackwardTransfer) {
  const std::vector<AccuracyRow> rows = {Row(0, {kAbsent, 0.1}), Row(1, {0.6, 0.9}),
                                         Row(2, {0.4, 0.8, 0.7})};
  const ForgettingReport report = Summarize(rows, {kAbsent, 0.1, kAbsent});
  EXPECT_NEAR(*report.bwt, -0.1, 1e-12);           // task 1 only
  EXPECT_NEAR(*report.forgetting[0], 0.2, 1e-12);  // its best was seen at row 1
  EXPECT_NEAR(*report.average_forgetting, (0.2 + 0.1) / 2, 1e-12);
}

TEST(SummarizeTest, ATaskThatEndsTwiceIsMeasuredFromItsFirstEnd) {
  const std::vector<AccuracyRow> rows = {Row(0, {0.9, 0.2}), Row(1, {0.5, 0.8}),
                                         Row(0, {0.95, 0.6})};
  const ForgettingReport report = Summarize(rows, {0.1, 0.1});
  EXPECT_NEAR(*report.bwt, ((0.95 - 0.9) + (0.6 - 0.8)) / 2, 1e-12);
  EXPECT_NEAR(*report.forgetting[0], 0.9 - 0.95, 1e-12);  // negative: better than ever
  EXPECT_NEAR(*report.fwt, 0.2 - 0.1, 1e-12);
}

TEST(SummarizeTest, ATaskThatNeverEndedIsShownButNotAveraged) {
  const std::vector<AccuracyRow> rows = {Row(0, {0.9, 0.1}), Row(0, {0.8, 0.3})};
  const ForgettingReport report = Summarize(rows, {});
  EXPECT_NEAR(*report.acc, 0.8, 1e-12);
  EXPECT_EQ(report.last[1], Cell(0.3));
  EXPECT_EQ(report.best[1], Cell(0.3));
  EXPECT_FALSE(report.forgetting[1].has_value());
}

}  // namespace
}  // namespace engram::strategies
