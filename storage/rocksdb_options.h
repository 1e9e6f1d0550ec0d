// How RocksDB is set up, and the hooks by which a test reaches below it. Private to this room and
// its tests.
//
// The settings follow from what RocksDB 7.8.3 was measured to do under faults; README.md says which
// setting answers which fact.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "rocksdb/db.h"
#include "rocksdb/file_system.h"
#include "rocksdb/options.h"
#include "storage/store.h"
#include "storage/store_folder.h"

namespace engram::storage {

enum class ColumnFamily { kMeta, kLog, kEpisodic, kImportance, kHeldOut, kCheckpoints };
constexpr size_t kColumnFamilies = 6;

// What a test replaces. All may be null.
struct StoreHooks {
  std::shared_ptr<rocksdb::FileSystem> file_system;
  DiskWatch::Measure disk_space;
};

rocksdb::DBOptions MakeDbOptions();
std::vector<rocksdb::ColumnFamilyDescriptor> MakeColumnFamilies();

}  // namespace engram::storage
