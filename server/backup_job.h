// Backups on request: one at a time, on a thread of its own, into the folder of the config; the
// oldest beyond `backups.kept` go when a new one is whole.
//
// Threading: every method from any thread; `done` is called on the job's thread. Store::BackUp
//   blocks that thread only.
// Ownership: `store` outlives the job. The destructor stops a backup that is being made.
// Failure: Make: FAILED_PRECONDITION or INVALID_ARGUMENT "backups.folder: ..." for a folder that
//   cannot be used. Create: what Admin.CreateBackup says.
// Bounds: one backup at a time, none waits.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engram/v1/admin.pb.h"
#include "engram/v1/config.pb.h"
#include "storage/backup/backup_root.h"
#include "storage/base/mutex.h"
#include "storage/store.h"

namespace engram::server {

// For metrics.
struct BackupCounts {
  int64_t kept = 0;
  // Of the newest; 0 when there is none.
  int64_t newest_time_ms = 0;
  int64_t newest_bytes = 0;
  // Of the last one since start: all of it, and how long writes waited; 0 when there is none.
  double last_seconds = 0;
  double last_pause_seconds = 0;
  uint64_t failures = 0;
};

class BackupJob {
 public:
  using Done = std::function<void(const absl::StatusOr<v1::Backup>&)>;

  // Null when no folder is configured.
  static absl::StatusOr<std::unique_ptr<BackupJob>> Make(const v1::ServerConfig& config,
                                                         const std::string& data_folder,
                                                         storage::Store* store);
  ~BackupJob();
  BackupJob(const BackupJob&) = delete;
  BackupJob& operator=(const BackupJob&) = delete;

  // `name` may be empty. Refusals come at once, on this thread. `done` must not call back.
  void Create(std::string name, Done done) ABSL_LOCKS_EXCLUDED(mutex_);
  // The one that is being made ends with CANCELLED, soon; no other begins.
  void Stop() ABSL_LOCKS_EXCLUDED(mutex_);
  BackupCounts Counts() const ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  BackupJob(std::unique_ptr<storage::BackupRoot> root, int kept, storage::Store* store)
      : root_(std::move(root)), kept_(kept), store_(store) {}

  absl::Status Begin(const std::string& name) ABSL_LOCKS_EXCLUDED(mutex_);
  void Run(const std::string& name, const Done& done) ABSL_LOCKS_EXCLUDED(mutex_);
  absl::StatusOr<v1::Backup> BackUp(const std::string& name);
  // The names that went.
  absl::StatusOr<std::vector<std::string>> RemoveOldest();
  absl::Status CountKept() ABSL_LOCKS_EXCLUDED(mutex_);

  const std::unique_ptr<storage::BackupRoot> root_;
  const int kept_;
  storage::Store* const store_;
  std::atomic<bool> stopping_{false};
  mutable base::Mutex mutex_;
  std::string making_ ABSL_GUARDED_BY(mutex_);  // empty: none
  BackupCounts counts_ ABSL_GUARDED_BY(mutex_);
  std::thread thread_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace engram::server
