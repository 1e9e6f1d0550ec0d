#include "client/unary_call.h"

namespace engram::client {

bool WaitForRetry(const RetryOptions& options, const absl::Status& status, int tries_made,
                  absl::Time deadline, Backoff* backoff) {
  if (tries_made >= options.attempts) return false;
  const absl::Duration delay = backoff->Next(RetryDelayOf(status));
  if (absl::Now() + delay >= deadline) return false;
  if (options.sleep) {
    options.sleep(delay);
  } else {
    absl::SleepFor(delay);
  }
  return true;
}

}  // namespace engram::client
