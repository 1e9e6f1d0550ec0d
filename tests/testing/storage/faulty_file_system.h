// A RocksDB file system that fails, waits and loses power as a test says. Everything else goes to
// the real file system below it.
//
// Threading: every method from any thread. Ownership: shared with the store; outlives it.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "rocksdb/file_system.h"
#include "storage/base/mutex.h"

namespace engram::testing {

class FaultyFileSystem : public rocksdb::FileSystemWrapper {
 public:
  enum class Operation { kAppend, kSync };

  FaultyFileSystem();
  const char* Name() const override { return "FaultyFileSystem"; }

  // The n-th (from 1) operation from now on upon files whose name ends so answers `status` and does
  // nothing. One fault at a time.
  void FailNth(Operation operation, std::string suffix, int n, rocksdb::IOStatus status);
  // How many operations reached files whose name ends so, failed ones included.
  int64_t Count(Operation operation, const std::string& suffix) const;

  // Write-ahead logs wait in their next sync until ReleaseSyncs.
  void BlockSyncs();
  void AwaitBlockedSync();
  void ReleaseSyncs();

  // Power is lost now: whatever is synced later does not count. When the store is gone,
  // DropUnsynced cuts every write-ahead log to what was synced before and at most `torn_bytes`
  // more.
  void CutPower();
  void DropUnsynced(uint64_t torn_bytes = 0);

  rocksdb::IOStatus NewWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* result,
                                    rocksdb::IODebugContext* debug) override;
  rocksdb::IOStatus DeleteFile(const std::string& name, const rocksdb::IOOptions& options,
                               rocksdb::IODebugContext* debug) override;

 private:
  class File;
  struct Extent {
    uint64_t written = 0;
    uint64_t synced = 0;
  };
  struct Seen {
    Operation operation;
    std::string name;
  };

  // OK, or the injected fault.
  rocksdb::IOStatus Enter(Operation operation, const std::string& name);
  void Appended(const std::string& name, uint64_t bytes);
  void Synced(const std::string& name);

  mutable base::Mutex mutex_;
  base::CondVar changed_;
  std::vector<Seen> seen_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, Extent> extents_ ABSL_GUARDED_BY(mutex_);
  bool power_cut_ ABSL_GUARDED_BY(mutex_) = false;
  bool block_syncs_ ABSL_GUARDED_BY(mutex_) = false;
  int blocked_syncs_ ABSL_GUARDED_BY(mutex_) = 0;
  int fault_countdown_ ABSL_GUARDED_BY(mutex_) = 0;  // 0: none
  Operation fault_operation_ ABSL_GUARDED_BY(mutex_) = Operation::kAppend;
  std::string fault_suffix_ ABSL_GUARDED_BY(mutex_);
  rocksdb::IOStatus fault_status_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace engram::testing
