// The HTTP listener: /metrics, /healthz, /readyz, and an index for people.
//
// /healthz: the process answers. /readyz: 200 when every model serves, 503 otherwise and while
// draining. What a page needs is in rpc_table.h; credentials are a bearer token.
// Off loopback, without TLS and authentication, only the pages that need none answer.
//
// Threading: CivetWeb's own threads, a few, each bounded by a request timeout so that slow clients
//   cannot hold up a scrape.
// Ownership: `metrics`, `board` and `authority` outlive it.
// Failure of Start: INVALID_ARGUMENT for a malformed address, and for TLS files that cannot work;
//   UNAVAILABLE when the port is taken.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/types/optional.h"
#include "engram/v1/config.pb.h"
#include "prometheus/collectable.h"
#include "server/authority.h"
#include "server/serving_board.h"

namespace engram::server {

struct HttpAccess {
  const Authority* authority = nullptr;  // null: authentication is off
  absl::optional<v1::Tls> tls;
};

class HttpServer {
 public:
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(
      const std::string& listen, const prometheus::Collectable* metrics, const ServingBoard* board,
      const HttpAccess& access = {});
  virtual ~HttpServer() = default;

  // "127.0.0.1:38331": the address with the port really bound.
  virtual const std::string& address() const = 0;
};

}  // namespace engram::server
