// What this process uses of the machine, as the kernel counts it: for the metrics that every
// Prometheus knows by the name process_*.
//
// Threading: free functions without state. Ownership: none.
// Failure: nullopt where the kernel's files are not there or not understood; a scrape then goes
//   without these numbers.
// Bounds: a few small files of /proc and one entry of a folder for each open file.
#pragma once

#include <cstdint>
#include <string>

#include "absl/types/optional.h"

namespace engram::server {

struct ProcessUsage {
  double start_unix_seconds = 0;
  double cpu_seconds = 0;
  int64_t resident_bytes = 0;
  int64_t threads = 0;
  int64_t open_files = 0;
  int64_t open_files_max = 0;
};

// `proc`: where the kernel's files are, for tests. The start is boot time plus age, and the kernel
// moves boot time with the clock: ask once and keep it, or a corrected clock looks like a restart.
absl::optional<ProcessUsage> MeasureProcess(const std::string& proc = "/proc");

}  // namespace engram::server
