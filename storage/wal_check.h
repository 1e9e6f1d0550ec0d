// Reads RocksDB's write-ahead logs as they lie on the disk, and finds what RocksDB itself steps
// over without a word: zeros in the middle of a file, and batches that are not there. Every batch
// begins at the sequence number where the one before it ended.
//
// Threading: free functions.
// Failure: DATA_LOSS naming the file and the place; UNAVAILABLE for I/O errors. A torn end of the
//   newest file is what a crash leaves, and is no damage.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace engram::storage {

struct WalExtent {
  uint64_t first = 0;  // sequence number of the first batch; 0: the file holds none
  uint64_t next = 0;   // the one after the last batch
  // Where the file's last whole record begins and ends.
  uint64_t last_record = 0;
  uint64_t end = 0;
};

// One file's bytes. `name` is for messages.
absl::StatusOr<WalExtent> ReadWal(absl::string_view name, absl::string_view bytes);

// All files of the folder from number `oldest_needed` on.
absl::Status CheckWriteAheadLogs(const std::string& db_folder, uint64_t oldest_needed);

}  // namespace engram::storage
