// The HTTP listener: /metrics, /healthz, /readyz, and an index for people.
//
// /healthz: the process answers. /readyz: 200 when every model serves, 503 otherwise and while
// draining. What a page needs is in rpc_table.h; credentials are a bearer token.
// Off loopback only the pages that need none answer: a token would cross the network in the clear.
//
// Threading: CivetWeb's own threads, a few, each bounded by a request timeout so that slow clients
//   cannot hold up a scrape.
// Ownership: `metrics`, `board` and `authority` outlive it.
// Failure of Start: INVALID_ARGUMENT for a malformed address; UNAVAILABLE when the port is taken.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "prometheus/collectable.h"
#include "server/authority.h"
#include "server/serving_board.h"

namespace engram::server {

class HttpServer {
 public:
  static absl::StatusOr<std::unique_ptr<HttpServer>> Start(
      const std::string& listen, const prometheus::Collectable* metrics, const ServingBoard* board,
      const Authority* authority = nullptr);
  virtual ~HttpServer() = default;

  // "127.0.0.1:38331": the address with the port really bound.
  virtual const std::string& address() const = 0;
};

}  // namespace engram::server
