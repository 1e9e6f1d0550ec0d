// Tensors of the Open Inference Protocol as features: any datatype, typed or raw, becomes the
// model's float32.
//
// A number becomes the float32 nearest to it: 64-bit integers beyond 2^24 are rounded, a double
// beyond float32's range is refused. BOOL is 0 or 1. An element of BYTES is decimal text
// ("-1.5e3"). Whether a value is finite and within max_abs_feature is checked with every prediction
// (feature_rows.h), not here.
//
// Threading: pure functions.
// Ownership: the contents are moved from where their form is the model's (FP32, raw UINT8).
// Failure: INVALID_ARGUMENT naming the field, what was expected and what came.
// Bounds: `rows_max` rows, looked at before anything is converted.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engram/v1/example.pb.h"
#include "inference/grpc_service.pb.h"

namespace engram::server {

inline constexpr absl::string_view kFeaturesTensor = "features";
inline constexpr absl::string_view kLabelTensor = "label";
inline constexpr absl::string_view kScoresTensor = "scores";

struct InputRules {
  absl::string_view model;  // as messages name it
  int64_t feature_count = 0;
  int64_t rows_max = 0;
};

// Rows of a tensor of that shape: [rows, ...] whose other dimensions make feature_count, or
// [feature_count] for one.
absl::StatusOr<int64_t> RowsOfShape(
    const google::protobuf::RepeatedField<google::protobuf::int64>& shape, const InputRules& rules);

// `raw`: the tensor's entry of raw_input_contents; null: it has typed contents. `index`: its
// position among the inputs, for messages.
absl::Status ReadInputTensor(int index, inference::ModelInferRequest::InferInputTensor* tensor,
                             std::string* raw, const InputRules& rules, v1::Features* features);

// Where a double has no float32: its exponent is too large.
bool FitsFloat(double value);

}  // namespace engram::server
