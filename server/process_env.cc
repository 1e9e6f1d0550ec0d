#include "server/process_env.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"

namespace engram::server {
namespace {

constexpr char kSettledMark[] = "ENGRAM_ENVIRONMENT_SETTLED";

bool Is(const char* name, const std::string& value) {
  const char* present = getenv(name);
  return present != nullptr && value == present;
}

}  // namespace

absl::Status SettleEnvironment(int compute_threads, char** argv) {
  const std::string threads = absl::StrCat(compute_threads);
  const std::vector<std::pair<const char*, std::string>> wanted = {
      {"OMP_NUM_THREADS", threads},   {"OPENBLAS_NUM_THREADS", threads},
      {"OMP_WAIT_POLICY", "passive"}, {"GOMP_SPINCOUNT", "0"},
      {"OMP_DYNAMIC", "false"},
  };
  bool settled = true;
  for (const auto& [name, value] : wanted) settled = settled && Is(name, value);
  if (settled) return absl::OkStatus();
  if (getenv(kSettledMark) != nullptr) {
    return absl::InternalError("the environment does not keep OMP_NUM_THREADS and its companions");
  }
  for (const auto& [name, value] : wanted) setenv(name, value.c_str(), 1);
  setenv(kSettledMark, "1", 1);
  // The real path, not the link: the kernel takes the process name from it.
  char self[PATH_MAX] = {};
  if (readlink("/proc/self/exe", self, sizeof(self) - 1) > 0) execv(self, argv);
  return absl::InternalError(absl::StrCat("cannot execute itself again: ", strerror(errno)));
}

absl::Status CheckOpenFileLimit(int64_t limit, int64_t connections) {
  const int64_t needed = OpenFilesNeeded(connections);
  if (limit >= needed) return absl::OkStatus();
  return absl::ResourceExhaustedError(
      absl::StrCat("the limit of open files is ", limit, ", limits.connections ", connections,
                   " needs ", needed, ": raise it (ulimit -n, LimitNOFILE) or lower connections"));
}

int64_t RaiseOpenFileLimit(int64_t wanted) {
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return 0;
  const rlim_t goal = static_cast<rlim_t>(wanted);
  if (limit.rlim_cur < goal) {
    // Root may raise the hard limit as well; everybody else stops at it.
    rlimit raised{goal, std::max(goal, limit.rlim_max)};
    if (setrlimit(RLIMIT_NOFILE, &raised) != 0) {
      raised = {std::min(goal, limit.rlim_max), limit.rlim_max};
      setrlimit(RLIMIT_NOFILE, &raised);
    }
    getrlimit(RLIMIT_NOFILE, &limit);
  }
  return static_cast<int64_t>(limit.rlim_cur);
}

}  // namespace engram::server
