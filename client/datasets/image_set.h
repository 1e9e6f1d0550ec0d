// Labelled grey images in one flat buffer: what a dataset reader or generator yields, and what a
// scenario cuts into tasks.
//
// Threading: a plain value; const access from any number of threads.
// Ownership: owns its bytes. Move it, a copy of a full set is tens of megabytes.
// Failure: none; Pixels and the label of a row outside [0, rows) are the caller's bug.
// Bounds: rows x width x height bytes, plus one byte a label.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace engram::datasets {

struct ImageSet {
  int64_t rows = 0;
  int64_t width = 0;
  int64_t height = 0;
  // Row-major, rows x height x width; 0 is background, 255 full ink.
  std::vector<uint8_t> pixels;
  std::vector<uint8_t> labels;

  int64_t PixelsPerImage() const { return width * height; }
  const uint8_t* Pixels(int64_t row) const {
    return pixels.data() + static_cast<size_t>(row * PixelsPerImage());
  }
};

// What is learned from, and what is held out.
struct DigitSplit {
  ImageSet train;
  ImageSet test;
};

}  // namespace engram::datasets
