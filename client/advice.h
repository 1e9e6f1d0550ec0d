// What a failed call means to the person at the keyboard, and what they can do about it.
//
// gRPC reports a transport that does not work as UNAVAILABLE with the innards of its resolver, its
// sockets or OpenSSL as the text. The cases that people meet are put into words here, in one table;
// what the server itself says is left as it is and only gets a next step.
//
// Threading: free functions, safe from any thread. Ownership: nothing is kept. Failure: none; an
// unknown status is described as it is, without advice. Bounds: none.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "client/connection.h"

namespace engram::client {

struct Explanation {
  // "UNAVAILABLE: no server answers at 127.0.0.1:7401".
  std::string what;
  // What to try; empty when there is nothing to add.
  std::string fix;
};

Explanation Explain(const ConnectionOptions& connection, const absl::Status& status);

}  // namespace engram::client
