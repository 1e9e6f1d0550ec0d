// Threads for calls that may block (disk, many rows): gRPC has about one callback thread a core,
// and one that waits for a disk would hold up every prediction behind it.
//
// Threading: Run from any thread. The destructor runs what is queued, then joins.
// Bounds: `queue_max` waiting calls; Run answers RESOURCE_EXHAUSTED beyond it, naming `limit`.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "storage/base/mutex.h"

namespace engram::server {

class CallPool {
 public:
  CallPool(absl::string_view limit, int threads, int64_t queue_max);
  ~CallPool();

  absl::Status Run(std::function<void()> work) ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  void Work() ABSL_LOCKS_EXCLUDED(mutex_);

  const std::string limit_;
  const int64_t queue_max_;
  base::Mutex mutex_;
  base::CondVar wake_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::deque<std::function<void()>> queue_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::thread> threads_;
};

}  // namespace engram::server
