// The folder of a server's backups: ROOT/NAME is a whole backup, ROOT/.making-NAME one that is on
// its way, or was when the server died. A backup holds `manifest` and, under `store/`, the files.
//
// Threading: every method from any thread, but one Write or Remove at a time.
// Ownership: holds the folder for itself (flock) until destroyed.
// Failure: INVALID_ARGUMENT for a path that cannot be one, FAILED_PRECONDITION for a folder that is
//   a link, that others may write or that another server uses; what backup_files.h says.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/backup/backup_files.h"
#include "storage/backup/backup_manifest.h"

namespace engram::storage {

class BackupRoot {
 public:
  // Makes the folder when it is missing, and removes what was not finished. It may not lie in
  // `data_folder`, nor hold it.
  static absl::StatusOr<std::unique_ptr<BackupRoot>> Open(const std::string& path,
                                                          const std::string& data_folder);
  ~BackupRoot();
  BackupRoot(const BackupRoot&) = delete;
  BackupRoot& operator=(const BackupRoot&) = delete;

  const std::string& path() const { return path_; }
  // The whole ones, oldest first. What cannot be read as a backup is not in the list.
  absl::StatusOr<std::vector<BackupManifest>> List() const;
  // A name that is taken, also by a folder that is no backup.
  bool Has(const std::string& name) const;
  absl::Status Remove(const std::string& name) const;

 private:
  BackupRoot(std::string path, int lock) : path_(std::move(path)), lock_(lock) {}
  absl::Status Sweep() const;

  const std::string path_;
  const int lock_;
};

// Copies the files of `source` to ROOT/NAME, which appears whole by a rename. `expected` are sums
// that some of them must have; the manifest's files are filled in.
absl::StatusOr<BackupManifest> WriteBackup(const std::string& source, const std::string& root,
                                           const std::vector<BackedUpFile>& expected,
                                           BackupManifest manifest, const Cancelled& cancelled);

absl::StatusOr<BackupManifest> ReadManifest(const std::string& backup);

// Reads every file of a backup against its manifest: DATA_LOSS names the first that is missing or
// not what it was.
absl::StatusOr<BackupManifest> VerifyBackup(const std::string& backup, const Cancelled& cancelled);

// Makes `data_folder` from a backup, verifying each file on its way. The folder appears whole by a
// rename, or not at all; a restore that was killed leaves DATA_FOLDER.restoring, which the next one
// replaces. FAILED_PRECONDITION when `data_folder` is there and not empty.
absl::StatusOr<BackupManifest> RestoreBackup(const std::string& backup,
                                             const std::string& data_folder,
                                             const Cancelled& cancelled);

}  // namespace engram::storage
