// A clock that moves when a test says so. Thread-safe.
#pragma once

#include <atomic>

#include "server/clock.h"

namespace engram::testing {

class FakeClock : public server::Clock {
 public:
  absl::Time Now() const override { return Anchored() + absl::Nanoseconds(jumped_ns_.load()); }
  absl::Time Anchored() const override { return absl::FromUnixMillis(1'000'000) + Monotonic(); }
  absl::Duration Monotonic() const override { return absl::Nanoseconds(elapsed_ns_.load()); }
  void Advance(absl::Duration by) { elapsed_ns_ += absl::ToInt64Nanoseconds(by); }
  // Somebody sets the wall clock; no time passes.
  void JumpWall(absl::Duration by) { jumped_ns_ += absl::ToInt64Nanoseconds(by); }

 private:
  std::atomic<int64_t> elapsed_ns_{0};
  std::atomic<int64_t> jumped_ns_{0};
};

}  // namespace engram::testing
