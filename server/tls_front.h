// TLS in front of the HTTP listener, which keeps to loopback behind it: the bytes of a connection
// go through as they are. CivetWeb's own TLS does not survive a handshake with OpenSSL 3
// (README.md).
//
// Threading: a few threads of its own, each with one connection at a time; others wait.
// Ownership: owns its sockets and threads; the destructor ends them at once.
// Failure of Start: UNAVAILABLE when the address cannot be listened on.
// Bounds: 16 connections; 2 s a handshake; 10 s without a byte either way.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "engram/v1/config.pb.h"

namespace engram::server {

class TlsFront {
 public:
  // The files of `tls` are read again for every connection. `inner_port`: on 127.0.0.1.
  static absl::StatusOr<std::unique_ptr<TlsFront>> Start(const std::string& host, int port,
                                                         const v1::Tls& tls, int inner_port);
  virtual ~TlsFront() = default;

  // The one really bound.
  virtual int port() const = 0;
};

}  // namespace engram::server
