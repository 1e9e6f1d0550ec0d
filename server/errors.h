// Statuses that carry google.rpc details: the one place where they are made, and where they turn
// into a gRPC status. A detail is an absl::Status payload under its type URL, so that it survives
// every layer between the check and the wire.
//
// Text: what, limit, value, fix; never paths, addresses or other models' names. Echo() makes a
// request's own bytes safe to repeat.
#pragma once

#include <chrono>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "google/rpc/status.pb.h"
#include "grpcpp/support/status.h"

namespace engram::server {

// INVALID_ARGUMENT "field: reason", BadRequest{field, reason}.
absl::Status BadField(absl::string_view field, absl::string_view reason);
// NOT_FOUND, ResourceInfo. `known` names what is there instead; may be empty.
absl::Status NotFound(absl::string_view resource_type, absl::string_view name,
                      absl::string_view known);
// ALREADY_EXISTS, ResourceInfo.
absl::Status AlreadyExists(absl::string_view resource_type, absl::string_view name);
// FAILED_PRECONDITION, PreconditionFailure.
absl::Status WrongState(absl::string_view type, absl::string_view subject,
                        absl::string_view description);
// RESOURCE_EXHAUSTED, QuotaFailure + RetryInfo (no RetryInfo when `retry_after` is zero: retrying
// cannot help).
absl::Status OverLimit(absl::string_view subject, absl::string_view description,
                       std::chrono::milliseconds retry_after);
// What RetryInfo says; zero without one.
std::chrono::milliseconds RetryDelay(const absl::Status& status);
// The same status, and RetryInfo says this.
absl::Status WithRetryDelay(absl::Status status, std::chrono::milliseconds retry_after);
// UNAVAILABLE, RetryInfo.
absl::Status NotYet(absl::string_view message, std::chrono::milliseconds retry_after);
// Any code with ErrorInfo{reason, domain "engram", metadata key/value when key is not empty}.
absl::Status WithReason(absl::StatusCode code, absl::string_view reason, absl::string_view message,
                        absl::string_view key = "", absl::string_view value = "");

// Of a name that IsName (names.h) refuses: the rule, and what was given.
std::string NotAName(absl::string_view name);

// At most 64 characters, anything outside [ -~] escaped.
std::string Echo(absl::string_view from_request);

google::rpc::Status ToRpcStatus(const absl::Status& status);
grpc::Status ToGrpcStatus(const absl::Status& status);

}  // namespace engram::server
