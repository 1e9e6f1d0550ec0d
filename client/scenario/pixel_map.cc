#include "client/scenario/pixel_map.h"

#include <cmath>
#include <cstddef>
#include <numeric>

#include "client/datasets/seeded_random.h"

namespace engram::scenario {

PixelMap PermutationMap(int64_t pixels, uint64_t seed, uint64_t stream) {
  PixelMap map(static_cast<size_t>(pixels));
  std::iota(map.begin(), map.end(), 0);
  datasets::SeededRandom(seed, stream).Shuffle(&map);
  return map;
}

PixelMap RotationMap(int64_t width, int64_t height, double degrees) {
  constexpr double kDegree = 3.14159265358979323846 / 180.0;
  const double cosine = std::cos(degrees * kDegree);
  const double sine = std::sin(degrees * kDegree);
  const double centre_x = static_cast<double>(width - 1) / 2;
  const double centre_y = static_cast<double>(height - 1) / 2;
  PixelMap map;
  map.reserve(static_cast<size_t>(width * height));
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      const double dx = static_cast<double>(x) - centre_x;
      const double dy = static_cast<double>(y) - centre_y;
      // Rows grow downwards, so this undoes an anticlockwise turn.
      const int64_t from_x = std::llround(centre_x + cosine * dx - sine * dy);
      const int64_t from_y = std::llround(centre_y + sine * dx + cosine * dy);
      const bool inside = from_x >= 0 && from_x < width && from_y >= 0 && from_y < height;
      map.push_back(inside ? static_cast<int32_t>(from_y * width + from_x) : -1);
    }
  }
  return map;
}

PixelMap PaddedMap(int64_t width, int64_t height, int64_t side) {
  const int64_t left = (side - width) / 2;
  const int64_t top = (side - height) / 2;
  PixelMap map(static_cast<size_t>(side * side), -1);
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < width; ++x) {
      map[static_cast<size_t>((top + y) * side + left + x)] = static_cast<int32_t>(y * width + x);
    }
  }
  return map;
}

PixelMap Composed(const PixelMap& first, const PixelMap& second) {
  if (first.empty()) return second;
  if (second.empty()) return first;
  PixelMap map;
  map.reserve(second.size());
  for (const int32_t from : second) {
    map.push_back(from < 0 ? -1 : first[static_cast<size_t>(from)]);
  }
  return map;
}

}  // namespace engram::scenario
