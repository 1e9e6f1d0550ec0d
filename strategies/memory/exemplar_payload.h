// The stored bytes of one exemplar, immutable for its key and opaque outside strategies.
//
// Layout, little-endian:
//   "EXM1" | int32 class | int32 task | uint32 d | d float32 features
//   "EXM2" | int32 class | int32 task | uint32 d | uint32 form | uint32 s | features | s float32
//   "EXM3" | the same up to s | uint64 sender | features | s float32
// The second where features are packed (form 0 float32, 1 float16, 2 uint8; feature_storage.h) or
// side values come with them, the third where a memory caps its senders; all are read. Features are
// kept as they came (un-augmented), so that a replay may augment them anew.
//
// Threading: pure functions.
// Failure: DATA_LOSS naming the rule that the bytes break; nothing is written then.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "absl/types/span.h"
#include "strategies/memory/feature_storage.h"

namespace engram::strategies {

// One example, borrowed.
struct ExemplarView {
  absl::Span<const float> features;
  int32_t class_index = 0;
  int32_t task = 0;
  uint64_t sequence = 0;
  absl::Span<const float> side = {};  // what a strategy keeps beside it (DER's logits)
  uint64_t sender = 0;                // BatchView::senders
};

struct ExemplarPayload {
  int32_t class_index = 0;
  int32_t task = 0;
  FeatureStorage storage = FeatureStorage::kFloat32;
  std::vector<float> features;
  std::vector<float> side;
  absl::optional<uint64_t> sender;
};

// The features fit the form.
std::string EncodeExemplar(const ExemplarView& exemplar,
                           FeatureStorage storage = FeatureStorage::kFloat32,
                           bool with_sender = false);

// Takes exactly `feature_count` features that fit their form, finite side values, class and task
// >= 0, and no byte more.
absl::StatusOr<ExemplarPayload> DecodeExemplar(absl::string_view bytes, int64_t feature_count);

}  // namespace engram::strategies
