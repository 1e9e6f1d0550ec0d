// What each form keeps of a feature, and what it refuses.
#include "strategies/memory/feature_storage.h"

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace engram::strategies {
namespace {

std::vector<float> ThroughStorage(FeatureStorage storage, const std::vector<float>& features) {
  std::vector<uint8_t> packed(features.size() * static_cast<size_t>(BytesPerFeature(storage)));
  PackFeatures(storage, features, packed.data());
  std::vector<float> result(features.size());
  UnpackFeatures(storage, packed.data(), absl::MakeSpan(result));
  return result;
}

TEST(FeatureStorageTest, PixelsOverTwoHundredAndFiftyFiveAreExactInBytes) {
  std::vector<float> pixels;
  for (int pixel = 0; pixel <= 255; ++pixel) pixels.push_back(static_cast<float>(pixel) / 255.0f);
  EXPECT_EQ(ThroughStorage(FeatureStorage::kUint8, pixels), pixels);
}

TEST(FeatureStorageTest, BytesRoundToTheNearestPixel) {
  std::mt19937 random(1);
  std::uniform_real_distribution<float> uniform(0, 1);
  std::vector<float> features;
  for (int i = 0; i < 1000; ++i) features.push_back(uniform(random));
  const std::vector<float> kept = ThroughStorage(FeatureStorage::kUint8, features);
  for (size_t i = 0; i < kept.size(); ++i) EXPECT_NEAR(kept[i], features[i], 0.5 / 255 + 1e-6);
}

TEST(FeatureStorageTest, EveryHalfIsExact) {
  std::vector<float> halves;
  for (int exponent = -14; exponent <= 15; ++exponent) {
    for (int mantissa = 0; mantissa < 1024; ++mantissa) {
      halves.push_back(std::ldexp(1.0f + static_cast<float>(mantissa) / 1024, exponent));
    }
  }
  for (int step = 0; step < 1024; ++step) halves.push_back(std::ldexp(1.0f * step, -24));
  const size_t positive = halves.size();
  for (size_t i = 0; i < positive; ++i) halves.push_back(-halves[i]);
  EXPECT_EQ(ThroughStorage(FeatureStorage::kFloat16, halves), halves);
}

TEST(FeatureStorageTest, HalvesRoundToTheNearestAndTiesToEven) {
  const float step = 1.0f / 1024;
  const std::vector<float> features = {1 + 0.5f * step, 1 + 1.5f * step,  1 + 0.51f * step,
                                       65504.0f,        0x0.8p-24f,       0x1.8p-24f,
                                       0x0.9p-24f,      0x1.ffffp-15f};
  const std::vector<float> expected = {1.0f,     1 + 2 * step, 1 + step,   65504.0f,
                                       0.0f,     0x2p-24f,     0x1p-24f,   0x1p-14f};
  EXPECT_EQ(ThroughStorage(FeatureStorage::kFloat16, features), expected);
}

TEST(FeatureStorageTest, WhatAFormCannotHoldDoesNotFit) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const float infinity = std::numeric_limits<float>::infinity();
  for (const FeatureStorage storage :
       {FeatureStorage::kFloat32, FeatureStorage::kFloat16, FeatureStorage::kUint8}) {
    EXPECT_TRUE(Fits(storage, {0.0f, 1.0f, 0.25f}));
    EXPECT_FALSE(Fits(storage, {0.0f, nan}));
    EXPECT_FALSE(Fits(storage, {infinity}));
  }
  EXPECT_FALSE(Fits(FeatureStorage::kUint8, {1.001f}));
  EXPECT_FALSE(Fits(FeatureStorage::kUint8, {-0.001f}));
  EXPECT_FALSE(Fits(FeatureStorage::kFloat16, {65505.0f}));
  EXPECT_TRUE(Fits(FeatureStorage::kFloat32, {1e30f}));
}

}  // namespace
}  // namespace engram::strategies
