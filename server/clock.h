// Time, passed in: the log decides what is learned, so time only paces (publishing, flushing,
// deadlines). Tests use a fake.
//
// Threading: every method from any thread.
#pragma once

#include "absl/time/time.h"

namespace engram::server {

class Clock {
 public:
  virtual ~Clock() = default;
  virtual absl::Time Now() const = 0;
  // Never goes back; only differences mean something.
  virtual absl::Duration Monotonic() const = 0;
  // The wall clock as it was at start, and the monotonic one since: what ages are reckoned by, so
  // that nothing gets old because somebody set the clock.
  virtual absl::Time Anchored() const { return Now(); }
};

const Clock* SystemClock();

// For what is measured or waited for; a deadline is a point on this line.
inline absl::Duration SteadyNow() { return SystemClock()->Monotonic(); }

}  // namespace engram::server
