// Where each pixel of a task's picture comes from: how one set of digits becomes many tasks.
//
// Threading: free functions and plain values. Ownership: values. Failure: none.
// Bounds: one int32 a pixel.
#pragma once

#include <cstdint>
#include <vector>

namespace engram::scenario {

// map[i] is the source of pixel i; -1: background. Empty: the picture as it is.
using PixelMap = std::vector<int32_t>;

// A bijection, a function of (seed, stream).
PixelMap PermutationMap(int64_t pixels, uint64_t seed, uint64_t stream);

// Turned anticlockwise about the centre, nearest neighbour; corners turned in are background.
PixelMap RotationMap(int64_t width, int64_t height, double degrees);

// In the middle of a square of background; an odd remainder goes below and to the right.
PixelMap PaddedMap(int64_t width, int64_t height, int64_t side);

// `second` after `first`; an empty map changes nothing.
PixelMap Composed(const PixelMap& first, const PixelMap& second);

}  // namespace engram::scenario
