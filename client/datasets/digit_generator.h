// Digit-like 28 x 28 images without a download: the strokes of a digit, their points shaken, warped
// by a random affine map, drawn with a pen of random width, with noise. A demonstration and the
// tests need nothing else.
//
// Threading: free functions without state. Ownership: the result owns its bytes.
// Failure: INVALID_ARGUMENT for a count outside the bounds.
// Bounds: 1 to 100 000 images a class and set. About 25 000 images a second a core.
//
// Image i of a set is a function of (seed, set, i) alone: a bigger set begins with the smaller one.
#pragma once

#include <cstdint>

#include "absl/status/statusor.h"
#include "client/datasets/row_set.h"

namespace engram::datasets {

struct DigitGeneratorOptions {
  uint64_t seed = 1;
  int64_t train_per_class = 2000;
  int64_t test_per_class = 400;
};

// Classes take turns (row i shows digit i mod 10), so every prefix of a set is balanced.
absl::StatusOr<RowSplit> GenerateDigits(const DigitGeneratorOptions& options);

}  // namespace engram::datasets
