// Answers predictions from published snapshots: what Predict and PredictStream share.
//
// Two ways in. TryNow serves the live snapshot on the calling thread, reusing that thread's
// buffers: the common call allocates nothing but its reply. Later serves whatever may wait or
// block: a sequence still to be applied, an older version on disk, many rows.
//
// Threading: every method from any thread.
// Failure: INVALID_ARGUMENT, NOT_FOUND (model, task, version), FAILED_PRECONDITION (no class yet),
//   DEADLINE_EXCEEDED, OUT_OF_RANGE, UNAVAILABLE while the model recovers.
#pragma once

#include <functional>
#include <memory>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/optional.h"
#include "engram/v1/prediction.pb.h"
#include "grpcpp/support/byte_buffer.h"
#include "server/edge.h"

namespace engram::server {

class Predictor {
 public:
  explicit Predictor(const Edge& edge) : edge_(edge) {}

  // nullopt: the request needs Later.
  absl::optional<absl::Status> TryNow(const v1::PredictRequest& request,
                                      grpc::ByteBuffer* reply) const;

  // `done` runs once, on a pool thread, the trainer's, or this one. `abandoned`, from any thread:
  // nobody waits for the answer any more, so it is not worked out.
  void Later(v1::PredictRequest request, absl::Duration deadline, std::function<bool()> abandoned,
             std::function<void(const absl::Status&, grpc::ByteBuffer)> done) const;

  // A request to parse into: this thread's, valid until its next call.
  static v1::PredictRequest* ThreadRequest();

 private:
  absl::Status Answer(const v1::PredictRequest& request, ModelRuntime* model, const Served& served,
                      grpc::ByteBuffer* reply) const;

  const Edge& edge_;
};

}  // namespace engram::server
