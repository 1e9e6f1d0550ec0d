// The manual pages, made from the same declarations as the help texts, so that they cannot differ.
//
// Threading: free functions, safe from any thread. Ownership: nothing is kept.
// Failure: ServerManual returns INVALID_ARGUMENT when `help` is not what engramd prints.
// Bounds: none.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/command.h"
#include "client/flags.h"

namespace engram::client {

// engram.1 in the man macros.
std::string CommandManual(const std::vector<VerbShape>& verbs,
                          const std::vector<FlagShape>& globals);

// engramd.8, from what `engramd --help` prints.
absl::StatusOr<std::string> ServerManual(absl::string_view help);

}  // namespace engram::client
