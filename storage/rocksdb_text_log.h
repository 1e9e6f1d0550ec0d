// RocksDB's text log (db/LOG), where a line that cannot be written is lost and nothing else. The
// package's own ends the process with an assertion at the second line that meets a full disk.
//
// Threading: every method from any thread.
// Failure: none; a file that cannot be opened or written costs its lines.
// Bounds: two files of kTextLogBytes, LOG and the one before it, LOG.old; a line of 4 KiB.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "rocksdb/env.h"

namespace engram::storage {

constexpr int64_t kTextLogBytes = 4 << 20;

// Makes `folder` where it is missing. Begins a new LOG.
std::shared_ptr<rocksdb::Logger> OpenTextLog(const std::string& folder,
                                             int64_t bytes_max = kTextLogBytes);

}  // namespace engram::storage
