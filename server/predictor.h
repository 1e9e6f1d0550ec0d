// Answers predictions from published snapshots: what Predict and PredictStream share.
//
// Two ways in. TryNow serves the live snapshot on the calling thread, reusing that thread's
// buffers: the common call allocates nothing but its reply. Later serves whatever may wait or
// block: a sequence still to be applied, an older version on disk, many rows. Both make the reply
// of engram.v1, or what a Render makes of the same scores: other protocols predict here, too.
//
// Threading: every method from any thread.
// Failure: INVALID_ARGUMENT, NOT_FOUND (model, task, version), FAILED_PRECONDITION (no class yet),
//   DEADLINE_EXCEEDED, OUT_OF_RANGE, UNAVAILABLE while the model recovers.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/optional.h"
#include "engram/v1/prediction.pb.h"
#include "grpcpp/support/byte_buffer.h"
#include "server/edge.h"

namespace engram::server {

// What a snapshot said of a request's rows, before it becomes a reply. Valid during Render.
struct ScoredRows {
  const Served& served;
  int64_t rows = 0;
  int64_t classes = 0;
  const float* scores = nullptr;  // row-major [rows, classes]
  const std::vector<strategies::InferredTask>& inferred;  // empty: none was asked for
  // On the line of SteadyNow(): the work began, the rows were floats, the scores were there.
  absl::Duration began;
  absl::Duration read;
  absl::Duration scored;
};

// Makes the bytes of a reply, on the thread that predicted.
using Render = std::function<grpc::ByteBuffer(const v1::PredictRequest&, const ScoredRows&)>;

// The `k` best classes of a row, best first, in the first k places of `order`; of equal ones the
// older first.
void RankClasses(const float* scores, int64_t classes, int64_t k, std::vector<int32_t>* order);

class Predictor {
 public:
  explicit Predictor(const Edge& edge) : edge_(edge) {}

  // nullopt: the request needs Later.
  absl::optional<absl::Status> TryNow(const v1::PredictRequest& request,
                                      grpc::ByteBuffer* reply) const {
    return TryNow(request, PredictReply, reply);
  }
  absl::optional<absl::Status> TryNow(const v1::PredictRequest& request, const Render& render,
                                      grpc::ByteBuffer* reply) const;

  // `done` runs once, on a pool thread, the trainer's, or this one. `abandoned`, from any thread:
  // nobody waits for the answer any more, so it is not worked out.
  void Later(v1::PredictRequest request, absl::Duration deadline, std::function<bool()> abandoned,
             std::function<void(const absl::Status&, grpc::ByteBuffer)> done,
             Render render = PredictReply) const;

  // A request to parse into: this thread's, valid until its next call.
  static v1::PredictRequest* ThreadRequest();

 private:
  // A v1::PredictResponse.
  static grpc::ByteBuffer PredictReply(const v1::PredictRequest& request, const ScoredRows& rows);
  absl::Status Answer(const v1::PredictRequest& request, ModelRuntime* model, const Served& served,
                      const Render& render, grpc::ByteBuffer* reply) const;

  const Edge& edge_;
};

}  // namespace engram::server
