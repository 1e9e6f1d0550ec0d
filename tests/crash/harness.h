// A harness as a program: flags --seed and --keep, a scratch folder, a verdict in the last line.
//
// Threading: the main thread. Failure: exit code 1, and the seed that repeats the run.
#pragma once

#include <cstdint>
#include <functional>

#include "absl/flags/declare.h"
#include "absl/status/statusor.h"
#include "tests/testing/process/scratch_folder.h"

ABSL_DECLARE_FLAG(bool, keep);

namespace engram::crash {

// False: a promise was broken, and `run` has said which.
using Harness =
    std::function<absl::StatusOr<bool>(const testing::ScratchFolder& scratch, uint64_t seed)>;

// Parses the command line, draws a seed unless one is given, runs, and returns the exit code.
int RunHarness(int argc, char** argv, const char* name, const Harness& run);

}  // namespace engram::crash
