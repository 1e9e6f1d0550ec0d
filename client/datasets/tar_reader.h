// Walks the files of a tar archive (POSIX ustar and GNU's older form), gzip'd or plain, in its
// order.
//
// Threading: one thread. Ownership: one file's content at a time, handed over.
// Failure: NOT_FOUND when the archive cannot be opened; DATA_LOSS for one that is cut, lacks its
//   end or fails a checksum; INVALID_ARGUMENT for a link, a long name or what is no tar; the
//   visitor's own status ends the walk. Each names the archive.
// Bounds: 64 MiB a file.
#pragma once

#include <functional>
#include <string>

#include "absl/status/status.h"

namespace engram::datasets {

absl::Status WalkTar(
    const std::string& path,
    const std::function<absl::Status(const std::string& name, std::string content)>& visit);

}  // namespace engram::datasets
