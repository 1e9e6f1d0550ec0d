// Work that must not hold up training: evaluation, checkpoint files, held-out rows, sweeps. One
// queue a server, strictly first in first out: that order is what makes a checkpoint at or beyond a
// boundary imply that the boundary's row of R is durable.
//
// Threading: Push from any thread; Run on one thread, or RunOne by hand in tests.
// Bounds: none of its own; a trainer stops feeding it at a few jobs of its model.
#pragma once

#include <deque>
#include <functional>

#include "storage/base/mutex.h"

namespace engram::server {

class Background {
 public:
  void Push(std::function<void()> job);
  // False when there was nothing to do.
  bool RunOne();
  // Runs jobs until Stop, then what is still queued.
  void Run();
  void Stop();

 private:
  base::Mutex mutex_;
  base::CondVar wake_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::deque<std::function<void()>> jobs_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace engram::server
