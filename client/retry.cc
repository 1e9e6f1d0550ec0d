#include "client/retry.h"

#include <algorithm>

#include "client/status.h"

namespace engram::client {

bool IsRetryable(const absl::Status& status, bool repeatable) {
  switch (status.code()) {
    case absl::StatusCode::kUnavailable:
      return repeatable || RetryDelayOf(status).has_value();
    case absl::StatusCode::kResourceExhausted:
      return RetryDelayOf(status).has_value();
    default:
      return false;
  }
}

Backoff::Backoff(const RetryOptions& options)
    : options_(options), nominal_(options.delay_first), random_(std::random_device{}()) {}

absl::Duration Backoff::Next(absl::optional<absl::Duration> asked) {
  std::uniform_real_distribution<double> spread(1.0 - options_.jitter, 1.0 + options_.jitter);
  const absl::Duration delay = nominal_ * spread(random_);
  nominal_ = std::min(nominal_ * options_.multiplier, options_.delay_max);
  return asked ? std::max(delay, *asked) : delay;
}

void Backoff::Reset() { nominal_ = options_.delay_first; }

}  // namespace engram::client
