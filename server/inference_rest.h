// The Open Inference Protocol over HTTP: paths below /v2, each one call of our own gRPC service, in
// the JSON of inference_json.h.
//
//   GET  /v2                                    server metadata
//   GET  /v2/health/live, /v2/health/ready      200, or 503 with the same body
//   GET  /v2/models/stats                       statistics of every model
//   GET  /v2/models/N[/versions/V]              metadata
//   GET  /v2/models/N[/versions/V]/ready        200, or 503 with the same body
//   GET  /v2/models/N[/versions/V]/config, /stats
//   POST /v2/models/N[/versions/V]/infer
//   POST /v2/repository/index                   {"ready": true}: only those that are
//
// Predicting changes nothing and a foreign page cannot read the answer, so a body may come under
// any type: public clients send none.
//
// Threading: Answer from any of the listener's workers; it blocks until the call is over.
// Ownership: `calls` outlives it.
// Failure: an HTTP code and {"error": "..."}; 405 for another verb.
// Bounds: a body of 16 MiB, values as in inference_json.h; a call a minute.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "google/protobuf/message.h"
#include "server/http_exchange.h"
#include "server/own_calls.h"

namespace engram::server {

class InferenceRest {
 public:
  explicit InferenceRest(const OwnCalls* calls) : calls_(calls) {}

  HttpReply Answer(const HttpRequest& request) const;

 private:
  // "", "N", "N/versions/V": what of the path names a model.
  struct Subject {
    std::string name;
    std::string version;
  };

  absl::StatusOr<HttpReply> Route(const HttpRequest& request,
                                  const std::vector<std::string>& path) const;
  absl::StatusOr<HttpReply> OfModel(const HttpRequest& request, const Subject& subject,
                                    const std::string& action) const;
  absl::StatusOr<HttpReply> Infer(const HttpRequest& request, const Subject& subject) const;
  absl::StatusOr<HttpReply> Index(const HttpRequest& request) const;
  template <typename Response, typename Request>
  absl::StatusOr<HttpReply> Get(const HttpRequest& http, Rpc rpc, const Request& request) const;

  const OwnCalls* const calls_;
};

}  // namespace engram::server
