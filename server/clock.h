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
};

const Clock* SystemClock();

}  // namespace engram::server
