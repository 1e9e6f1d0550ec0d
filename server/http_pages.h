// What the HTTP listener answers, path by path, without a socket: probes and metrics, the
// dashboard's files, and what is called through it (REST, the Open Inference Protocol).
//
// Calls carry their own credentials to the gRPC services; the dashboard's files hold nothing but
// code. Three things keep a foreign web page in somebody's browser out: an Origin that is not ours
// is refused, so is a Host that is a name when authentication is off (a name can be pointed at this
// machine, an address cannot), and bodies must have types that no form can send.
//
// Threading: Answer from any of the listener's workers.
// Ownership: what Parts points to outlives it.
// Failure: an HTTP code and words.
// Bounds: `calls_max` calls at once, from their first byte to the last of their reply, and
//   `bytes_max` of memory for all of them; what is beyond is 429. So probes and scrapes always find
//   a worker.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>

#include "prometheus/collectable.h"
#include "server/http_exchange.h"
#include "server/serving_board.h"

namespace engram::server {

using HttpHandler = std::function<HttpReply(const HttpRequest&)>;

struct HttpParts {
  const prometheus::Collectable* metrics = nullptr;
  const ServingBoard* board = nullptr;
  HttpHandler rest;       // below /v1; empty: 404
  HttpHandler inference;  // below /v2; empty: 404
};

struct HttpRules {
  // Otherwise only the pages that kPages calls plain are there.
  bool all_pages = false;
  // Without, whoever reaches the listener may do everything.
  bool authenticated = false;
  int calls_max = kHttpCallsMax;
  int64_t bytes_max = kHttpBytesMax;
};

class HttpPages {
 public:
  HttpPages(HttpParts parts, HttpRules rules) : parts_(std::move(parts)), rules_(rules) {}

  HttpReply Answer(const HttpRequest& request) const;

 private:
  HttpReply Page(const HttpRequest& request) const;
  struct Door {
    const HttpHandler& handler;
    HttpReply (*error)(const absl::Status& status);
  };
  HttpReply Called(const Door& door, const HttpRequest& request) const;
  // Of all calls together.
  struct UnderWay {
    std::atomic<int> calls{0};
    std::atomic<int64_t> bytes{0};
  };
  absl::Status Reserve(int64_t bytes, int64_t* held) const;
  // Of another site's page: why it is refused.
  absl::Status CheckSite(const HttpRequest& request) const;

  const HttpParts parts_;
  const HttpRules rules_;
  const std::shared_ptr<UnderWay> under_way_ = std::make_shared<UnderWay>();
};

}  // namespace engram::server
