// Files of a few kilobytes in the data folder that are replaced whole: temp, fsync, rename, fsync
// of the folder, so that a reader finds the old or the new one.
//
// Threading: free functions without state.
// Failure: UNAVAILABLE; RESOURCE_EXHAUSTED for a full disk.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"

namespace engram::server {

// nullopt: there is none.
absl::StatusOr<absl::optional<std::string>> ReadSmallFile(const std::string& folder,
                                                          const std::string& name);
absl::Status WriteSmallFile(const std::string& folder, const std::string& name,
                            absl::string_view bytes);

}  // namespace engram::server
