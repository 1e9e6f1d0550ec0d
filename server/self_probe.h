// Whether the server still takes connections: a thread calls it through its own listener, again and
// again. gRPC's listener, once it met a full table of files, stays deaf for good while the process
// lives on and the port looks open (promises.md F10, P23); nothing but a restart helps.
//
// Threading: one thread of its own, which runs the callbacks; the rest from any thread.
// Ownership: the destructor stops and joins it.
// Failure: after `misses` failures in a row `lost()` is true and on_lost has run, once. Whoever
//   owns the process then leaves it; if that has not happened within `leave_within`, `leave` runs.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <thread>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/time/time.h"
#include "storage/base/mutex.h"

namespace engram::server {

struct ProbeStatistics {
  std::atomic<uint64_t> passes{0};
  std::atomic<uint64_t> misses{0};
};

struct SelfProbeOptions {
  // Begins one call a period; one may take as long.
  absl::Duration period = absl::Seconds(5);
  int misses = 3;
  absl::Duration leave_within = absl::Seconds(20);
  // One call, within so long.
  std::function<absl::Status(absl::Duration patience)> ask;
  std::function<void()> on_pass;
  std::function<void(const absl::Status& last)> on_lost;
  // Ends the process without asking anybody.
  std::function<void()> leave;
  ProbeStatistics* statistics = nullptr;
};

class SelfProbe {
 public:
  explicit SelfProbe(SelfProbeOptions options);
  ~SelfProbe();
  SelfProbe(const SelfProbe&) = delete;
  SelfProbe& operator=(const SelfProbe&) = delete;

  bool lost() const { return lost_.load(std::memory_order_acquire); }
  // Asks no more: the server is about to refuse calls. What was lost stays so.
  void Stop() ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Run();
  // False when it is time to end.
  bool WaitUntil(absl::Duration time) ABSL_LOCKS_EXCLUDED(mutex_);
  // One call; whether that was the last miss.
  bool AskOnce(int* misses_in_a_row);

  const SelfProbeOptions options_;
  std::atomic<bool> lost_{false};
  base::Mutex mutex_;
  base::CondVar wake_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace engram::server
