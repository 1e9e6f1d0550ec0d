// The one place where a trained model becomes visible: the trainer publishes, predictions read.
//
// Threading: every method from any thread. Get holds a mutex for one shared_ptr copy: g++ 12's
//   ThreadSanitizer reports std::atomic<shared_ptr> as a race.
#pragma once

#include <utility>

#include "server/model_runtime.h"
#include "storage/base/mutex.h"

namespace engram::server {

class SnapshotSlot {
 public:
  // Its snapshot is null before the first Publish.
  Served Get() const {
    base::MutexLock lock(&mutex_);
    return served_;
  }
  void Publish(Served served) {
    base::MutexLock lock(&mutex_);
    std::swap(served_, served);  // the old one is let go outside the lock
  }

 private:
  mutable base::Mutex mutex_;
  Served served_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace engram::server
