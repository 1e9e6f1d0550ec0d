// Labelled rows in flat buffers: what a dataset reader or generator yields, and what a scenario
// cuts into tasks. A row is a picture of bytes, a list of numbers, or a text, one kind a set.
//
// Threading: a plain value; const access from any number of threads.
// Ownership: owns its rows. Move it, a copy of a full set is tens of megabytes.
// Failure: none; a row outside [0, rows) is the caller's bug.
// Bounds: a byte a pixel, four a number; a byte a label.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace engram::datasets {

// A pixel as a feature is float(pixel) * kPixelScale, as the server reads bytes: the product, not
// the quotient by 255, which differs in the last bit.
constexpr float kPixelScale = 1.0f / 255.0f;

struct RowSet {
  int64_t rows = 0;

  // Pictures: rows x planes x height x width; 0 is background, 255 full ink. Planes: 1 (grey) or 3
  // (red, green, blue, one after the other).
  int64_t width = 0;
  int64_t height = 0;
  int64_t planes = 1;
  std::vector<uint8_t> pixels;

  // Numbers: rows x columns. Texts: hashed to `columns` numbers where they are read.
  int64_t columns = 0;
  std::vector<float> values;
  std::vector<std::string> texts;

  std::vector<uint8_t> labels;
  // What tasks may be made of beside the label (a rating, a film); empty where there is nothing.
  std::vector<int32_t> groups;

  int64_t PixelsPerImage() const { return planes * width * height; }
  int64_t FeatureCount() const { return columns > 0 ? columns : PixelsPerImage(); }
  const uint8_t* Pixels(int64_t row) const {
    return pixels.data() + static_cast<size_t>(row * PixelsPerImage());
  }
  const float* Values(int64_t row) const {
    return values.data() + static_cast<size_t>(row * columns);
  }
};

// What is learned from, and what is held out: nothing, where a stream is scored as it is learned.
struct RowSplit {
  RowSet train;
  RowSet test;
};

}  // namespace engram::datasets
