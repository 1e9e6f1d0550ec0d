#include "storage/backup/backup_root.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <map>
#include <system_error>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "storage/base/status_macros.h"
#include "storage/owned_file.h"
#include "storage/store_folder.h"

namespace engram::storage {
namespace {

namespace fs = std::filesystem;

constexpr absl::string_view kManifestFile = "manifest";
constexpr absl::string_view kStoreFolder = "store";
constexpr absl::string_view kMaking = ".making-";
constexpr absl::string_view kRemoving = ".removing-";
constexpr absl::string_view kRestoring = ".restoring";
constexpr mode_t kFolderMode = 0700;

std::string In(const std::string& folder, absl::string_view name) {
  return absl::StrCat(folder, "/", name);
}

// One level of a folder, without what "." and ".." are.
absl::StatusOr<std::vector<std::string>> Entries(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code failed;
  for (fs::directory_iterator at(folder, failed), end; !failed && at != end; at.increment(failed)) {
    names.push_back(at->path().filename().string());
  }
  if (failed) return ErrnoStatus(failed.value(), "cannot list the folder of backups");
  return names;
}

std::string Canonical(const std::string& path) {
  std::error_code failed;
  const fs::path canonical = fs::weakly_canonical(path, failed);
  return absl::StrCat((failed ? fs::path(path) : canonical).string(), "/");
}

absl::Status CheckPlace(const std::string& path, const std::string& data_folder) {
  if (!absl::StartsWith(path, "/")) {
    return absl::InvalidArgumentError("expected an absolute path");
  }
  const std::string backups = Canonical(path);
  const std::string store = Canonical(data_folder);
  if (absl::StartsWith(backups, store) || absl::StartsWith(store, backups)) {
    return absl::InvalidArgumentError("must lie outside of the data folder, and not hold it");
  }
  return absl::OkStatus();
}

absl::StatusOr<int> OpenFolder(const std::string& path) {
  const int folder = ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
  if (folder >= 0) return folder;
  if (errno == ELOOP || errno == ENOTDIR) {
    return absl::FailedPreconditionError("is a symbolic link or no folder");
  }
  return ErrnoStatus(errno, "cannot open it");
}

absl::Status CheckMode(int folder) {
  struct stat facts {};
  if (::fstat(folder, &facts) != 0) return ErrnoStatus(errno, "cannot look at it");
  if ((facts.st_mode & (S_IWGRP | S_IWOTH)) == 0) return absl::OkStatus();
  return absl::FailedPreconditionError("may be written by others; expected mode 0700");
}

// Afresh, whatever a restore that was killed left.
absl::StatusOr<int> ClaimRestoring(const std::string& making) {
  ENGRAM_RETURN_IF_ERROR(RemoveTree(making));
  if (::mkdir(making.c_str(), kFolderMode) != 0) return ErrnoStatus(errno, "cannot make a folder");
  return OpenFolder(making);
}

// A running restore holds its folder.
absl::Status CheckNoOtherRestores(const std::string& making) {
  const OwnedFile folder(::open(making.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW));
  if (!folder.ok() && errno == ENOENT) return absl::OkStatus();
  if (folder.ok() && ::flock(folder.get(), LOCK_EX | LOCK_NB) == 0) return absl::OkStatus();
  return absl::FailedPreconditionError("another restore to this data folder is under way");
}

absl::Status CheckTarget(const std::string& data_folder) {
  std::error_code failed;
  const fs::file_status found = fs::symlink_status(data_folder, failed);
  if (found.type() == fs::file_type::not_found) return absl::OkStatus();
  const bool empty = found.type() == fs::file_type::directory &&
                     fs::is_empty(data_folder, failed) && !failed;
  if (empty) return absl::OkStatus();
  return absl::FailedPreconditionError(
      "the data folder is there and not empty; move it away or give another");
}

absl::Status Place(const std::string& making, const std::string& data_folder,
                   const std::string& parent) {
  ENGRAM_RETURN_IF_ERROR(SyncFolders(making));
  if (std::rename(making.c_str(), data_folder.c_str()) != 0) {
    return ErrnoStatus(errno, "cannot rename a finished copy to its place");
  }
  return SyncFolder(parent);
}

absl::Status CopyVerified(const BackupManifest& manifest, const std::string& store,
                          const std::string& target, const Cancelled& cancelled) {
  for (const BackedUpFile& file : manifest.files) {
    ENGRAM_ASSIGN_OR_RETURN(const BackedUpFile copied,
                            CopyFile(store, file.path, target, cancelled));
    ENGRAM_RETURN_IF_ERROR(CheckSum(file, copied));
  }
  ENGRAM_ASSIGN_OR_RETURN(const int format, ReadStoreFormat(target));
  if (format != 0) return absl::OkStatus();
  return absl::DataLossError("the backup holds no file FORMAT, so it is no store");
}

// The files, and behind them the manifest.
absl::Status FillBackup(const std::string& source, const std::string& making,
                        const std::vector<BackedUpFile>& expected, const Cancelled& cancelled,
                        BackupManifest* manifest) {
  std::map<std::string, const BackedUpFile*> sums;
  for (const BackedUpFile& file : expected) sums[file.path] = &file;
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<std::string> paths, ListFiles(source));
  for (const std::string& path : paths) {
    ENGRAM_ASSIGN_OR_RETURN(BackedUpFile file,
                            CopyFile(source, path, In(making, kStoreFolder), cancelled));
    const auto sum = sums.find(path);
    if (sum != sums.end()) {
      ENGRAM_RETURN_IF_ERROR(CheckSum(*sum->second, file));
      sums.erase(sum);
    }
    manifest->files.push_back(std::move(file));
  }
  if (!sums.empty()) {
    return absl::DataLossError(absl::StrCat(sums.begin()->first, ": the file is missing"));
  }
  return WriteSynced(In(making, kManifestFile), EncodeManifest(*manifest));
}

std::string WithoutSlash(std::string path) {
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

}  // namespace

absl::StatusOr<std::unique_ptr<BackupRoot>> BackupRoot::Open(const std::string& given,
                                                             const std::string& data_folder) {
  const std::string path = WithoutSlash(given);
  ENGRAM_RETURN_IF_ERROR(CheckPlace(path, data_folder));
  if (::mkdir(path.c_str(), kFolderMode) != 0 && errno != EEXIST) {
    return ErrnoStatus(errno, "cannot make it");
  }
  ENGRAM_ASSIGN_OR_RETURN(const int folder, OpenFolder(path));
  std::unique_ptr<BackupRoot> root(new BackupRoot(path, folder));
  ENGRAM_RETURN_IF_ERROR(CheckMode(folder));
  if (::flock(folder, LOCK_EX | LOCK_NB) != 0) {
    return absl::FailedPreconditionError("is in use by another server");
  }
  ENGRAM_RETURN_IF_ERROR(root->Sweep());
  return root;
}

BackupRoot::~BackupRoot() { ::close(lock_); }

absl::Status BackupRoot::Sweep() const {
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<std::string> names, Entries(path_));
  for (const std::string& name : names) {
    if (absl::StartsWith(name, kMaking) || absl::StartsWith(name, kRemoving)) {
      ENGRAM_RETURN_IF_ERROR(RemoveTree(In(path_, name)));
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<BackupManifest>> BackupRoot::List() const {
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<std::string> names, Entries(path_));
  std::vector<BackupManifest> whole;
  for (const std::string& name : names) {
    if (!IsBackupName(name)) continue;
    absl::StatusOr<BackupManifest> manifest = ReadManifest(In(path_, name));
    if (manifest.ok() && manifest->name == name) whole.push_back(*std::move(manifest));
  }
  std::sort(whole.begin(), whole.end(), [](const BackupManifest& a, const BackupManifest& b) {
    return std::make_pair(a.create_time_ms, a.name) < std::make_pair(b.create_time_ms, b.name);
  });
  return whole;
}

bool BackupRoot::Has(const std::string& name) const {
  std::error_code failed;
  return fs::symlink_status(In(path_, name), failed).type() != fs::file_type::not_found;
}

// By another name first: what is half removed is no backup.
absl::Status BackupRoot::Remove(const std::string& name) const {
  const std::string going = In(path_, absl::StrCat(kRemoving, name));
  if (std::rename(In(path_, name).c_str(), going.c_str()) != 0) {
    return ErrnoStatus(errno, "cannot remove a backup");
  }
  ENGRAM_RETURN_IF_ERROR(SyncFolder(path_));
  return RemoveTree(going);
}

absl::StatusOr<BackupManifest> WriteBackup(const std::string& source, const std::string& root,
                                           const std::vector<BackedUpFile>& expected,
                                           BackupManifest manifest, const Cancelled& cancelled) {
  const std::string making = In(root, absl::StrCat(kMaking, manifest.name));
  ENGRAM_RETURN_IF_ERROR(RemoveTree(making));
  if (::mkdir(making.c_str(), kFolderMode) != 0) return ErrnoStatus(errno, "cannot make a folder");
  absl::Status written = FillBackup(source, making, expected, cancelled, &manifest);
  if (written.ok()) written = Place(making, In(root, manifest.name), root);
  if (written.ok()) return manifest;
  RemoveTree(making).IgnoreError();
  return written;
}
absl::StatusOr<BackupManifest> ReadManifest(const std::string& backup) {
  const OwnedFile file(::open(In(backup, kManifestFile).c_str(),
                              O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!file.ok()) {
    return absl::FailedPreconditionError(
        "no whole backup: it has no manifest, which is written last");
  }
  struct stat facts {};
  if (::fstat(file.get(), &facts) != 0) return ErrnoStatus(errno, "cannot look at the manifest");
  if (!S_ISREG(facts.st_mode) || facts.st_size > kManifestBytesMax) {
    return absl::DataLossError("the backup's manifest is damaged: its size");
  }
  ENGRAM_ASSIGN_OR_RETURN(const std::string text, ReadWhole(file.get(), "the manifest"));
  return ParseManifest(text);
}

absl::StatusOr<BackupManifest> VerifyBackup(const std::string& backup,
                                            const Cancelled& cancelled) {
  ENGRAM_ASSIGN_OR_RETURN(BackupManifest manifest, ReadManifest(backup));
  for (const BackedUpFile& file : manifest.files) {
    ENGRAM_ASSIGN_OR_RETURN(const BackedUpFile found,
                            SumFile(In(backup, kStoreFolder), file.path, cancelled));
    ENGRAM_RETURN_IF_ERROR(CheckSum(file, found));
  }
  return manifest;
}

absl::StatusOr<BackupManifest> RestoreBackup(const std::string& backup, const std::string& given,
                                             const Cancelled& cancelled) {
  const std::string data_folder = WithoutSlash(given);
  if (data_folder.empty()) return absl::InvalidArgumentError("the data folder: empty path");
  ENGRAM_ASSIGN_OR_RETURN(BackupManifest manifest, ReadManifest(backup));
  ENGRAM_RETURN_IF_ERROR(CheckTarget(data_folder));
  std::string parent = fs::path(data_folder).parent_path().string();
  if (parent.empty()) parent = ".";
  ENGRAM_RETURN_IF_ERROR(AskForRoom(parent, manifest.Bytes(), 0));
  const std::string making = absl::StrCat(data_folder, kRestoring);
  ENGRAM_RETURN_IF_ERROR(CheckNoOtherRestores(making));
  ENGRAM_ASSIGN_OR_RETURN(const int claimed, ClaimRestoring(making));
  const OwnedFile claim(claimed);
  if (::flock(claim.get(), LOCK_EX | LOCK_NB) != 0) {
    return absl::FailedPreconditionError("another restore to this data folder is under way");
  }
  absl::Status restored = CopyVerified(manifest, In(backup, kStoreFolder), making, cancelled);
  if (restored.ok()) restored = Place(making, data_folder, parent);
  if (restored.ok()) return manifest;
  RemoveTree(making).IgnoreError();
  return restored;
}

}  // namespace engram::storage
