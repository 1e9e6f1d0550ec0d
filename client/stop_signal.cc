#include "client/stop_signal.h"

#include <atomic>
#include <cstddef>

namespace engram::client {
namespace {

// What a handler may touch.
std::atomic<bool> stop_arrived{false};
static_assert(std::atomic<bool>::is_always_lock_free, "a handler may not lock");

void OnStopSignal(int) { stop_arrived.store(true); }

}  // namespace

StopSignal::StopSignal(Catch how) {
  stop_arrived.store(false);
  struct sigaction action = {};
  action.sa_handler = OnStopSignal;
  action.sa_flags = how == Catch::kOnce ? SA_RESETHAND : 0;
  for (size_t i = 0; i < 3; ++i) {
    sigaction(kSignals[i], nullptr, &before_[i]);
    // nohup means it.
    if (before_[i].sa_handler != SIG_IGN) sigaction(kSignals[i], &action, nullptr);
  }
}

StopSignal::~StopSignal() {
  for (size_t i = 0; i < 3; ++i) sigaction(kSignals[i], &before_[i], nullptr);
}

bool StopSignal::arrived() const { return stop_arrived.load(); }

}  // namespace engram::client
