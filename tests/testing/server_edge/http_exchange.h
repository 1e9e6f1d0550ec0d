// HTTP over a bare socket: requests that a polite client would not send.
//
// Threading: any thread. Failure: an empty reply.
#pragma once

#include <string>

#include "absl/time/time.h"

namespace engram::testing {

// Sends the bytes and reads until the server closes. `address` as "127.0.0.1:PORT".
std::string HttpExchange(const std::string& address, const std::string& request);

// The same, with a pause before `rest` is sent; the server may close before.
std::string PausedExchange(const std::string& address, const std::string& request,
                           absl::Duration pause, const std::string& rest);

// Connects, sends half a request line, and stays.
class SilentConnection {
 public:
  explicit SilentConnection(const std::string& address);
  ~SilentConnection();
  SilentConnection(const SilentConnection&) = delete;
  SilentConnection& operator=(const SilentConnection&) = delete;

 private:
  const int socket_;
};

}  // namespace engram::testing
