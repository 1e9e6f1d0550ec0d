#include "tests/testing/process/subprocess.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <sstream>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"

namespace engram::testing {
namespace {

std::vector<char*> Pointers(std::vector<std::string>& words) {
  std::vector<char*> out;
  for (std::string& word : words) out.push_back(word.data());
  out.push_back(nullptr);
  return out;
}

std::vector<std::string> Environment(std::vector<std::string> added) {
  for (char** entry = environ; *entry != nullptr; ++entry) added.emplace_back(*entry);
  return added;
}

// Between fork and exec of a threaded process: only calls that are safe there.
[[noreturn]] void Become(int output, char** argv, char** environment) {
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  dup2(output, STDOUT_FILENO);
  dup2(output, STDERR_FILENO);
  execve(argv[0], argv, environment);
  _exit(127);
}

}  // namespace

absl::StatusOr<std::unique_ptr<Subprocess>> Subprocess::Start(
    std::vector<std::string> argv, std::string output_file, std::vector<std::string> environment) {
  const int output = open(output_file.c_str(), O_CREAT | O_APPEND | O_WRONLY | O_CLOEXEC, 0600);
  if (output < 0) {
    return absl::InternalError(absl::StrCat("open ", output_file, ": ", strerror(errno)));
  }
  std::vector<std::string> all = Environment(std::move(environment));
  std::vector<char*> arguments = Pointers(argv);
  std::vector<char*> variables = Pointers(all);
  const pid_t pid = fork();
  if (pid == 0) Become(output, arguments.data(), variables.data());
  close(output);
  if (pid < 0) return absl::InternalError(absl::StrCat("fork: ", strerror(errno)));
  return std::unique_ptr<Subprocess>(new Subprocess(pid, std::move(output_file)));
}

Subprocess::Subprocess(pid_t pid, std::string output_file)
    : pid_(pid), output_file_(std::move(output_file)) {}

Subprocess::~Subprocess() { Kill(); }

absl::Status Subprocess::Signal(int signal) {
  if (ended_.has_value()) return absl::InternalError("the child has ended");
  if (kill(pid_, signal) != 0) return absl::InternalError(strerror(errno));
  return absl::OkStatus();
}

absl::optional<Ended> Subprocess::Poll() {
  if (ended_.has_value()) return ended_;
  int status = 0;
  if (waitpid(pid_, &status, WNOHANG) != pid_) return absl::nullopt;
  ended_ = Ended{WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status)};
  return ended_;
}

absl::StatusOr<Ended> Subprocess::Wait(absl::Duration patience) {
  const absl::Time deadline = absl::Now() + patience;
  while (!Poll().has_value()) {
    if (absl::Now() > deadline) {
      return absl::DeadlineExceededError(
          absl::StrCat("still running after ", absl::FormatDuration(patience)));
    }
    absl::SleepFor(absl::Milliseconds(2));
  }
  return *ended_;
}

void Subprocess::Kill() {
  if (ended_.has_value()) return;
  kill(pid_, SIGKILL);
  int status = 0;
  while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
  }
  ended_ = Ended{WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status)};
}

std::string Subprocess::Output() const { return ReadWholeFile(output_file_); }

absl::StatusOr<Finished> RunToEnd(std::vector<std::string> argv, absl::Duration patience,
                                  const std::string& output_file) {
  auto child = Subprocess::Start(std::move(argv), output_file);
  if (!child.ok()) return child.status();
  const auto ended = (*child)->Wait(patience);
  if (!ended.ok()) return ended.status();
  return Finished{ended->code, (*child)->Output()};
}

std::string ReadWholeFile(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream out;
  out << in.rdbuf();
  return out.str();
}

}  // namespace engram::testing
