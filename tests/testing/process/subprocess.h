// A child process whose output goes to a file: started, killed, waited for.
//
// Threading: one thread at a time. The child dies with the thread that started it (PDEATHSIG), so
//   that no test leaves a server behind: start it from the main thread.
// Ownership: the destructor kills and reaps.
// Failure: INTERNAL with errno's text; DEADLINE_EXCEEDED when the child outlives a wait.
#pragma once

#include <sys/types.h>

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "absl/types/optional.h"

namespace engram::testing {

// How a child ended: its exit code, or 128 + the signal that ended it.
struct Ended {
  int code = 0;
};

class Subprocess {
 public:
  // stdout and stderr are appended to `output_file`. `argv[0]` is a path. `environment` adds
  // NAME=value entries to this process's own.
  static absl::StatusOr<std::unique_ptr<Subprocess>> Start(
      std::vector<std::string> argv, std::string output_file,
      std::vector<std::string> environment = {});
  ~Subprocess();
  Subprocess(const Subprocess&) = delete;
  Subprocess& operator=(const Subprocess&) = delete;

  pid_t pid() const { return pid_; }
  // Nothing once it has been reaped.
  absl::Status Signal(int signal);
  // Has it ended? Reaps it.
  absl::optional<Ended> Poll();
  absl::StatusOr<Ended> Wait(absl::Duration patience);
  // SIGKILL and reap. Harmless on an ended child.
  void Kill();
  // What it wrote.
  std::string Output() const;

 private:
  Subprocess(pid_t pid, std::string output_file);

  const pid_t pid_;
  const std::string output_file_;
  absl::optional<Ended> ended_;
};

struct Finished {
  int code = 0;
  std::string output;
};
// Runs a command to its end; killed (and DEADLINE_EXCEEDED) after `patience`.
absl::StatusOr<Finished> RunToEnd(std::vector<std::string> argv, absl::Duration patience,
                                  const std::string& output_file);

// The whole file; empty when it is not there.
std::string ReadWholeFile(const std::string& path);

}  // namespace engram::testing
