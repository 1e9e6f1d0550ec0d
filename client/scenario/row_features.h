// The features of a row, through the task's pixel map where it has one.
//
// Threading: free functions; safe from any thread. Ownership: writes into what is passed.
// Failure: none; a map of another picture's size is the caller's bug. Bounds: none.
#pragma once

#include <cstdint>

#include "absl/types/span.h"
#include "client/datasets/row_set.h"
#include "client/scenario/pixel_map.h"

namespace engram::scenario {

// Pictures: pixels scaled to [0, 1]. Numbers: as they are. Texts: hashed. `out` holds one value a
// feature.
void FillFeatures(const datasets::RowSet& source, int64_t row, const PixelMap& map,
                  absl::Span<float> out);

// Of a picture: its pixels as they are.
void FillPixels(const datasets::RowSet& source, int64_t row, const PixelMap& map,
                absl::Span<uint8_t> out);

}  // namespace engram::scenario
