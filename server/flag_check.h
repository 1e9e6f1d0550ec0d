// The command line, checked before Abseil parses it: Abseil's own answer to an unknown flag is exit
// code 1, and ours is 78 with one line.
//
// Threading: main thread. Failure: INVALID_ARGUMENT naming the flag or the stray argument.
#pragma once

#include "absl/status/status.h"

namespace engram::server {

absl::Status CheckFlags(int argc, char** argv);

}  // namespace engram::server
