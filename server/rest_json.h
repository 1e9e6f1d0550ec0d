// What REST's JSON has in common: how messages are printed and read, and what a body must be.
//
// Threading: free functions.
// Failure: INVALID_ARGUMENT, naming where the JSON stops to be one of that message.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/message.h"
#include "google/rpc/error_details.pb.h"
#include "server/http_exchange.h"

namespace engram::server {

// What a message takes as JSON, and while it is printed: a float of four bytes has up to a dozen
// digits, and the text is copied as it grows.
inline constexpr int64_t kJsonPerMessageByte = 6;

// Field names as in the proto, zero values printed.
absl::StatusOr<std::string> ToJson(const google::protobuf::Message& message);
// "" is an empty message. Unknown fields are refused.
absl::Status FromJson(absl::string_view json, google::protobuf::Message* message);

// Whether the body's Content-Type is `type`, whatever its parameters.
absl::Status CheckBodyType(const HttpRequest& request, absl::string_view type);

// The ErrorInfo of a status that a call came back with; an empty one without.
google::rpc::ErrorInfo ErrorInfoOf(const absl::Status& status);

// The caller's Authorization header, "" without one.
absl::string_view AuthorizationOf(const HttpRequest& request);

}  // namespace engram::server
