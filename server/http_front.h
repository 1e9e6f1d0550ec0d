// The socket of the HTTP listener, in front of CivetWeb, which keeps to loopback behind it: the
// bytes of a connection go through as they are, in the clear or out of TLS. It is there because
// CivetWeb has one timeout for the head of a request, which must be short, and for its body, which
// may pause; and its own TLS does not survive a handshake with OpenSSL 3 (README.md). Inside,
// nobody hears of a client before the head of its request is whole.
//
// Threading: threads of its own, each with one connection at a time; others wait.
// Ownership: owns its sockets and threads; the destructor ends them at once.
// Failure of Start: UNAVAILABLE when the address cannot be listened on.
// Bounds: `threads` connections; 2 s a handshake, 1 s a head, 10 s for what the client does not
//   read, 1 s for what it still sends when it has its reply. How long a body may pause and an
//   answer may take is for those inside to say.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/optional.h"
#include "engram/v1/config.pb.h"

namespace engram::server {

struct HttpFrontOptions {
  std::string host;
  int port = 0;
  int inner_port = 0;  // on 127.0.0.1
  int threads = 1;
  // The files are read again for every connection. Without: in the clear.
  absl::optional<v1::Tls> tls;
};

class HttpFront {
 public:
  static absl::StatusOr<std::unique_ptr<HttpFront>> Start(const HttpFrontOptions& options);
  virtual ~HttpFront() = default;

  // The one really bound.
  virtual int port() const = 0;
};

}  // namespace engram::server
