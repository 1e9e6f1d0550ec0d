// The HTTP listener: the sockets (http_front.h) and workers (CivetWeb's) in front of http_pages.h.
//
// /healthz: the process answers. /readyz: 200 when every model serves, 503 otherwise and while
// draining. Off loopback, without TLS and authentication, only the plain pages of rpc_table.h
// answer.
//
// Threading: 24 of CivetWeb's threads, and as many of the front's, where the head of a request has
//   a second, so that slow clients cannot hold up a scrape.
// Ownership: what `parts` points to outlives it.
// Failure of Start: INVALID_ARGUMENT for a malformed address, and for TLS files that cannot work;
//   UNAVAILABLE when the port is taken.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/optional.h"
#include "engram/v1/config.pb.h"
#include "server/http_pages.h"

namespace engram::server {

struct HttpAccess {
  bool authenticated = false;  // callers must say who they are
  absl::optional<v1::Tls> tls;
  // How long a body may pause, and a reply may stay unread.
  absl::Duration body_patience = absl::Seconds(30);
};

class HttpServer {
 public:
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(const std::string& listen,
                                                           HttpParts parts,
                                                           const HttpAccess& access = {});
  virtual ~HttpServer() = default;

  // "127.0.0.1:38331": the address with the port really bound.
  virtual const std::string& address() const = 0;
};

}  // namespace engram::server
