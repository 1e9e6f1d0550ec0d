// Shares a few threads among many serial strands (one a model), fairly by the work they report.
//
// Threading: every method from any thread; a strand never runs twice at once. Remove returns when
//   it does not run and will not again.
// Bounds: one turn of another strand is the longest a ready one waits, times the strands before it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>

#include "absl/time/time.h"
#include "server/clock.h"
#include "server/trainer.h"
#include "storage/base/mutex.h"

namespace engram::server {

class Strands {
 public:
  using Run = std::function<Turn()>;

  explicit Strands(const Clock* clock) : clock_(clock) {}

  void Add(uint64_t id, Run run);  // ready at once
  void Remove(uint64_t id);
  void Wake(uint64_t id);

  // One turn of the ready strand that has had the least; false when none is ready.
  bool RunOne();
  // Until Stop.
  void RunLoop();
  void Stop();

 private:
  struct Strand {
    Run run;
    bool ready = true;
    bool running = false;
    bool removed = false;
    absl::Duration wake_at = absl::InfiniteDuration();
    int64_t served = 0;
  };

  Strand* Pick(uint64_t* id) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Duration UntilNext() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Clock* const clock_;
  base::Mutex mutex_;
  base::CondVar wake_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  // Work given to the strand last picked: one that was idle starts here, not at its old arrears.
  int64_t floor_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<uint64_t, Strand> strands_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace engram::server
