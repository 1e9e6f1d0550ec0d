#include "server/self_probe.h"

#include <algorithm>
#include <utility>

#include "server/clock.h"
#include "server/logging.h"

namespace engram::server {

SelfProbe::SelfProbe(SelfProbeOptions options)
    : options_(std::move(options)), thread_([this] { Run(); }) {}

SelfProbe::~SelfProbe() {
  Stop();
  thread_.join();
}

void SelfProbe::Stop() {
  base::MutexLock lock(&mutex_);
  stopping_ = true;
  wake_.NotifyAll();
}

bool SelfProbe::WaitUntil(absl::Duration time) {
  base::MutexLock lock(&mutex_);
  while (!stopping_) {
    const absl::Duration left = time - SteadyNow();
    if (left <= absl::ZeroDuration()) return true;
    wake_.WaitFor(&mutex_, absl::ToChronoMilliseconds(absl::Ceil(left, absl::Milliseconds(1))));
  }
  return false;
}

bool SelfProbe::AskOnce(int* misses_in_a_row) {
  const absl::Status answer = options_.ask(options_.period);
  if (answer.ok()) {
    *misses_in_a_row = 0;
    ++options_.statistics->passes;
    options_.on_pass();
    return false;
  }
  {
    // A call that the end of the server cut short says nothing.
    base::MutexLock lock(&mutex_);
    if (stopping_) return false;
  }
  ++options_.statistics->misses;
  Log(LogLevel::kWarning, "self_probe_missed",
      {{"reason", answer}, {"misses", ++*misses_in_a_row}, {"most", options_.misses}});
  if (*misses_in_a_row < options_.misses) return false;
  options_.on_lost(answer);
  return true;
}

void SelfProbe::Run() {
  int misses_in_a_row = 0;
  absl::Duration next = SteadyNow() + options_.period;
  while (WaitUntil(next)) {
    if (AskOnce(&misses_in_a_row)) break;
    // A process that was stopped meanwhile does not make up for what it missed.
    next = std::max(next + options_.period, SteadyNow());
  }
  if (misses_in_a_row < options_.misses) return;
  lost_.store(true, std::memory_order_release);
  if (WaitUntil(SteadyNow() + options_.leave_within)) options_.leave();
}

}  // namespace engram::server
