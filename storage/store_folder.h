// The folder that holds a store: who may use it, in which format, and how full its disk is.
//
// Failure: FAILED_PRECONDITION for a symlink, a folder that others may write, a store of a newer
//   format or one in use by another process (the message names it); UNAVAILABLE for I/O errors.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/base/mutex.h"

namespace engram::storage {

// An errno as a Status: "what: reason". ENOSPC is RESOURCE_EXHAUSTED, anything else UNAVAILABLE.
absl::Status ErrnoStatus(int error, absl::string_view what);

// The folder cannot be had at all: another process has it, or its first file cannot be written (it
// is read-only, or somebody else's). Of a status of FolderLock::Take, by whatever way it came.
bool IsFolderTaken(const absl::Status& status);

// Makes the folder (mode 0700, parents too) or checks the one that is there.
absl::Status PrepareFolder(const std::string& folder);

// Exclusive use of a folder, until destroyed or the process dies.
class FolderLock {
 public:
  static absl::StatusOr<std::unique_ptr<FolderLock>> Take(const std::string& folder);
  ~FolderLock();
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  explicit FolderLock(int file) : file_(file) {}
  const int file_;
};

// The format of a store is written once everything in it was created: a folder without it holds
// nothing that was ever acknowledged.
//
// 1: the first. 2: log records say who sent them, and can be found by their names; opening a store
// of format 1 makes it one (rocksdb_upgrade.h). 3: the log may hold records of a kind that format 2
// did not know; the first one makes it one (Store::RequireFormat).
constexpr int kStoreFormat = 3;        // the newest that is understood
constexpr int kStoreFormatAtOpen = 2;  // the least of a store that is open
// 0: not created yet. Newer: FAILED_PRECONDITION; unreadable text: DATA_LOSS.
absl::StatusOr<int> ReadStoreFormat(const std::string& folder);
absl::Status WriteStoreFormat(const std::string& folder, int format);

// fsync of a folder, so that a rename in it lasts.
absl::Status SyncFolder(const std::string& folder);

struct DiskSpace {
  int64_t free_bytes = 0;
  int64_t total_bytes = 0;
};

// Keeps a reserve of disk free: RocksDB's package aborts when a log write meets a full disk, so
// writes stop before, in three steps: first what clients send (the whole reserve), then what the
// models keep for themselves (a quarter of it), last what gives space back (a sixteenth).
//
// Threading: every method from any thread.
class DiskWatch {
 public:
  using Measure = std::function<absl::StatusOr<DiskSpace>()>;

  DiskWatch(Measure measure, int64_t reserve_bytes);

  // Measures anew unless that was done less than `kMeasurePeriod` ago.
  void Refresh();
  // Called after each measure, on the thread that measured. Set once, before the first Refresh.
  void ObserveMeasures(std::function<void(const DiskSpace&)> observer);
  // RESOURCE_EXHAUSTED when `more_bytes` would not leave the reserve, as last measured.
  absl::Status Check(int64_t more_bytes) const { return CheckLeaves(reserve_bytes_, more_bytes); }
  // The same for writes that nobody waits for, and for those that free space.
  absl::Status CheckOwnWrite() const { return CheckLeaves(reserve_bytes_ / 4, 0); }
  absl::Status CheckRelease() const { return CheckLeaves(reserve_bytes_ / 16, 0); }
  DiskSpace Space() const;
  int64_t reserve_bytes() const { return reserve_bytes_; }

  static constexpr std::chrono::milliseconds kMeasurePeriod{100};

 private:
  absl::Status CheckLeaves(int64_t reserve_bytes, int64_t more_bytes) const;

  const Measure measure_;
  const int64_t reserve_bytes_;
  std::function<void(const DiskSpace&)> observer_;
  mutable base::Mutex mutex_;
  DiskSpace space_ ABSL_GUARDED_BY(mutex_);
  bool measured_ ABSL_GUARDED_BY(mutex_) = false;
  std::chrono::steady_clock::time_point measured_at_ ABSL_GUARDED_BY(mutex_);
};

DiskWatch::Measure MeasureFolder(const std::string& folder);

}  // namespace engram::storage
