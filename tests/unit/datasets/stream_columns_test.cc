#include "client/datasets/stream_columns.h"

#include <cmath>
#include <vector>

#include "client/datasets/seeded_random.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::datasets {
namespace {

using ::testing::ElementsAre;

RowSet TwoColumns(const std::vector<float>& values) {
  RowSet set;
  set.columns = 2;
  set.values = values;
  set.rows = static_cast<int64_t>(values.size()) / 2;
  set.labels.assign(static_cast<size_t>(set.rows), 0);
  return set;
}

RowSet Drawn(int64_t rows) {
  SeededRandom random(3);
  std::vector<float> values;
  for (int64_t i = 0; i < 2 * rows; ++i) {
    values.push_back(static_cast<float>(1000.0 + random.Normal()));
  }
  return TwoColumns(values);
}

TEST(StandardiseOnlineTest, FollowsTheDefinitionOverTheRowsSoFar) {
  const RowSet raw = Drawn(40);
  RowSet set = raw;
  StandardiseOnline(&set);
  for (int64_t column = 0; column < 2; ++column) {
    for (int64_t last = 1; last < raw.rows; ++last) {
      double sum = 0;
      for (int64_t row = 0; row <= last; ++row) sum += raw.Values(row)[column];
      const double mean = sum / static_cast<double>(last + 1);
      double squares = 0;
      for (int64_t row = 0; row <= last; ++row) {
        squares += std::pow(raw.Values(row)[column] - mean, 2);
      }
      const double deviation = std::sqrt(squares / static_cast<double>(last + 1));
      EXPECT_NEAR(set.Values(last)[column], (raw.Values(last)[column] - mean) / deviation, 1e-4);
    }
  }
}

TEST(StandardiseOnlineTest, TheFutureChangesNoRow) {
  RowSet whole = Drawn(30);
  RowSet prefix = TwoColumns({whole.values.begin(), whole.values.begin() + 20});
  StandardiseOnline(&whole);
  StandardiseOnline(&prefix);
  EXPECT_EQ(prefix.values, std::vector<float>(whole.values.begin(), whole.values.begin() + 20));
}

TEST(StandardiseOnlineTest, ColumnsThatNeverVariedAreZeroAndOutliersAreBounded) {
  RowSet set = TwoColumns({5, 1, 5, 1, 5, 1});
  for (int i = 0; i < 400; ++i) set.values.insert(set.values.end(), {5, i % 2 == 0 ? 1.0f : 1.1f});
  set.values.insert(set.values.end(), {5, 1e6f});
  StandardiseOnline(&set);
  for (size_t at = 0; at < set.values.size(); at += 2) EXPECT_EQ(set.values[at], 0.0f);
  EXPECT_EQ(set.values.back(), 10.0f);
}

TEST(AppendPreviousLabelTest, TheRowBeforeSpeaksAndTheFirstRowHasNone) {
  RowSet set = TwoColumns({1, 2, 3, 4, 5, 6});
  set.labels = {1, 0, 1};
  AppendPreviousLabel(&set);
  EXPECT_EQ(set.columns, 3);
  EXPECT_THAT(set.values, ElementsAre(1, 2, 0, 3, 4, 1, 5, 6, -1));
}

}  // namespace
}  // namespace engram::datasets
