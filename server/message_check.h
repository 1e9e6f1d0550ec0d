// The checks of a learn message that need only the model's spec, and its canonical form: what is
// stored and what is hashed for repeats, so that Learn and LearnBatch agree.
//
// Threading: pure functions.
// Failure: INVALID_ARGUMENT naming the field with the example's index, what was expected, what
//   came.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "engram/v1/learning.pb.h"
#include "engram/v1/model.pb.h"
#include "storage/sample_log.h"

namespace engram::server {

// What a value must be like; `model` is named in the message.
struct FeatureRules {
  absl::string_view model;
  int64_t feature_count = 0;
  double max_abs_feature = 0;
};

struct Violation {
  std::string field;
  std::string reason;
};

// Features of `rows` rows: one form only, shape, count, finite, magnitude.
absl::optional<Violation> FindFeatureViolation(const v1::Features& features, int64_t rows,
                                               const FeatureRules& rules);

// Typed values become dense, bytes stay bytes, a scale that says the default and unknown fields go.
void Canonicalise(v1::LearnMessage* message);

// Of a canonical message.
absl::Status CheckMessage(const v1::LearnMessage& message, const v1::ModelSpec& spec,
                          absl::string_view model, int64_t examples_max);

// One record an example, or the client's boundary, of a canonical message.
std::vector<storage::NewRecord> ToRecords(const v1::LearnMessage& message);

// First 8 bytes of SHA-256 over kind, length and payload of each record.
uint64_t ContentHash(const std::vector<storage::NewRecord>& records);

}  // namespace engram::server
