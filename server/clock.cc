#include "server/clock.h"

#include <chrono>

#include "absl/time/time.h"

namespace engram::server {
namespace {

class RealClock : public Clock {
 public:
  // absl::Now() goes on from an older reading for up to two seconds after the clock was set.
  absl::Time Now() const override { return absl::FromChrono(std::chrono::system_clock::now()); }
  absl::Duration Monotonic() const override {
    return absl::FromChrono(std::chrono::steady_clock::now().time_since_epoch());
  }
  absl::Time Anchored() const override { return wall_at_start_ + (Monotonic() - start_); }

 private:
  const absl::Duration start_ = Monotonic();
  const absl::Time wall_at_start_ = Now();
};

}  // namespace

const Clock* SystemClock() {
  static const RealClock* const clock = new RealClock;
  return clock;
}

}  // namespace engram::server
