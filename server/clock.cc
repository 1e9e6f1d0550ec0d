#include "server/clock.h"

#include <chrono>

#include "absl/time/clock.h"

namespace engram::server {
namespace {

class RealClock : public Clock {
 public:
  absl::Time Now() const override { return absl::Now(); }
  absl::Duration Monotonic() const override {
    return absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
  }
  absl::Time Anchored() const override { return wall_at_start_ + (Monotonic() - start_); }

 private:
  const absl::Duration start_ = Monotonic();
  const absl::Time wall_at_start_ = absl::Now();
};

}  // namespace

const Clock* SystemClock() {
  static const RealClock* const clock = new RealClock;
  return clock;
}

}  // namespace engram::server
