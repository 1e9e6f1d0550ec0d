#include "server/process_usage.h"

#include <sys/resource.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <system_error>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_split.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace engram::server {
namespace {

std::string WholeProcFile(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

absl::optional<double> BootUnixSeconds(const std::string& proc) {
  const std::string text = WholeProcFile(proc + "/stat");
  for (absl::string_view line : absl::StrSplit(text, '\n')) {
    double seconds = 0;
    if (absl::ConsumePrefix(&line, "btime ") && absl::SimpleAtod(line, &seconds)) return seconds;
  }
  return absl::nullopt;
}

// proc(5), /proc/pid/stat: fields from the third on, as what precedes may hold blanks. Its numbers
// start at 1 there, so field n is numbers[n - 4] of what follows the state.
absl::optional<std::vector<double>> StatNumbers(const std::string& proc) {
  const std::string text = WholeProcFile(proc + "/self/stat");
  const size_t name_end = text.rfind(") ");
  if (name_end == std::string::npos || name_end + 4 >= text.size()) return absl::nullopt;
  std::vector<double> numbers;
  for (const absl::string_view word :
       absl::StrSplit(text.substr(name_end + 4), absl::ByAnyChar(" \n"), absl::SkipEmpty())) {
    double number = 0;
    if (!absl::SimpleAtod(word, &number)) return absl::nullopt;
    numbers.push_back(number);
  }
  if (numbers.size() < 21) return absl::nullopt;
  return numbers;
}

int64_t CountOpenFiles(const std::string& proc) {
  std::error_code failed;
  int64_t count = 0;
  std::filesystem::directory_iterator at(proc + "/self/fd", failed);
  for (; !failed && at != std::filesystem::directory_iterator(); at.increment(failed)) ++count;
  return count;
}

}  // namespace

absl::optional<ProcessUsage> MeasureProcess(const std::string& proc) {
  const auto boot = BootUnixSeconds(proc);
  const auto stat = StatNumbers(proc);
  if (!boot.has_value() || !stat.has_value()) return absl::nullopt;
  const auto field = [&](size_t number) { return (*stat)[number - 4]; };
  const auto ticks = static_cast<double>(sysconf(_SC_CLK_TCK));
  ProcessUsage usage;
  usage.start_unix_seconds = *boot + field(22) / ticks;
  usage.cpu_seconds = (field(14) + field(15)) / ticks;
  usage.resident_bytes = static_cast<int64_t>(field(24)) * sysconf(_SC_PAGESIZE);
  usage.threads = static_cast<int64_t>(field(20));
  usage.open_files = CountOpenFiles(proc);
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
    usage.open_files_max = static_cast<int64_t>(files.rlim_cur);
  }
  return usage;
}

}  // namespace engram::server
