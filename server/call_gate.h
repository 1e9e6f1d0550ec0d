// Who is in: refuses calls while the server starts or drains, and asks the long ones to end.
//
// Threading: every method from any thread. Drain() calls back outside the lock.
// Ownership: holds open calls weakly.
// Bounds: limits.waits.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/base/mutex.h"

namespace engram::server {

// A call that may stay open for long: a stream, or a wait.
class OpenCall {
 public:
  virtual ~OpenCall() = default;
  // The server is leaving: finish what was accepted, then end with UNAVAILABLE.
  virtual void BeginDrain() = 0;
};

class CallGate {
 public:
  explicit CallGate(int64_t waits_max = 4096) : waits_max_(waits_max) {}

  // The models can be asked from now on.
  void Open() { state_.store(State::kOpen, std::memory_order_release); }
  // UNAVAILABLE "starting" before Open, "shutting down" once draining, with RetryInfo.
  absl::Status Admit() const;

  // Enter at the start of every call that outlives its handler, Leave when it is done.
  uint64_t Enter(std::weak_ptr<OpenCall> call) ABSL_LOCKS_EXCLUDED(mutex_);
  void Leave(uint64_t ticket) ABSL_LOCKS_EXCLUDED(mutex_);

  // A place among those who wait inside a model, given back with the last copy. A wait outlives a
  // client that cancelled, up to its deadline: so the places are counted, not the calls.
  // RESOURCE_EXHAUSTED when all are taken.
  absl::StatusOr<std::shared_ptr<void>> ReserveWait();

  // Refuses new calls and tells the open ones.
  void Drain() ABSL_LOCKS_EXCLUDED(mutex_);
  size_t OpenCalls() const ABSL_LOCKS_EXCLUDED(mutex_);

  static absl::Status ShuttingDown();

 private:
  enum class State { kStarting, kOpen, kDraining };

  const int64_t waits_max_;
  std::atomic<State> state_{State::kStarting};
  // Shared with the places, which may outlive the gate.
  const std::shared_ptr<std::atomic<int64_t>> waits_ = std::make_shared<std::atomic<int64_t>>(0);
  mutable base::Mutex mutex_;
  uint64_t next_ticket_ ABSL_GUARDED_BY(mutex_) = 1;
  absl::flat_hash_map<uint64_t, std::weak_ptr<OpenCall>> open_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace engram::server
