// What the gRPC listener asks of those who connect: TLS, and for every call that no handler of ours
// sees (health, reflection, methods without a row in rpc_table.h) credentials too.
//
// The check sits in an AuthMetadataProcessor, which sees each call before any handler does, but can
// answer with a code and a text only. So methods of engram.v1 pass it, and their handlers refuse
// with google.rpc details (call_admission.h); anything that has no row ends here.
//
// Threading: a free function; the processor runs on gRPC's threads.
// Ownership: edge.authority outlives the listener.
// Failure: INVALID_ARGUMENT for an address that others can reach without TLS and authentication,
//   and for TLS files that cannot work.
// Bounds: certificates are read again every second.
#pragma once

#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "grpcpp/security/server_credentials.h"
#include "server/edge.h"

namespace engram::server {

// What MakeListenerCredentials would refuse, before anything else is done for a start.
absl::Status CheckListener(absl::string_view listen, const v1::ServerConfig& config,
                           const Authority* authority);

absl::StatusOr<std::shared_ptr<grpc::ServerCredentials>> MakeListenerCredentials(
    absl::string_view listen, const Edge& edge);

}  // namespace engram::server
