// Rows as they travel.
//
// Threading: free functions; safe from any thread on distinct messages.
// Ownership: everything is copied into the message. Failure: none. Bounds: none.
#pragma once

#include <cstdint>

#include "client/datasets/row_set.h"
#include "client/scenario/pixel_map.h"
#include "engram/v1/example.pb.h"

namespace engram::scenario {

// The features of one row, through the task's map: pictures as bytes, anything else as float32.
// Clears what `features` held.
void SetRowFeatures(const datasets::RowSet& source, int64_t row, const PixelMap& map,
                    v1::Features* features);

}  // namespace engram::scenario
