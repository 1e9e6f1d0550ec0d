#include "strategies/core/image_transforms.h"

#include <algorithm>
#include <cmath>

namespace engram::strategies {
namespace {

constexpr double kRadians = 3.14159265358979323846 / 180;

// One plane at (y, x), 0 outside.
float PixelAt(const float* plane, const ImageShape& shape, int64_t y, int64_t x) {
  const bool inside = y >= 0 && y < shape.height && x >= 0 && x < shape.width;
  return inside ? plane[y * shape.width + x] : 0.0f;
}

float Bilinear(const float* plane, const ImageShape& shape, double y, double x) {
  const double top = std::floor(y), left = std::floor(x);
  const float below = static_cast<float>(y - top), beside = static_cast<float>(x - left);
  const int64_t row = static_cast<int64_t>(top), column = static_cast<int64_t>(left);
  const float upper = (1 - beside) * PixelAt(plane, shape, row, column) +
                      beside * PixelAt(plane, shape, row, column + 1);
  const float lower = (1 - beside) * PixelAt(plane, shape, row + 1, column) +
                      beside * PixelAt(plane, shape, row + 1, column + 1);
  return (1 - below) * upper + below * lower;
}

}  // namespace

void MovePixels(const float* image, const ImageShape& shape, const PixelMove& move, float* out) {
  for (int64_t channel = 0; channel < shape.channels; ++channel) {
    const float* plane = image + channel * shape.height * shape.width;
    for (int64_t row = 0; row < shape.height; ++row) {
      const int64_t down = row + move.down;
      const int64_t y = move.mirror_rows ? shape.height - 1 - down : down;
      for (int64_t column = 0; column < shape.width; ++column) {
        const int64_t right = column + move.right;
        const int64_t x = move.mirror_columns ? shape.width - 1 - right : right;
        *out++ = PixelAt(plane, shape, y, x);
      }
    }
  }
}

void TurnImage(const float* image, const ImageShape& shape, double degrees, double zoom,
               float* out) {
  const double across = std::cos(degrees * kRadians) / zoom;
  const double along = std::sin(degrees * kRadians) / zoom;
  const double middle_y = static_cast<double>(shape.height - 1) / 2;
  const double middle_x = static_cast<double>(shape.width - 1) / 2;
  for (int64_t channel = 0; channel < shape.channels; ++channel) {
    const float* plane = image + channel * shape.height * shape.width;
    for (int64_t row = 0; row < shape.height; ++row) {
      const double dy = static_cast<double>(row) - middle_y;
      for (int64_t column = 0; column < shape.width; ++column) {
        const double dx = static_cast<double>(column) - middle_x;
        *out++ = Bilinear(plane, shape, middle_y + across * dy + along * dx,
                          middle_x + across * dx - along * dy);
      }
    }
  }
}

PixelBox BoxAround(int64_t row, int64_t column, double area, const ImageShape& shape) {
  const double side = std::sqrt(area);
  const int64_t tall = static_cast<int64_t>(side * static_cast<double>(shape.height));
  const int64_t wide = static_cast<int64_t>(side * static_cast<double>(shape.width));
  const int64_t top = row - tall / 2, left = column - wide / 2;
  return {std::max<int64_t>(top, 0), std::min(top + tall, shape.height),
          std::max<int64_t>(left, 0), std::min(left + wide, shape.width)};
}

double PasteBox(const float* source, const PixelBox& box, const ImageShape& shape, float* image) {
  const int64_t pixels = std::max<int64_t>(box.bottom - box.top, 0) *
                         std::max<int64_t>(box.right - box.left, 0);
  if (pixels == 0) return 0;
  for (int64_t channel = 0; channel < shape.channels; ++channel) {
    for (int64_t row = box.top; row < box.bottom; ++row) {
      const int64_t line = (channel * shape.height + row) * shape.width;
      std::copy(source + line + box.left, source + line + box.right, image + line + box.left);
    }
  }
  return static_cast<double>(pixels) / static_cast<double>(shape.height * shape.width);
}

}  // namespace engram::strategies
