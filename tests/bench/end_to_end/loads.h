// What clients do to a server, ours or the bare one: the same code against both.
//
// Threading: as said. Failure: statuses of the calls.
#pragma once

#include <atomic>
#include <functional>
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

// A client on a thread of its own, from construction until Stop or destruction.
class Load {
 public:
  // `run` ends soon after it finds `stop` true.
  explicit Load(std::function<absl::Status(const std::atomic<bool>& stop)> run);
  ~Load() { Stop(); }
  void Stop();
  const absl::Status& status() const { return status_; }  // after Stop

 private:
  std::atomic<bool> stop_{false};
  absl::Status status_;
  std::thread thread_;
};

// A Learn stream that keeps the trainer busy: it sends as fast as the model learns, a few thousand
// examples ahead of it. `applied` follows what the model has learned.
absl::Status LearnSteadily(const std::string& address, const std::string& model,
                           const std::vector<Frame>& frames, const std::atomic<bool>& stop,
                           std::atomic<uint64_t>* applied);

// The same stream at a given rate into a server that acks and never applies: the bare one.
absl::Status LearnAtPace(const std::string& address, double messages_per_second,
                         const std::vector<Frame>& frames, const std::atomic<bool>& stop);

}  // namespace engram::bench
