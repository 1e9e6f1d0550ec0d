#include "client/scenario/pixel_map.h"

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "client/datasets/row_set.h"
#include "client/scenario/row_features.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::scenario {
namespace {

using ::testing::ElementsAre;

datasets::RowSet NinePixels() {
  datasets::RowSet images;
  images.rows = 1;
  images.width = 3;
  images.height = 3;
  images.pixels = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  images.labels = {0};
  return images;
}

std::vector<int> Through(const PixelMap& map) {
  const datasets::RowSet images = NinePixels();
  std::vector<float> out(9);
  FillFeatures(images, 0, map, absl::MakeSpan(out));
  std::vector<int> pixels;
  for (const float value : out) pixels.push_back(static_cast<int>(value * 255.0f + 0.5f));
  return pixels;
}

TEST(PixelMapTest, EmptyMapKeepsThePicture) {
  EXPECT_THAT(Through({}), ElementsAre(1, 2, 3, 4, 5, 6, 7, 8, 9));
}

TEST(PixelMapTest, FeaturesAreUnitRange) {
  datasets::RowSet images = NinePixels();
  images.pixels = {0, 255, 51, 0, 0, 0, 0, 0, 0};
  std::vector<float> out(9);
  FillFeatures(images, 0, {}, absl::MakeSpan(out));
  EXPECT_EQ(out[0], 0.0f);
  EXPECT_EQ(out[1], 1.0f);
  EXPECT_FLOAT_EQ(out[2], 0.2f);
}

TEST(PixelMapTest, MapNamesTheSourceOfEachPixel) {
  EXPECT_THAT(Through({8, 7, 6, 5, 4, 3, 2, 1, -1}), ElementsAre(9, 8, 7, 6, 5, 4, 3, 2, 0));
}

TEST(PixelMapTest, QuarterTurnIsAnticlockwise) {
  EXPECT_THAT(Through(RotationMap(3, 3, 90)), ElementsAre(3, 6, 9, 2, 5, 8, 1, 4, 7));
}

TEST(PixelMapTest, HalfTurnReversesThePicture) {
  EXPECT_THAT(Through(RotationMap(3, 3, 180)), ElementsAre(9, 8, 7, 6, 5, 4, 3, 2, 1));
}

TEST(PixelMapTest, NoTurnIsTheIdentity) {
  EXPECT_THAT(Through(RotationMap(3, 3, 0)), ElementsAre(1, 2, 3, 4, 5, 6, 7, 8, 9));
}

TEST(PixelMapTest, CornersTurnedInAreBackground) {
  const PixelMap map = RotationMap(28, 28, 45);
  EXPECT_EQ(map.front(), -1);
  EXPECT_EQ(map.back(), -1);
  EXPECT_NE(map[14 * 28 + 14], -1);
}

TEST(PixelMapTest, PaddingPutsThePictureInTheMiddle) {
  EXPECT_THAT(PaddedMap(2, 1, 4),
              ElementsAre(-1, -1, -1, -1, -1, 0, 1, -1, -1, -1, -1, -1, -1, -1, -1, -1));
  EXPECT_THAT(PaddedMap(1, 1, 2), ElementsAre(0, -1, -1, -1));
}

TEST(PixelMapTest, ComposedMapsFollowEachOther) {
  EXPECT_THAT(Composed({2, -1, 0}, {1, 2, -1, 0}), ElementsAre(-1, 0, -1, 2));
  EXPECT_THAT(Composed({}, {1, 0}), ElementsAre(1, 0));
  EXPECT_THAT(Composed({1, 0}, {}), ElementsAre(1, 0));
}

TEST(PixelMapTest, PermutationDependsOnSeedAndStream) {
  EXPECT_EQ(PermutationMap(100, 1, 2), PermutationMap(100, 1, 2));
  EXPECT_NE(PermutationMap(100, 1, 2), PermutationMap(100, 1, 3));
  EXPECT_NE(PermutationMap(100, 1, 2), PermutationMap(100, 2, 2));
}

}  // namespace
}  // namespace engram::scenario
