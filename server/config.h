// The server's configuration: a textproto of engram.v1.ServerConfig, defaults filled in, checked.
//
// Threading: free functions without state.
// Failure: INVALID_ARGUMENT with the file's line and column, or the field, its range and its value;
//   NOT_FOUND for a file that cannot be read.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engram/v1/config.pb.h"

namespace engram::server {

// Parses text; unknown fields, type errors and trailing rubbish are "line 3, column 5: ...".
absl::StatusOr<v1::ServerConfig> ParseConfig(absl::string_view text);

// Fills what is absent (0) and checks every range.
absl::StatusOr<v1::ServerConfig> CompleteConfig(v1::ServerConfig config);

// Reads, parses, completes. An empty path is the default configuration.
absl::StatusOr<v1::ServerConfig> LoadConfig(const std::string& path);

// Splits "host:port"; "[::1]:0" and "unix:path" are understood.
struct ListenAddress {
  std::string host;  // empty for a unix socket
  int port = 0;
  bool local_only = false;  // loopback or unix: reachable from this machine alone
};
absl::StatusOr<ListenAddress> ParseListenAddress(absl::string_view flag, absl::string_view text);

}  // namespace engram::server
