// Who comes back when: callers that were refused for want of room that all share are told one after
// the other, so that a crowd does not return at once to be refused again. What is refused was made,
// sent and received for nothing.
//
// Threading: any thread.
#pragma once

#include <algorithm>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "storage/base/mutex.h"

namespace engram::server {

class Turns {
 public:
  // How long the next one waits, from `now` on a monotonic clock.
  absl::Duration Next(absl::Duration now) {
    base::MutexLock lock(&mutex_);
    last_ = std::min(std::max(now, last_) + kApart, now + kLongest);
    return last_ - now;
  }

 private:
  static constexpr absl::Duration kApart = absl::Milliseconds(6);
  static constexpr absl::Duration kLongest = absl::Seconds(2);

  base::Mutex mutex_;
  absl::Duration last_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace engram::server
