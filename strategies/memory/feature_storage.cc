#include "strategies/memory/feature_storage.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace engram::strategies {
namespace {

constexpr float kHalfMax = 65504.0f;
constexpr float kByteScale = 255.0f;

uint32_t BitsOf(float value) {
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

float FloatOf(uint32_t bits) {
  float value;
  std::memcpy(&value, &bits, sizeof(value));
  return value;
}

// |value| <= kHalfMax.
uint16_t HalfOf(float value) {
  const uint32_t sign = (BitsOf(value) >> 16) & 0x8000u;
  const uint32_t magnitude = BitsOf(value) & 0x7fffffffu;
  // Below 2^-14 halves are multiples of 2^-24, which is the last place of 0.5f: adding rounds.
  if (magnitude < BitsOf(0x1p-14f)) {
    return static_cast<uint16_t>(sign | (BitsOf(FloatOf(magnitude) + 0.5f) - BitsOf(0.5f)));
  }
  const uint32_t to_even = 0xfffu + ((magnitude >> 13) & 1u);
  const uint32_t rebias = (127u - 15u) << 23;
  return static_cast<uint16_t>(sign | ((magnitude + to_even - rebias) >> 13));
}

float FloatOfHalf(uint16_t half) {
  // The product rebiases the exponent, exactly, also of what is below the normal range.
  const float magnitude = FloatOf(static_cast<uint32_t>(half & 0x7fffu) << 13) * 0x1p112f;
  return (half & 0x8000u) != 0 ? -magnitude : magnitude;
}

}  // namespace

int64_t BytesPerFeature(FeatureStorage storage) {
  return storage == FeatureStorage::kFloat32 ? 4 : storage == FeatureStorage::kFloat16 ? 2 : 1;
}

bool Fits(FeatureStorage storage, absl::Span<const float> features) {
  const auto within = [features](float low, float high) {
    return std::all_of(features.begin(), features.end(),
                       [low, high](float x) { return x >= low && x <= high; });  // NaN fails both
  };
  switch (storage) {
    case FeatureStorage::kFloat32:
      return std::all_of(features.begin(), features.end(),
                         [](float x) { return std::isfinite(x); });
    case FeatureStorage::kFloat16:
      return within(-kHalfMax, kHalfMax);
    case FeatureStorage::kUint8:
      return within(0, 1);
  }
  return false;
}

void PackFeatures(FeatureStorage storage, absl::Span<const float> features, uint8_t* out) {
  switch (storage) {
    case FeatureStorage::kFloat32:
      if (!features.empty()) std::memcpy(out, features.data(), features.size() * sizeof(float));
      return;
    case FeatureStorage::kFloat16:
      for (const float feature : features) {
        const uint16_t half = HalfOf(feature);
        std::memcpy(out, &half, sizeof(half));
        out += sizeof(half);
      }
      return;
    case FeatureStorage::kUint8:
      for (const float feature : features) {
        *out++ = static_cast<uint8_t>(feature * kByteScale + 0.5f);
      }
      return;
  }
}

void UnpackFeatures(FeatureStorage storage, const uint8_t* packed, absl::Span<float> features) {
  switch (storage) {
    case FeatureStorage::kFloat32:
      if (!features.empty()) std::memcpy(features.data(), packed, features.size() * sizeof(float));
      return;
    case FeatureStorage::kFloat16:
      for (float& feature : features) {
        uint16_t half;
        std::memcpy(&half, packed, sizeof(half));
        packed += sizeof(half);
        feature = FloatOfHalf(half);
      }
      return;
    case FeatureStorage::kUint8:
      for (float& feature : features) feature = static_cast<float>(*packed++) / kByteScale;
      return;
  }
}

}  // namespace engram::strategies
