// Learning by REST: lines of examples into messages of LearnBatch, one after the other.
//
// Messages are cut by number of lines alone (?batch=, default 256), so the same body sent again
// with the same ?producer= and ?sequence= (of its first message) is learned once, however often it
// is sent and wherever it was cut. Without them the process is the producer (rest_producer.h).
//
// Threading: every method from any of the listener's workers.
// Ownership: `calls` outlives it.
// Failure: a line or a message that is refused is listed in the answer, and the rest goes on; what
//   nothing can follow (unknown model, wrong credentials, a gap) ends the call with its status, and
//   "learned" in the body says how far it came. A full queue is waited for, 20 s in all a message.
// Bounds: a line 1 MiB; one message in memory, out of what all calls may hold; 100 refusals listed,
//   the rest counted.
#pragma once

#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "google/protobuf/message.h"
#include "server/http_exchange.h"
#include "server/own_calls.h"
#include "server/rest_producer.h"

namespace engram::server {

class RestLearn {
 public:
  explicit RestLearn(const OwnCalls* calls)
      : calls_(calls), own_producer_(std::make_unique<RestProducer>()) {}

  HttpReply Answer(const HttpRequest& request, const std::string& model) const;

  // MarkBoundary, numbered here when the request names no producer.
  absl::Status MarkBoundary(absl::string_view authorization, google::protobuf::Message* request,
                            google::protobuf::Message* reply) const;

 private:
  const OwnCalls* const calls_;
  const std::unique_ptr<RestProducer> own_producer_;
};

}  // namespace engram::server
