// Changes to one image held as `channels` planes of [height, width] floats, row by row: what
// augmentation is made of. Pixels that come from outside the image are 0.
//
// Threading: free functions. Ownership: the caller's arrays; `out` never overlaps `image`.
// Failure: none. Bounds: one pass over the image.
#pragma once

#include <cstdint>

namespace engram::strategies {

struct ImageShape {
  int64_t height = 0;
  int64_t width = 0;
  int64_t channels = 1;
  int64_t size() const { return height * width * channels; }
};

// Where each pixel of the result is read: mirrored first, then moved.
struct PixelMove {
  bool mirror_columns = false;  // left to right
  bool mirror_rows = false;     // top to bottom
  int64_t down = 0;             // the window moves so many pixels down and to the right
  int64_t right = 0;
};

void MovePixels(const float* image, const ImageShape& shape, const PixelMove& move, float* out);

// Turned counterclockwise (rows count downwards) and enlarged `zoom` times about the centre,
// between pixels bilinear. Zoom above 0.
void TurnImage(const float* image, const ImageShape& shape, double degrees, double zoom,
               float* out);

// Rows [top, bottom) and columns [left, right) of an image.
struct PixelBox {
  int64_t top = 0;
  int64_t bottom = 0;
  int64_t left = 0;
  int64_t right = 0;
};

// A box of `area` of the image and of its proportions around the pixel (row, column), cut off at
// the edges (Yun et al. 2019, CutMix, eq. 2).
PixelBox BoxAround(int64_t row, int64_t column, double area, const ImageShape& shape);

// Writes the pixels of `source` inside the box over `image`, in every channel; returns the share of
// the image that they are.
double PasteBox(const float* source, const PixelBox& box, const ImageShape& shape, float* image);

}  // namespace engram::strategies
