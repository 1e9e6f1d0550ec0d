#include "client/datasets/digit_generator.h"

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::datasets {
namespace {

constexpr int kPixels = 28 * 28;

RowSplit Generate(uint64_t seed, int64_t train_per_class, int64_t test_per_class) {
  auto split = GenerateDigits({seed, train_per_class, test_per_class});
  EXPECT_TRUE(split.ok()) << split.status();
  return *std::move(split);
}

using Means = std::array<std::vector<double>, 10>;

Means ClassMeans(const RowSet& images) {
  Means means;
  std::array<double, 10> count{};
  means.fill(std::vector<double>(kPixels, 0.0));
  for (int64_t row = 0; row < images.rows; ++row) {
    const size_t label = images.labels[row];
    ++count[label];
    for (int i = 0; i < kPixels; ++i) means[label][i] += images.Pixels(row)[i];
  }
  for (size_t label = 0; label < means.size(); ++label) {
    for (double& pixel : means[label]) pixel /= count[label];
  }
  return means;
}

int NearestMean(const Means& means, const uint8_t* pixels) {
  std::array<double, 10> distance{};
  for (size_t label = 0; label < means.size(); ++label) {
    for (int i = 0; i < kPixels; ++i) {
      const double difference = pixels[i] - means[label][i];
      distance[label] += difference * difference;
    }
  }
  return static_cast<int>(std::min_element(distance.begin(), distance.end()) - distance.begin());
}

TEST(DigitGeneratorTest, SameSeedSameImages) {
  const RowSplit one = Generate(7, 5, 3);
  const RowSplit two = Generate(7, 5, 3);
  EXPECT_EQ(one.train.pixels, two.train.pixels);
  EXPECT_EQ(one.test.pixels, two.test.pixels);
  EXPECT_EQ(one.train.labels, two.train.labels);
}

TEST(DigitGeneratorTest, OtherSeedOtherImages) {
  EXPECT_NE(Generate(7, 5, 3).train.pixels, Generate(8, 5, 3).train.pixels);
}

TEST(DigitGeneratorTest, BiggerSetBeginsWithTheSmallerOne) {
  const RowSplit small = Generate(3, 2, 1);
  const RowSplit big = Generate(3, 6, 4);
  EXPECT_TRUE(
      std::equal(small.train.pixels.begin(), small.train.pixels.end(), big.train.pixels.begin()));
}

TEST(DigitGeneratorTest, TrainAndTestShareNoImage) {
  const RowSplit split = Generate(1, 4, 4);
  for (int64_t row = 0; row < split.train.rows; ++row) {
    for (int64_t other = 0; other < split.test.rows; ++other) {
      EXPECT_FALSE(std::equal(split.train.Pixels(row), split.train.Pixels(row) + kPixels,
                              split.test.Pixels(other)));
    }
  }
}

TEST(DigitGeneratorTest, SizesAreAsAskedAndEveryPrefixIsBalanced) {
  const RowSplit split = Generate(1, 4, 2);
  EXPECT_EQ(split.train.rows, 40);
  EXPECT_EQ(split.test.rows, 20);
  EXPECT_EQ(split.train.width, 28);
  EXPECT_EQ(split.train.height, 28);
  EXPECT_EQ(split.train.pixels.size(), size_t{40 * kPixels});
  for (int64_t row = 0; row < 40; ++row) EXPECT_EQ(split.train.labels[row], row % 10);
}

TEST(DigitGeneratorTest, ImagesOfOneDigitDiffer) {
  const RowSplit split = Generate(1, 20, 1);
  for (int64_t row = 10; row < split.train.rows; row += 10) {
    EXPECT_FALSE(std::equal(split.train.Pixels(row), split.train.Pixels(row) + kPixels,
                            split.train.Pixels(row - 10)));
  }
}

// Ink covers about a sixth of the picture, as in handwritten sets; none is blank or flooded.
TEST(DigitGeneratorTest, EveryImageHasAPlausibleAmountOfInk) {
  const RowSplit split = Generate(5, 50, 1);
  for (int64_t row = 0; row < split.train.rows; ++row) {
    const uint8_t* pixels = split.train.Pixels(row);
    const auto inked =
        std::count_if(pixels, pixels + kPixels, [](uint8_t pixel) { return pixel > 127; });
    EXPECT_GT(inked, 10) << row;
    EXPECT_LT(inked, kPixels / 2) << row;
  }
}

// The task must be learnable and must not be trivial.
TEST(DigitGeneratorTest, NearestMeanSeparatesClassesButNotPerfectly) {
  const RowSplit split = Generate(1, 300, 60);
  const Means means = ClassMeans(split.train);
  int right = 0;
  for (int64_t row = 0; row < split.test.rows; ++row) {
    if (NearestMean(means, split.test.Pixels(row)) == split.test.labels[row]) ++right;
  }
  const double accuracy = static_cast<double>(right) / static_cast<double>(split.test.rows);
  EXPECT_GT(accuracy, 0.65);
  EXPECT_LT(accuracy, 0.95);
}

TEST(DigitGeneratorTest, CountsOutsideTheBoundsAreRefused) {
  const auto none = GenerateDigits({1, 0, 1});
  EXPECT_EQ(none.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(none.status().message(), ::testing::HasSubstr("train_per_class"));
  const auto many = GenerateDigits({1, 1, 100001});
  EXPECT_THAT(many.status().message(), ::testing::HasSubstr("test_per_class"));
}

}  // namespace
}  // namespace engram::datasets
