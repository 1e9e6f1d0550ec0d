// Turns what gRPC returns into absl::Status without losing the google.rpc details that say what to
// do.
//
// The message of a converted status is meant for people: the server's text, then the details it
// does not already contain (fields, quotas, reasons, retry delay). The details themselves ride
// along as payloads, keyed by their type URL, so that code can ask for them with the functions
// below.
//
// Threading: free functions, safe from any thread.
// Ownership: nothing is kept.
// Failure: details that do not parse are left out; the code and the server's text always survive.
// Bounds: none of its own; gRPC limits the size of trailing metadata.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "absl/types/optional.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "grpcpp/support/status.h"

namespace engram::client {

// The status of a call. grpc-status-details-bin holds a serialised google.rpc.Status.
absl::Status FromGrpcStatus(const grpc::Status& status);

// The status of one rejected message, which travels in an ack.
absl::Status FromRpcStatus(const google::rpc::Status& status);

absl::optional<google::rpc::ErrorInfo> ErrorInfoOf(const absl::Status& status);

// ErrorInfo.reason, e.g. "SEQUENCE_GAP"; empty when there is none.
std::string ReasonOf(const absl::Status& status);

// The delay of RetryInfo; nullopt when the server did not ask for a retry.
absl::optional<absl::Duration> RetryDelayOf(const absl::Status& status);

// "NOT_FOUND: model \"digits\" ...", the form that the command prints.
std::string Describe(const absl::Status& status);

}  // namespace engram::client
