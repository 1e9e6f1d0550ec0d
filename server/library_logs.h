// Lines that gRPC and protobuf write by themselves, in our form and in bounded number: a client can
// cause one with every call (a name that is not UTF-8, a broken handshake), and must not be able to
// fill the log.
//
// Threading: TakeLibraryLogs once, before the first call; LineBudget from any thread.
// Failure: none. A line that ends the process always passes.
// Bounds: of each library 20 lines at once and one a second after; what was held back is counted in
//   the next line that passes.
#pragma once

#include <cstdint>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "absl/types/optional.h"
#include "server/quota.h"
#include "storage/base/mutex.h"

namespace engram::server {

class LineBudget {
 public:
  LineBudget(double per_second, double at_once) : lines_(per_second, at_once) {}
  // How many were held back since the last one that passed; nothing: so is this one.
  absl::optional<uint64_t> Take(absl::Duration now) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  base::Mutex mutex_;
  TokenBucket lines_ ABSL_GUARDED_BY(mutex_);
  uint64_t held_back_ ABSL_GUARDED_BY(mutex_) = 0;
};

void TakeLibraryLogs();

}  // namespace engram::server
