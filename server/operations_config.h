// The part of the configuration that is about running the server: its self-probe, its audit log.
//
// Threading: a free function without state.
// Failure: INVALID_ARGUMENT with the field, its range and its value.
#pragma once

#include "absl/status/status.h"
#include "engram/v1/config.pb.h"

namespace engram::server {

// Fills what is absent (0) and checks every range.
absl::Status SettleOperations(v1::ServerConfig* config);

}  // namespace engram::server
