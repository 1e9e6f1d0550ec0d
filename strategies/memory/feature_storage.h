// In what form an exemplar's features are kept: all exemplars of a memory alike.
//
//   kFloat32  as they came, 4 bytes.
//   kFloat16  IEEE half precision, rounded to nearest even, 2 bytes; |x| <= 65 504.
//   kUint8    round(255 x), 1 byte; x in [0, 1]. Exact for pixels that were divided by 255.
// What a form cannot hold is never stretched into it: an example that does not fit is not kept.
// Reading and keeping again gives the same bytes.
//
// Threading: pure functions over the caller's memory. Failure: none.
#pragma once

#include <cstdint>

#include "absl/types/span.h"

namespace engram::strategies {

enum class FeatureStorage { kFloat32, kFloat16, kUint8 };

int64_t BytesPerFeature(FeatureStorage storage);

// Every value is finite and within the form's range.
bool Fits(FeatureStorage storage, absl::Span<const float> features);

// `out` has room for features.size() * BytesPerFeature bytes; the features fit.
void PackFeatures(FeatureStorage storage, absl::Span<const float> features, uint8_t* out);

// Fills `features` from as many packed ones.
void UnpackFeatures(FeatureStorage storage, const uint8_t* packed, absl::Span<float> features);

}  // namespace engram::strategies
