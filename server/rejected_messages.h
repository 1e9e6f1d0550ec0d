// The last messages of one model that were answered with an error and not stored, for whoever
// wonders why nothing is learned. Only in memory: a rejection is answered, not kept.
//
// Threading: every method from any thread.
// Bounds: 1 000 messages, of their statuses' size each.
#pragma once

#include <cstdint>
#include <deque>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engram/v1/learning.pb.h"
#include "engram/v1/quarantine.pb.h"
#include "storage/base/mutex.h"

namespace engram::server {

class RejectedMessages {
 public:
  static constexpr size_t kKept = 1000;

  // `status` is what the producer is told.
  void Add(int64_t time_ms, const std::string& producer, const v1::LearnMessage& message,
           const absl::Status& status);
  // INVALID_ARGUMENT for a limit out of range.
  absl::StatusOr<v1::ListRejectedResponse> List(const v1::ListRejectedRequest& request) const;

 private:
  // Put into words when somebody asks: who sends nothing else must not cost the others their time.
  struct Rejected {
    int64_t time_ms = 0;
    std::string producer;
    uint64_t producer_sequence = 0;
    int examples = 0;
    absl::Status status;
  };

  mutable base::Mutex mutex_;
  std::deque<Rejected> messages_ ABSL_GUARDED_BY(mutex_);  // the newest first
  int64_t rejected_ ABSL_GUARDED_BY(mutex_) = 0;
};

// The `limit` of a list: 0 = 100. INVALID_ARGUMENT when it is not in [0, 1 000].
absl::StatusOr<int> ListLimit(int32_t limit);

}  // namespace engram::server
