// What clients do to a server, ours or the bare one: the same code against both.
//
// Threading: as said. Failure: statuses of the calls.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "grpcpp/channel.h"
#include "tests/bench/end_to_end/measure.h"
#include "tests/bench/end_to_end/workload.h"

namespace engram::bench {

// One closed-loop client of Predict for `how_long`. `reply_bytes` gets the size of the last reply.
absl::StatusOr<Latencies> PredictFor(const std::shared_ptr<grpc::Channel>& channel,
                                     const std::string& body, absl::Duration how_long,
                                     int* reply_bytes = nullptr);

// Streams all frames, at most `window` of them not acked; seconds from the first write to the last
// ack.
absl::StatusOr<double> StreamAll(const std::shared_ptr<grpc::Channel>& channel,
                                 const std::string& model, const std::string& producer,
                                 const std::vector<Frame>& frames, uint64_t window);

// A Learn stream that keeps the trainer busy for as long as it lives: it sends as fast as the model
// learns, a few thousand examples ahead of it.
class SteadyLearner {
 public:
  SteadyLearner(const std::string& address, std::string model, const std::vector<Frame>* frames);
  ~SteadyLearner();
  // Examples applied since the start, and the first error.
  uint64_t applied() const { return applied_; }
  const absl::Status& status() const { return status_; }  // after Stop
  void Stop();

 private:
  void Run(const std::string& address);
  absl::Status OnePass(const std::shared_ptr<grpc::Channel>& channel, int pass);

  const std::string model_;
  const std::vector<Frame>* const frames_;
  std::atomic<bool> stop_{false};
  std::atomic<uint64_t> applied_{0};
  absl::Status status_;
  std::thread thread_;
};

// The same stream at a given rate into a server that acks and never applies: the bare one.
class PacedLearner {
 public:
  PacedLearner(const std::string& address, double messages_per_second,
               const std::vector<Frame>* frames);
  ~PacedLearner();
  const absl::Status& status() const { return status_; }  // after Stop
  void Stop();

 private:
  absl::Status Run(const std::string& address);

  const absl::Duration pause_;
  const std::vector<Frame>* const frames_;
  std::atomic<bool> stop_{false};
  absl::Status status_;
  std::thread thread_;
};

}  // namespace engram::bench
