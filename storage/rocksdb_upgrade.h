// Makes a store of format 1 one of format 2. Private to this room.
#pragma once

#include "absl/status/status.h"
#include "storage/rocksdb_engine.h"

namespace engram::storage {

// Format 1 did not note by which names its records can be found: notes for every model how far its
// log reaches today (SampleLog::UnnamedThrough). The records themselves stay as they are; both
// formats are read. Doing it again is harmless.
absl::Status UpgradeFromFormat1(RocksDbEngine* engine);

}  // namespace engram::storage
