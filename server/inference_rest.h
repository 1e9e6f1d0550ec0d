// The Open Inference Protocol over HTTP: the routes below /v2 (rest_routes.h), each one call of our
// own gRPC service, in the JSON of inference_json.h. A model or server that is not ready is 503,
// with the same body as one that is; an index may be asked for {"ready": true} alone.
//
// Predicting changes nothing and a foreign page cannot read the answer, so a body may come under
// any type: public clients send none.
//
// Threading: Answer from any of the listener's workers; it blocks until the call is over.
// Ownership: `calls` outlives it.
// Failure: an HTTP code and {"error": "..."}; 405 for another verb.
// Bounds: a body of kHttpBodyBytesMax, values as in inference_json.h; a call a minute.
#pragma once

#include "absl/status/statusor.h"
#include "server/http_exchange.h"
#include "server/own_calls.h"
#include "server/rest_routes.h"

namespace engram::server {

// What a failure looks like to a client of the protocol.
HttpReply InferErrorReply(const absl::Status& status);

class InferenceRest {
 public:
  explicit InferenceRest(const OwnCalls* calls) : calls_(calls) {}

  // Of a path below /v2.
  HttpReply Answer(const HttpRequest& request) const;

 private:
  absl::StatusOr<HttpReply> Called(const HttpRequest& request) const;
  absl::StatusOr<HttpReply> Infer(const HttpRequest& request, const RestMatch& match) const;

  const OwnCalls* const calls_;
};

}  // namespace engram::server
