#include "storage/rocksdb_backup.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <memory>
#include <set>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "storage/backup/backup_root.h"
#include "storage/base/status_macros.h"
#include "storage/base/thread_priority.h"
#include "storage/checkpoint_folder.h"
#include "storage/high_water.h"
#include "storage/manifest_mark.h"
#include "storage/owned_file.h"
#include "storage/rocksdb_checkpoint_store.h"
#include "storage/rocksdb_inspection.h"
#include "storage/rocksdb_model_catalog.h"
#include "storage/rocksdb_sample_log.h"
#include "storage/store_folder.h"

namespace engram::storage {
namespace {

namespace fs = std::filesystem;

constexpr mode_t kFolderMode = 0700;
constexpr absl::string_view kTensorSuffix = ".safetensors";
constexpr int kBesideTries = 10;

std::string StagingOf(const std::string& folder) {
  return absl::StrCat(folder, "/backup-staging");
}

std::string TensorPath(absl::string_view root, ModelUid model, absl::string_view file) {
  return absl::StrCat(root, "/", model, "/", file);
}

// Every finished tensor file below FOLDER/ROOT, again below STAGING/ROOT.
absl::Status LinkTensors(const std::string& folder, const std::string& staging,
                         const std::string& root) {
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<std::string> paths,
                          ListFiles(absl::StrCat(folder, "/", root)));
  for (const std::string& path : paths) {
    if (!absl::EndsWith(path, kTensorSuffix)) continue;
    const std::string place = absl::StrCat(staging, "/", root, "/", path);
    std::error_code failed;
    fs::create_directories(fs::path(place).parent_path(), failed);
    if (failed) return ErrnoStatus(failed.value(), "cannot stage a backup");
    const std::string from = absl::StrCat(folder, "/", root, "/", path);
    // One that goes in this moment has no row any more.
    if (::link(from.c_str(), place.c_str()) != 0 && errno != ENOENT) {
      return ErrnoStatus(errno, "cannot stage a tensor file");
    }
  }
  return absl::OkStatus();
}

// A file that only grows is copied up to where it was.
absl::Status StageFile(const rocksdb::LiveFileStorageInfo& file, const std::string& db_folder) {
  const std::string from = absl::StrCat(file.directory, "/", file.relative_filename);
  const std::string place = absl::StrCat(db_folder, "/", file.relative_filename);
  if (!file.replacement_contents.empty()) return WriteSynced(place, file.replacement_contents);
  std::error_code failed;
  if (file.trim_to_size) {
    fs::copy_file(from, place, failed);
    if (!failed) fs::resize_file(place, file.size, failed);
  } else {
    fs::create_hard_link(from, place, failed);
  }
  return failed ? ErrnoStatus(failed.value(), "cannot stage the database") : absl::OkStatus();
}

using Numbered = std::vector<std::pair<std::string, ino_t>>;

// Files by their numbers. As long as it holds them open no other file gets one of these.
class HeldFiles {
 public:
  HeldFiles(const std::string& folder, const std::vector<std::string>& paths) {
    for (const std::string& path : paths) {
      const int file = ::open(absl::StrCat(folder, "/", path).c_str(),
                              O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
      files_.push_back(std::make_unique<OwnedFile>(file));
      struct stat facts {};
      const bool found = ::fstat(file, &facts) == 0;
      numbered_.emplace_back(path, found ? facts.st_ino : 0);
    }
  }
  const Numbered& numbered() const { return numbered_; }

 private:
  std::vector<std::unique_ptr<OwnedFile>> files_;
  Numbered numbered_;
};

// Which files are called so now.
Numbered Identify(const std::string& folder, const std::vector<std::string>& paths) {
  Numbered files;
  for (const std::string& path : paths) {
    struct stat facts {};
    const bool found = ::lstat(absl::StrCat(folder, "/", path).c_str(), &facts) == 0;
    files.emplace_back(path, found ? facts.st_ino : 0);
  }
  return files;
}

// The regular files that FOLDER/NAME is or holds, by their path in `folder`.
absl::StatusOr<std::vector<std::string>> FilesBeside(const std::string& folder,
                                                     const std::string& name) {
  const std::string place = absl::StrCat(folder, "/", name);
  std::error_code failed;
  const fs::file_type type = fs::symlink_status(place, failed).type();
  if (type == fs::file_type::regular) return std::vector<std::string>{name};
  if (type != fs::file_type::directory) return std::vector<std::string>();
  ENGRAM_ASSIGN_OR_RETURN(std::vector<std::string> paths, ListFiles(place));
  for (std::string& path : paths) path = absl::StrCat(name, "/", path);
  return paths;
}

// Its owner writes on: afresh when files were renamed meanwhile, or what moved from one name to
// another would be in the copy twice, or not at all.
absl::Status StageBeside(const std::string& folder, const std::string& staging,
                         const std::string& name) {
  for (int tries = 0; tries < kBesideTries; ++tries) {
    ENGRAM_RETURN_IF_ERROR(RemoveTree(absl::StrCat(staging, "/", name)));
    ENGRAM_ASSIGN_OR_RETURN(const auto paths, FilesBeside(folder, name));
    const HeldFiles held(folder, paths);
    absl::Status copied;
    for (const std::string& path : paths) {
      copied.Update(CopyFile(folder, path, staging, nullptr).status());
    }
    ENGRAM_ASSIGN_OR_RETURN(const auto now, FilesBeside(folder, name));
    if (Identify(folder, now) == held.numbered()) return copied;
  }
  return absl::UnavailableError(
      absl::StrCat(name, ": its files changed all the while they were copied; try again"));
}

// The staged store, witness and format included. What lies beside comes first, so that it names no
// model that the copy does not have; the format last, so that it is that of everything in it.
absl::Status Stage(RocksDbEngine* engine, const std::string& folder, const std::string& staging,
                   const std::vector<std::string>& beside, double* pause_seconds) {
  ENGRAM_RETURN_IF_ERROR(RemoveTree(staging));
  if (::mkdir(staging.c_str(), kFolderMode) != 0) {
    return ErrnoStatus(errno, "cannot stage a backup");
  }
  const std::string db_folder = absl::StrCat(staging, "/db");
  if (::mkdir(db_folder.c_str(), kFolderMode) != 0) {
    return ErrnoStatus(errno, "cannot stage a backup");
  }
  for (const std::string& name : beside) {
    ENGRAM_RETURN_IF_ERROR(StageBeside(folder, staging, name));
  }
  uint64_t reached = 0;
  const auto link_tensors = [&] {
    absl::Status linked = LinkTensors(folder, staging, "checkpoints");
    if (linked.ok()) linked = LinkTensors(folder, staging, "weights");
    return linked;
  };
  ENGRAM_RETURN_IF_ERROR(
      engine->Snapshot(link_tensors, [&](const RocksDbEngine::Moment& moment) -> absl::Status {
        reached = moment.last_write;
        *pause_seconds = moment.pause.count();
        for (const rocksdb::LiveFileStorageInfo& file : moment.files) {
          ENGRAM_RETURN_IF_ERROR(StageFile(file, db_folder));
        }
        return absl::OkStatus();
      }));
  ENGRAM_RETURN_IF_ERROR(HighWater::Create(staging));
  ENGRAM_ASSIGN_OR_RETURN(const auto witness, HighWater::Open(staging));
  ENGRAM_ASSIGN_OR_RETURN(const ManifestMark mark, MarkManifest(db_folder, ManifestMark()));
  ENGRAM_RETURN_IF_ERROR(witness->Advance(reached, mark));
  ENGRAM_ASSIGN_OR_RETURN(const int format, ReadStoreFormat(folder));
  return WriteStoreFormat(staging, format);
}

// What the staged rows say: the models, and the tensor files with their sums.
struct StagedContents {
  std::vector<BackedUpModel> models;
  std::vector<BackedUpFile> tensors;
};

absl::StatusOr<StagedContents> ReadStaged(const StoreOptions& staged, const StoreHooks& hooks) {
  ENGRAM_ASSIGN_OR_RETURN(const auto engine, RocksDbEngine::OpenForReading(staged.folder, hooks));
  DiskWatch disk(MeasureFolder(staged.folder), 0);
  RocksDbModelCatalog catalog(engine.get(), &disk, staged);
  RocksDbCheckpointStore checkpoints(engine.get(), &disk, staged);
  RocksDbSampleLog log(engine.get(), &disk, staged);
  ENGRAM_RETURN_IF_ERROR(catalog.Recover());
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<ModelRow> rows, catalog.List());
  StagedContents contents;
  for (const ModelRow& model : rows) {
    ENGRAM_RETURN_IF_ERROR(log.Open(model.uid));
    contents.models.push_back({model.uid, model.name, log.DurableSequence(model.uid)});
    if (model.weights.has_value()) {
      contents.tensors.push_back({TensorPath("weights", model.uid, model.weights->file),
                                  model.weights->bytes, model.weights->sha256});
    }
    ENGRAM_ASSIGN_OR_RETURN(const auto kept, checkpoints.List(model.uid));
    for (const CheckpointRow& row : kept) {
      contents.tensors.push_back(
          {TensorPath("checkpoints", model.uid, row.file), row.bytes, row.sha256});
    }
  }
  return contents;
}

// Files without a row go, as a sweep at open would have it; so do RocksDB's text logs and locks.
absl::Status Prune(const std::string& staging, const std::vector<BackedUpFile>& named) {
  std::set<std::string> kept;
  for (const BackedUpFile& file : named) kept.insert(file.path);
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<std::string> paths, ListFiles(staging));
  for (const std::string& path : paths) {
    const bool tensors = absl::EndsWith(path, kTensorSuffix) && kept.count(path) == 0;
    const bool text = absl::StartsWith(path, "db/LOG") || absl::StartsWith(path, "db/LOCK");
    if ((tensors || text) && ::unlink(absl::StrCat(staging, "/", path).c_str()) != 0) {
      return ErrnoStatus(errno, "cannot prune a staged backup");
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<int64_t> SizeOf(const std::string& folder) {
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<std::string> paths, ListFiles(folder));
  int64_t bytes = 0;
  for (const std::string& path : paths) {
    std::error_code failed;
    bytes += static_cast<int64_t>(fs::file_size(absl::StrCat(folder, "/", path), failed));
    if (failed) return ErrnoStatus(failed.value(), "cannot look at a staged backup");
  }
  return bytes;
}

absl::StatusOr<BackupManifest> CopyStaged(const StoreOptions& options, const StoreHooks& hooks,
                                          const BackupRequest& request,
                                          const std::string& staging) {
  BackupManifest manifest;
  manifest.name = request.name;
  manifest.create_time_ms = options.now_ms();
  StoreOptions staged = options;
  staged.folder = staging;
  ENGRAM_RETURN_IF_ERROR(InspectStore(staged, hooks));
  ENGRAM_ASSIGN_OR_RETURN(StagedContents contents, ReadStaged(staged, hooks));
  manifest.models = std::move(contents.models);
  ENGRAM_RETURN_IF_ERROR(Prune(staging, contents.tensors));
  ENGRAM_ASSIGN_OR_RETURN(const int64_t bytes, SizeOf(staging));
  ENGRAM_RETURN_IF_ERROR(AskForRoom(request.root, bytes, options.disk_reserve_bytes));
  return WriteBackup(staging, request.root, contents.tensors, std::move(manifest),
                     request.cancelled);
}

}  // namespace

absl::StatusOr<BackupManifest> BackUpStore(RocksDbEngine* engine, DiskWatch* disk,
                                           const StoreOptions& options, const StoreHooks& hooks,
                                           const BackupRequest& request) {
  // A flush that meets a full disk keeps every write waiting until there is room.
  disk->Refresh();
  ENGRAM_RETURN_IF_ERROR(disk->Check(0));
  const std::string staging = StagingOf(options.folder);
  double pause_seconds = 0;
  absl::Status staged = Stage(engine, options.folder, staging, request.beside, &pause_seconds);
  // Not before: while writes wait for this thread it must not wait for training.
  (void)base::LowerThreadPriority(base::ThreadPriority::kTrain);
  absl::StatusOr<BackupManifest> copied =
      staged.ok() ? CopyStaged(options, hooks, request, staging) : staged;
  if (copied.ok()) copied->pause_seconds = pause_seconds;
  const absl::Status removed = RemoveTree(staging);
  if (copied.ok() && !removed.ok()) return removed;
  if (!absl::IsDataLoss(copied.status())) return copied;
  return absl::DataLossError(
      absl::StrCat("no backup of damaged state: ", copied.status().message()));
}

absl::Status SweepBackupStaging(const std::string& folder) { return RemoveTree(StagingOf(folder)); }

}  // namespace engram::storage
