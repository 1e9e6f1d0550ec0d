// One HTTP/1.1 GET over a plain socket.
//
// Threading: any thread. Failure: UNAVAILABLE when nothing answers; any HTTP status is a reply.
#pragma once

#include <string>

#include "absl/status/statusor.h"

namespace engram::testing {

struct HttpReply {
  int code = 0;
  std::string headers;
  std::string body;
};

// `address` as "127.0.0.1:PORT".
absl::StatusOr<HttpReply> HttpGet(const std::string& address, const std::string& path);

}  // namespace engram::testing
