// The stored form of one exemplar, immutable for its key and opaque outside strategies.
//
// Layout, little-endian: "EXM1" | int32 class | int32 task | uint32 d | d x float32 features.
// Features are kept as they came (un-augmented), so that a replay may augment them anew.
//
// Threading: pure functions.
// Failure: DATA_LOSS naming the rule that the bytes break; nothing is written then.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace engram::strategies {

struct ExemplarPayload {
  int32_t class_index = 0;
  int32_t task = 0;
  std::vector<float> features;
};

std::string EncodeExemplar(int32_t class_index, int32_t task, absl::Span<const float> features);

// Takes exactly `feature_count` finite features, class and task >= 0, and no byte more.
absl::StatusOr<ExemplarPayload> DecodeExemplar(absl::string_view bytes, int64_t feature_count);

}  // namespace engram::strategies
