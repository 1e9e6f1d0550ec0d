// What ModelInfer counts of one model, in the form that Triton's clients read: durations with their
// counts, by stage and by batch size.
//
// Threading: every method from any thread; one short lock a call.
// Ownership: part of ModelStatistics, gone with the model.
// Failure: none.
// Bounds: one row a batch size, so limits.examples_per_message of them.
#pragma once

#include <cstdint>
#include <map>

#include "absl/base/thread_annotations.h"
#include "absl/time/time.h"
#include "storage/base/mutex.h"

namespace engram::server {

struct CountedTime {
  uint64_t count = 0;
  absl::Duration total;

  void Add(absl::Duration taken) {
    ++count;
    total += taken;
  }
};

// Of one call that succeeded.
struct InferenceStages {
  absl::Duration queue;   // until a thread had time and the version was there
  absl::Duration input;   // features as floats
  absl::Duration infer;   // the forward pass
  absl::Duration output;  // the reply
};

struct InferenceCounts {
  struct Batch {
    CountedTime input;
    CountedTime infer;
    CountedTime output;
  };
  CountedTime success;
  CountedTime fail;
  CountedTime queue;
  Batch all;
  std::map<int64_t, Batch> by_rows;
  uint64_t rows = 0;
  absl::Time last = absl::UnixEpoch();
};

class InferenceStatistics {
 public:
  void AddSuccess(int64_t rows, const InferenceStages& stages, absl::Time now)
      ABSL_LOCKS_EXCLUDED(mutex_) {
    base::MutexLock lock(&mutex_);
    counts_.success.Add(stages.queue + stages.input + stages.infer + stages.output);
    counts_.queue.Add(stages.queue);
    for (InferenceCounts::Batch* batch : {&counts_.all, &counts_.by_rows[rows]}) {
      batch->input.Add(stages.input);
      batch->infer.Add(stages.infer);
      batch->output.Add(stages.output);
    }
    counts_.rows += static_cast<uint64_t>(rows);
    counts_.last = now;
  }
  void AddFailure(absl::Duration taken) ABSL_LOCKS_EXCLUDED(mutex_) {
    base::MutexLock lock(&mutex_);
    counts_.fail.Add(taken);
  }
  InferenceCounts Read() const ABSL_LOCKS_EXCLUDED(mutex_) {
    base::MutexLock lock(&mutex_);
    return counts_;
  }

 private:
  mutable base::Mutex mutex_;
  InferenceCounts counts_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace engram::server
