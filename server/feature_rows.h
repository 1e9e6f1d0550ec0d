// Rows of a prediction: the wire's features, checked as a learned example's are, as floats.
//
// Threading: pure functions.
// Failure: INVALID_ARGUMENT naming the field, what was expected and what came.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "engram/v1/example.pb.h"
#include "server/message_check.h"

namespace engram::server {

// Overwrites `values` (row-major, reused memory) and `rows`, 1 to `rows_max`.
absl::Status ReadRows(const v1::Features& features, const FeatureRules& rules, int64_t rows_max,
                      std::vector<float>* values, int64_t* rows);

}  // namespace engram::server
