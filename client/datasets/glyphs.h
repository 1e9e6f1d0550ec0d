// The pen strokes of the ten digits, a few ways of writing each, in a unit box with y downwards.
//
// Threading: constant tables, any thread. Ownership: static storage. Failure: none.
// Bounds: at most five styles a digit, a handful of strokes each.
#pragma once

#include <vector>

namespace engram::datasets {

struct Point {
  double x = 0;
  double y = 0;
};

struct Stroke {
  std::vector<Point> points;
  // A curve through the points rather than straight lines between them.
  bool smooth = false;
};

using Glyph = std::vector<Stroke>;

// The ways of writing `digit` (0 to 9).
const std::vector<Glyph>& GlyphsOf(int digit);

}  // namespace engram::datasets
