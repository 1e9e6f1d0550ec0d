// Names of checkpoints: a ULID, 48 bits of milliseconds and 80 random bits in Crockford's base32.
// Ids of one generator sort by creation, also within one millisecond.
//
// Threading: CheckpointIds::Next from any thread.
#pragma once

#include <cstdint>
#include <random>
#include <string>

#include "absl/strings/string_view.h"
#include "storage/base/mutex.h"

namespace engram::storage {

// 26 upper-case characters of Crockford's alphabet, the first at most '7'. Nothing else is ever
// looked up, so an id cannot name a path.
bool IsCheckpointId(absl::string_view id);

class CheckpointIds {
 public:
  CheckpointIds();

  std::string Next(int64_t now_ms);

 private:
  base::Mutex mutex_;
  std::mt19937_64 random_ ABSL_GUARDED_BY(mutex_);
  uint64_t last_ms_ ABSL_GUARDED_BY(mutex_) = 0;
  uint16_t high_ ABSL_GUARDED_BY(mutex_) = 0;  // upper 16 of the 80 random bits
  uint64_t low_ ABSL_GUARDED_BY(mutex_) = 0;   // lower 64
};

}  // namespace engram::storage
