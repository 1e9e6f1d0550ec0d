// Whether a database that is about to be opened holds what HIGHWATER says was durable. Asked of the
// files and of a read-only opening, before the real one may change them.
//
// In a file of its own so that tests/crash can link a server in which it sees nothing, and show
// that the damage matrix notices.
//
// Failure: DATA_LOSS saying what is gone.
#pragma once

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "storage/high_water.h"

namespace engram::storage {

struct OpenedEvidence {
  std::string db_folder;
  uint64_t last_write = 0;   // RocksDB's latest sequence number
  uint64_t oldest_wal = 0;   // number of the oldest write-ahead log that is still needed
};

absl::Status CheckAgainstWitness(const HighWater& witness, const OpenedEvidence& evidence);

}  // namespace engram::storage
