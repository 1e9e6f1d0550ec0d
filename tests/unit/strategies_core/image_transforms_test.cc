// Every transform against what it does to an image worked out by hand, or against torch's sampler.
#include "strategies/core/image_transforms.h"

#include <gmock/gmock.h>
#include <torch/torch.h>

#include <cmath>
#include <vector>

namespace engram::strategies {
namespace {

using ::testing::ElementsAre;
using ::testing::FloatNear;
using ::testing::Pointwise;

const std::vector<float> kImage = {1, 2, 3,  //
                                   4, 5, 6};
constexpr ImageShape kShape{2, 3, 1};

std::vector<float> Moved(const PixelMove& move, const ImageShape& shape = kShape,
                         const std::vector<float>& image = kImage) {
  std::vector<float> out(image.size(), -1);
  MovePixels(image.data(), shape, move, out.data());
  return out;
}

TEST(ImageTransformsTest, AMirrorTurnsColumnsOrRowsAround) {
  EXPECT_THAT(Moved({}), ElementsAre(1, 2, 3, 4, 5, 6));
  EXPECT_THAT(Moved({true, false}), ElementsAre(3, 2, 1, 6, 5, 4));
  EXPECT_THAT(Moved({false, true}), ElementsAre(4, 5, 6, 1, 2, 3));
}

TEST(ImageTransformsTest, AMovedWindowLetsZerosIn) {
  EXPECT_THAT(Moved({false, false, 1, -1}), ElementsAre(0, 4, 5, 0, 0, 0));
  EXPECT_THAT(Moved({true, false, 0, 1}), ElementsAre(2, 1, 0, 5, 4, 0));
}

TEST(ImageTransformsTest, EveryChannelMovesAlike) {
  const std::vector<float> planes = {1, 2, 3, 4, 10, 20, 30, 40};
  EXPECT_THAT(Moved({true, false, 1, 0}, {2, 2, 2}, planes),
              ElementsAre(4, 3, 0, 0, 40, 30, 0, 0));
}

std::vector<float> Turned(const std::vector<float>& image, const ImageShape& shape, double degrees,
                          double zoom) {
  std::vector<float> out(image.size(), -1);
  TurnImage(image.data(), shape, degrees, zoom, out.data());
  return out;
}

TEST(ImageTransformsTest, AQuarterTurnIsCounterclockwise) {
  const std::vector<float> image = {1, 2, 3, 4, 5, 6, 7, 8, 9};
  EXPECT_EQ(Turned(image, {3, 3}, 0, 1), image);
  const std::vector<float> quarter = {3, 6, 9, 2, 5, 8, 1, 4, 7};
  EXPECT_THAT(Turned(image, {3, 3}, 90, 1), Pointwise(FloatNear(1e-5f), quarter));
}

TEST(ImageTransformsTest, ZoomingReadsBetweenPixels) {
  EXPECT_THAT(Turned({1, 2, 3, 4, 5}, {1, 5}, 0, 2), ElementsAre(2, 2.5f, 3, 3.5f, 4));
  EXPECT_THAT(Turned({1, 2, 3}, {1, 3}, 0, 0.5), ElementsAre(0, 2, 0));
}

TEST(ImageTransformsTest, ATurnEqualsTorchsSampler) {
  constexpr int64_t kSide = 7;
  const torch::Tensor image = torch::rand({1, 2, kSide, kSide});
  const double degrees = 23, zoom = 1.3, radians = degrees * std::acos(-1.0) / 180;
  const double across = std::cos(radians) / zoom, along = std::sin(radians) / zoom;
  const torch::Tensor map =
      torch::tensor({{across, -along, 0.0}, {along, across, 0.0}}).to(torch::kFloat).unsqueeze(0);
  const torch::Tensor grid =
      torch::affine_grid_generator(map, {1, 2, kSide, kSide}, /*align_corners=*/true);
  const torch::Tensor expected =
      torch::grid_sampler(image, grid, /*bilinear=*/0, /*zeros=*/0, /*align_corners=*/true);
  const torch::Tensor ours = torch::empty_like(image);
  TurnImage(image.data_ptr<float>(), {kSide, kSide, 2}, degrees, zoom, ours.data_ptr<float>());
  EXPECT_LT((ours - expected).abs().max().item<double>(), 1e-5);
}

TEST(ImageTransformsTest, ABoxIsCutOffAtTheEdgesAndCountsWhatItPasted) {
  constexpr ImageShape shape{4, 4, 2};
  const std::vector<float> source(32, 7);
  std::vector<float> image(32, 0);
  EXPECT_EQ(PasteBox(source.data(), BoxAround(2, 2, 0.25, shape), shape, image.data()), 0.25);
  const std::vector<float> plane = {0, 0, 0, 0, 0, 7, 7, 0, 0, 7, 7, 0, 0, 0, 0, 0};
  EXPECT_EQ(std::vector<float>(image.begin(), image.begin() + 16), plane);
  EXPECT_EQ(std::vector<float>(image.begin() + 16, image.end()), plane);
  std::vector<float> corner(32, 0);
  EXPECT_EQ(PasteBox(source.data(), BoxAround(0, 0, 0.25, shape), shape, corner.data()),
            1.0 / 16);
  EXPECT_EQ(PasteBox(source.data(), BoxAround(1, 1, 0, shape), shape, corner.data()), 0);
}

}  // namespace
}  // namespace engram::strategies
