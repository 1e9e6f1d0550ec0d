// The producer of those who name none: one a process and model, numbered here. What it sends is
// exactly once as long as its caller hears the answer; who must repeat names a producer of his own.
//
// Threading: Send from any thread; one at a time a model.
// Failure: what the sending came to.
// Bounds: a few words a model that was ever learned by REST.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "storage/base/mutex.h"

namespace engram::server {

class RestProducer {
 public:
  RestProducer();

  const std::string& name() const { return name_; }

  // `send` makes the call with the sequence that it is given.
  absl::Status Send(absl::string_view model,
                    const std::function<absl::Status(uint64_t sequence)>& send)
      ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  struct Lane {
    base::Mutex mutex;
    uint64_t next ABSL_GUARDED_BY(mutex) = 1;
  };

  std::shared_ptr<Lane> LaneOf(absl::string_view model) ABSL_LOCKS_EXCLUDED(mutex_);

  const std::string name_;
  base::Mutex mutex_;
  std::map<std::string, std::shared_ptr<Lane>, std::less<>> lanes_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace engram::server
