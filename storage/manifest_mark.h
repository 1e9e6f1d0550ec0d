// How far RocksDB's MANIFEST went at some moment, and what it held until there. The MANIFEST only
// grows; RocksDB takes one that lost its last edits, or whose end is zeros, for a whole one.
//
// Threading: free functions. Failure: DATA_LOSS from CheckManifest; UNAVAILABLE for I/O errors.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace engram::storage {

struct ManifestMark {
  uint64_t number = 0;  // of the file; 0: no mark
  uint64_t bytes = 0;
  uint32_t crc = 0;  // CRC-32C of the first `bytes` bytes
};

// The MANIFEST that CURRENT names, as it is now, made durable. `before` saves reading what it
// covers already.
absl::StatusOr<ManifestMark> MarkManifest(const std::string& db_folder, const ManifestMark& before);

// Whether the MANIFEST that CURRENT names still begins with what `mark` saw. A newer file passes:
// every open of the database writes one, and marks it before anything is served from it.
absl::Status CheckManifest(const std::string& db_folder, const ManifestMark& mark);

}  // namespace engram::storage
