// Named points at which a test may end, fail or delay the process, and bugs that a test may plant.
// They exist in programs compiled with ENGRAM_FAILPOINTS and no other: there the macros below are
// empty, and tests/crash shows that engramd holds none of their names.
//
// The environment variable ENGRAM_FAILPOINTS sets them: NAME=MODE[:WHEN], comma-separated; a NAME
// ending in "*" stands for every name that begins so.
//   off | crash (SIGKILL) | error | error(disk) | sleep(MS) | plant (a bug)
//   WHEN: atN = the Nth time only; 1inN = at random, seeded by ENGRAM_FAILPOINTS_SEED
// What a failpoint does it also says on stderr: "failpoint NAME: MODE".
//
// Threading: any thread. Failure: a list that does not parse, or names what is not there, ends the
// process with EX_CONFIG at the first point that is reached.
#pragma once

#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"

namespace engram::base {

// Every name there is, in the order of the table: points, then bugs ("bug.*").
std::vector<absl::string_view> FailpointNames();

// Crashes or sleeps where it is told to; answers the error of mode `error`.
absl::Status ReachFailpoint(absl::string_view name);
bool IsBugPlanted(absl::string_view name);

// Sets them as the variable would; for tests of this file.
absl::Status SetFailpoints(absl::string_view list, unsigned seed);

}  // namespace engram::base

#ifdef ENGRAM_FAILPOINTS
#define ENGRAM_FAILPOINT(name) ::engram::base::ReachFailpoint(name).IgnoreError()
#define ENGRAM_FAILPOINT_STATUS(name) ::engram::base::ReachFailpoint(name)
#define ENGRAM_BUG(name) ::engram::base::IsBugPlanted(name)
#else
#define ENGRAM_FAILPOINT(name) static_cast<void>(0)
#define ENGRAM_FAILPOINT_STATUS(name) ::absl::OkStatus()
#define ENGRAM_BUG(name) false
#endif
