// The JSON of the Open Inference Protocol and its binary-data extension, against the messages of
// proto/inference. Unlike protobuf's JSON, 64-bit integers are numbers, tensors are (nested) arrays
// in `data`, and parameters are plain values.
//
// Threading: pure functions.
// Failure: INVALID_ARGUMENT naming the field and what came.
// Bounds: a body has at most kJsonValuesMax values, because each takes many times its characters
//   while it is read; what is larger goes as binary data. Arrays nest 8 deep.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "google/protobuf/message.h"
#include "inference/grpc_service.pb.h"

namespace engram::server {

inline constexpr size_t kJsonValuesMax = 1 << 20;

// Which outputs the client wants behind the JSON rather than in it.
struct BinaryOutputs {
  bool unless_said = false;                 // "binary_data_output" of the request
  absl::btree_map<std::string, bool> said;  // "binary_data" of an output

  bool Has(const std::string& name) const {
    const auto found = said.find(name);
    return found == said.end() ? unless_said : found->second;
  }
};

struct InferQuestion {
  inference::ModelInferRequest request;  // without model and version, which the path names
  BinaryOutputs binary;
};

// `json_bytes`: Inference-Header-Content-Length; without it all of the body is JSON.
absl::StatusOr<InferQuestion> ParseInferBody(absl::string_view body,
                                             absl::optional<size_t> json_bytes);

struct InferAnswer {
  std::string body;
  // Of the JSON, when binary tensors follow it.
  absl::optional<size_t> json_bytes;
};
InferAnswer PrintInferBody(const inference::ModelInferResponse& response,
                           const BinaryOutputs& binary);

// Any other reply: every field under its own name, messages only where they are set.
std::string PrintPlainJson(const google::protobuf::Message& message);

// {"error": "..."}.
std::string PrintInferError(absl::string_view message);

}  // namespace engram::server
