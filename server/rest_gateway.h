// REST/JSON: each route of rest_routes.h is one call of our own gRPC service, its request and reply
// in protobuf's JSON with the proto's own field names; learn takes examples as lines.
//
// A body must say that it is JSON (learn: application/x-ndjson), which no form of a foreign web
// page can: browsers ask first, and are refused.
//
// Threading: Answer from any of the listener's workers; it blocks until the call is over.
// Ownership: `calls` outlives it.
// Failure: every failure is an HTTP code and a google.rpc.Status as JSON (http_exchange.h).
// Bounds: a body of JSON kHttpBodyBytesMax; a line of learn 1 MiB; a call a minute, a wait its own
//   deadline.
#pragma once

#include "server/http_exchange.h"
#include "server/own_calls.h"
#include "server/rest_learn.h"

namespace engram::server {

class RestGateway {
 public:
  explicit RestGateway(const OwnCalls* calls) : calls_(calls), learn_(calls) {}

  // Of a path below /v1.
  HttpReply Answer(const HttpRequest& request) const;

 private:
  absl::StatusOr<HttpReply> Called(const HttpRequest& request) const;

  const OwnCalls* const calls_;
  RestLearn learn_;
};

}  // namespace engram::server
