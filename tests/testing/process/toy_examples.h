// Synthetic examples: class c is a corner of a cube, blurred. A pure function of (shape, label,
// index), without the standard library's random engines, so that any process makes the same bytes.
//
// Threading: free functions. Failure: none.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engram/v1/example.pb.h"

namespace engram::testing {

struct ToyShape {
  int64_t feature_count = 16;
  uint64_t seed = 1;
  // Half width of the uniform blur; the corners are at +-1.
  float blur = 0.9F;
};

// A well-mixed function of its argument (splitmix64).
uint64_t Mix(uint64_t value);

std::vector<float> ToyFeatures(const ToyShape& shape, int64_t label, uint64_t index);
v1::Example ToyExample(const ToyShape& shape, int64_t label, uint64_t index);
// Row-major bytes of many rows, for Predict: row i has label labels[i] and index first + i.
std::string ToyRows(const ToyShape& shape, const std::vector<int64_t>& labels, uint64_t first);
std::string DenseBytes(const std::vector<float>& values);

}  // namespace engram::testing
