// SIGINT, SIGTERM and SIGHUP as a flag, so that a verb ends where it likes: with the terminal as it
// was, and a last word.
//
// Threading: made and destroyed on the main thread, one at a time; asked from any thread.
// Ownership: puts the earlier handlers back. Failure: none.
// Bounds: with kOnce a second signal ends the program as if nobody had caught it: for verbs that
//   may be waiting for a server.
#pragma once

#include <signal.h>

namespace engram::client {

class StopSignal {
 public:
  enum class Catch { kOnce, kAlways };

  explicit StopSignal(Catch how);
  ~StopSignal();
  StopSignal(const StopSignal&) = delete;
  StopSignal& operator=(const StopSignal&) = delete;

  bool arrived() const;

 private:
  static constexpr int kSignals[] = {SIGINT, SIGTERM, SIGHUP};
  struct sigaction before_[3];
};

}  // namespace engram::client
