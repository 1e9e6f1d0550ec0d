// DATA_DIR/endpoints.json: where this server listens, for scripts that asked for port 0. There
// while the server answers, gone before and after.
//
// Threading: one thread. Failure: status(): UNAVAILABLE when it cannot be written.
#pragma once

#include <string>

#include "absl/status/status.h"

namespace engram::server {

class EndpointsFile {
 public:
  // Written whole or not at all (a file beside it, synced, renamed).
  EndpointsFile(const std::string& folder, const std::string& grpc, const std::string& http);
  ~EndpointsFile();
  EndpointsFile(const EndpointsFile&) = delete;
  EndpointsFile& operator=(const EndpointsFile&) = delete;

  const absl::Status& status() const { return status_; }

 private:
  const std::string folder_;
  absl::Status status_;
};

// What a killed server left behind.
void RemoveEndpointsFile(const std::string& folder);

}  // namespace engram::server
