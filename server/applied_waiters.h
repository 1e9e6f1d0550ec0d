// Calls that wait for a sequence to be applied, which is published (read your own writes).
//
// Threading: every method from any thread. Callbacks run without the lock, on the thread that made
//   the progress, or on the one that expires them.
// Failure: DEADLINE_EXCEEDED saying how far it got; what Fail was given.
#pragma once

#include <cstdint>
#include <functional>
#include <limits>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "storage/base/mutex.h"

namespace engram::server {

class AppliedWaiters {
 public:
  static constexpr uint64_t kNoneOpen = std::numeric_limits<uint64_t>::max();
  using OnReached = std::function<void(const absl::Status&)>;

  // `deadline` is a point of Clock::Monotonic. With `evaluated`, also until no boundary up to
  // `sequence` lacks its row of R.
  void Wait(uint64_t sequence, bool evaluated, absl::Duration deadline, OnReached done);

  void SetApplied(uint64_t sequence);
  // The oldest boundary that is still being evaluated, or kNoneOpen.
  void SetOldestOpenBoundary(uint64_t sequence);
  // Answers those whose deadline has come.
  void Expire(absl::Duration now);
  absl::Duration NextDeadline() const;
  // Answers everybody, now and from now on.
  void Fail(absl::Status why);

 private:
  struct Waiter {
    uint64_t sequence = 0;
    bool evaluated = false;
    absl::Duration deadline;
    OnReached done;
  };

  bool Reached(const Waiter& waiter) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Release();

  mutable base::Mutex mutex_;
  uint64_t applied_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t oldest_open_ ABSL_GUARDED_BY(mutex_) = kNoneOpen;
  absl::Status failed_ ABSL_GUARDED_BY(mutex_);
  std::vector<Waiter> waiters_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace engram::server
