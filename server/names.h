// Names that clients choose (models, tasks, producers, checkpoint labels): [A-Za-z0-9._-]{1,128},
// not "." or "..", so that no name can be a path, a metric or a log line of its own. What is said
// of one that is refused: NotAName (errors.h).
#pragma once

#include "absl/strings/ascii.h"
#include "absl/strings/string_view.h"

namespace engram::server {

inline constexpr absl::string_view kNameRule =
    "must match [A-Za-z0-9._-]{1,128} and not be \".\" or \"..\"";

inline bool IsName(absl::string_view name) {
  if (name.empty() || name.size() > 128 || name == "." || name == "..") return false;
  for (char c : name) {
    if (!absl::ascii_isalnum(c) && c != '.' && c != '_' && c != '-') return false;
  }
  return true;
}

}  // namespace engram::server
