// When a failed call is worth repeating, and how long to wait first.
//
// A repeat carries the same bytes, and so the same producer sequence: the server acks what it
// already holds without applying it again, which makes repeating safe.
//
// Threading: RetryOptions and the free functions from any thread; a Backoff belongs to one thread.
// Ownership: nothing is kept.
// Failure: none.
// Bounds: at most `attempts` tries, each wait at most `delay_max` unless the server asks for more.
#pragma once

#include <functional>
#include <random>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "absl/types/optional.h"

namespace engram::client {

struct RetryOptions {
  // Tries in all; 1 = never repeat.
  int attempts = 5;
  absl::Duration delay_first = absl::Milliseconds(100);
  absl::Duration delay_max = absl::Seconds(5);
  double multiplier = 2.0;
  // Each delay is drawn from [1 - jitter, 1 + jitter] times its nominal length, so that producers
  // that lost the same server do not come back in step.
  double jitter = 0.2;
  // How to wait; tests pass their own. Default: absl::SleepFor.
  std::function<void(absl::Duration)> sleep;
};

// Whether a repeat may help. `repeatable` says that executing the call twice equals once (reads,
// and whatever carries a producer sequence); other calls are repeated only when the server attached
// RetryInfo, which it does only before any effect.
bool IsRetryable(const absl::Status& status, bool repeatable);

// The lengthening delays of one sequence of tries.
class Backoff {
 public:
  explicit Backoff(const RetryOptions& options);

  // The next delay; never below what the server asked for.
  absl::Duration Next(absl::optional<absl::Duration> asked);

  // After progress: the next delay is the first again.
  void Reset();

 private:
  const RetryOptions options_;
  absl::Duration nominal_;
  std::minstd_rand random_;
};

}  // namespace engram::client
