// Builds the messages that producers send, without more copies than protobuf needs.
//
// Threading: free functions, safe from any thread on distinct messages.
// Ownership: everything is copied into the message.
// Failure: none; the server validates.
// Bounds: none.
#pragma once

#include <cstdint>

#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "engram/v1/example.pb.h"

namespace engram::client {

// Dense little-endian float32: the fast path. Clears what `features` held.
void SetDense(absl::Span<const float> values, engram::v1::Features* features);

// Dense bytes, each read as byte / 255: a quarter of what float32 takes, on the wire and in the
// server's log. Clears what `features` held.
void SetBytes(absl::Span<const uint8_t> bytes, engram::v1::Features* features);

engram::v1::Label NumberLabel(int64_t number);
engram::v1::Label TextLabel(absl::string_view text);

engram::v1::Example DenseExample(absl::Span<const float> values, int64_t label);
engram::v1::Example DenseExample(absl::Span<const float> values, absl::string_view label);

// As people write it: the number, or the text.
std::string LabelText(const engram::v1::Label& label);

}  // namespace engram::client
