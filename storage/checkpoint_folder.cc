#include "storage/checkpoint_folder.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "storage/base/failpoint.h"
#include "storage/base/status_macros.h"
#include "storage/checkpoint_id.h"
#include "storage/owned_file.h"
#include "storage/sha256.h"
#include "storage/store_folder.h"

namespace engram::storage {
namespace {

constexpr absl::string_view kSuffix = ".safetensors";
constexpr absl::string_view kPartSuffix = ".part";
constexpr mode_t kFolderMode = 0700;
constexpr mode_t kFileMode = 0600;

bool IsFileName(absl::string_view file) {
  return absl::ConsumeSuffix(&file, kSuffix) && IsCheckpointId(file);
}

absl::Status CheckFileName(absl::string_view file) {
  if (IsFileName(file)) return absl::OkStatus();
  return absl::InvalidArgumentError("tensor file name has invalid form");
}

int OpenFolder(const std::string& path) {
  return ::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

absl::Status OpenFailure(int error) {
  if (error == ELOOP || error == ENOTDIR) {
    return absl::FailedPreconditionError("tensor file is not a regular file");
  }
  return ErrnoStatus(error, "cannot open a tensor file");
}

absl::Status WriteAll(int file, absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(file, bytes.data(), bytes.size());
    if (written < 0) {
      if (errno == EINTR) continue;
      return ErrnoStatus(errno, "cannot write a tensor file");
    }
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  ENGRAM_RETURN_IF_ERROR(ENGRAM_FAILPOINT_STATUS("tensors.before_sync"));
  if (::fsync(file) != 0) return ErrnoStatus(errno, "cannot sync a tensor file");
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> Entries(const std::string& path) {
  std::vector<std::string> names;
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir(path.c_str()), &::closedir);
  if (folder == nullptr) return ErrnoStatus(errno, "cannot list tensor files");
  while (const dirent* entry = ::readdir(folder.get())) {
    if (entry->d_name[0] != '.') names.emplace_back(entry->d_name);
  }
  return names;
}

}  // namespace

std::string CheckpointFileName(absl::string_view id) { return absl::StrCat(id, kSuffix); }

std::string CheckpointFolder::FolderOf(ModelUid model) const {
  return absl::StrCat(root_, "/", model);
}

absl::Status CheckpointFolder::Prepare() const {
  if (::mkdir(root_.c_str(), kFolderMode) != 0 && errno != EEXIST) {
    return ErrnoStatus(errno, "cannot make the folder of tensor files");
  }
  const OwnedFile root(OpenFolder(root_));
  if (!root.ok()) {
    return absl::FailedPreconditionError("the folder of tensor files is not a folder");
  }
  // A power failure must not take the folder from under files that are synced.
  return SyncFolder(root_.substr(0, root_.rfind('/')));
}

absl::Status CheckpointFolder::Write(ModelUid model, absl::string_view file,
                                     absl::string_view bytes) const {
  ENGRAM_RETURN_IF_ERROR(CheckFileName(file));
  ENGRAM_RETURN_IF_ERROR(ENGRAM_FAILPOINT_STATUS("tensors.before_write"));
  const std::string path = FolderOf(model);
  if (::mkdir(path.c_str(), kFolderMode) == 0) {
    const absl::Status synced = SyncFolder(root_);
    if (!synced.ok()) ::rmdir(path.c_str());
    ENGRAM_RETURN_IF_ERROR(synced);
  } else if (errno != EEXIST) {
    return ErrnoStatus(errno, "cannot make a folder of tensor files");
  }
  const OwnedFile folder(OpenFolder(path));
  if (!folder.ok()) return ErrnoStatus(errno, "cannot open a folder of tensor files");
  const std::string name(file);
  const std::string part = absl::StrCat(file, kPartSuffix);
  absl::Status written;
  {
    const OwnedFile target(::openat(folder.get(), part.c_str(),
                                    O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
                                    kFileMode));
    if (!target.ok()) return ErrnoStatus(errno, "cannot make a tensor file");
    written = WriteAll(target.get(), bytes);
  }
  if (written.ok()) written = ENGRAM_FAILPOINT_STATUS("tensors.before_rename");
  if (written.ok() && ::renameat(folder.get(), part.c_str(), folder.get(), name.c_str()) != 0) {
    written = ErrnoStatus(errno, "cannot rename a tensor file");
  }
  if (!written.ok()) {
    ::unlinkat(folder.get(), part.c_str(), 0);
    return written;
  }
  ENGRAM_FAILPOINT("tensors.before_folder_sync");
  if (::fsync(folder.get()) != 0) {
    const int failed = errno;
    ::unlinkat(folder.get(), name.c_str(), 0);
    return ErrnoStatus(failed, "cannot sync a folder of tensor files");
  }
  ENGRAM_FAILPOINT("tensors.after_folder_sync");
  return absl::OkStatus();
}

absl::Status CheckpointFolder::ReadChecked(ModelUid model, absl::string_view file,
                                           const TensorSum& expected, absl::string_view name,
                                           absl::FunctionRef<void(absl::string_view)> take) const {
  ENGRAM_RETURN_IF_ERROR(CheckFileName(file));
  const OwnedFile folder(OpenFolder(FolderOf(model)));
  const int opened = !folder.ok() ? -1
                                  : ::openat(folder.get(), std::string(file).c_str(),
                                             O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
  const int error = errno;
  const OwnedFile source(opened);
  if (!source.ok() && error == ENOENT) {
    return absl::DataLossError(absl::StrCat(name, ": its file is missing"));
  }
  if (!source.ok()) return OpenFailure(error);
  struct stat facts {};
  if (::fstat(source.get(), &facts) != 0) return ErrnoStatus(errno, "cannot look at a tensor file");
  if (!S_ISREG(facts.st_mode)) {
    return absl::FailedPreconditionError("tensor file is not a regular file");
  }
  int64_t bytes = 0;
  Sha256 sha256;
  ENGRAM_RETURN_IF_ERROR(ReadPieces(source.get(), 0, static_cast<uint64_t>(facts.st_size),
                                    "a tensor file", [&](absl::string_view piece) {
                                      bytes += static_cast<int64_t>(piece.size());
                                      sha256.Update(piece);
                                      take(piece);
                                    }));
  if (bytes != expected.bytes) {
    return absl::DataLossError(
        absl::StrCat(name, ": expected ", expected.bytes, " bytes, found ", bytes));
  }
  const std::string found = sha256.Hex();
  if (found == expected.sha256) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat(name, ": sha256 expected ", expected.sha256, ", found ", found));
}

absl::StatusOr<std::string> CheckpointFolder::Read(ModelUid model, absl::string_view file,
                                                   const TensorSum& expected,
                                                   absl::string_view name) const {
  std::string bytes;
  ENGRAM_RETURN_IF_ERROR(
      ReadChecked(model, file, expected, name, [&bytes, &expected](absl::string_view piece) {
        if (bytes.empty()) bytes.reserve(static_cast<size_t>(expected.bytes));
        bytes.append(piece.data(), piece.size());
      }));
  return bytes;
}

absl::Status CheckpointFolder::Verify(ModelUid model, absl::string_view file,
                                      const TensorSum& expected, absl::string_view name) const {
  return ReadChecked(model, file, expected, name, [](absl::string_view) {});
}

absl::Status CheckpointFolder::Remove(ModelUid model, absl::string_view file) const {
  ENGRAM_RETURN_IF_ERROR(CheckFileName(file));
  const std::string path = absl::StrCat(FolderOf(model), "/", file);
  if (::unlink(path.c_str()) == 0 || errno == ENOENT) return absl::OkStatus();
  return ErrnoStatus(errno, "cannot remove a tensor file");
}

void CheckpointFolder::RemoveFolder(ModelUid model) const { ::rmdir(FolderOf(model).c_str()); }

absl::StatusOr<int64_t> CheckpointFolder::Sweep(
    const std::function<absl::StatusOr<bool>(ModelUid, absl::string_view)>& is_named) const {
  int64_t removed = 0;
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<std::string> models, Entries(root_));
  for (const std::string& name : models) {
    ModelUid model = 0;
    if (!absl::SimpleAtoi(name, &model) || name != absl::StrCat(model)) continue;
    const OwnedFile folder(OpenFolder(FolderOf(model)));
    if (!folder.ok()) continue;  // a foreign file or a link: not ours to touch
    ENGRAM_ASSIGN_OR_RETURN(const std::vector<std::string> files, Entries(FolderOf(model)));
    for (const std::string& file : files) {
      const absl::string_view finished = absl::StripSuffix(file, kPartSuffix);
      if (!IsFileName(finished)) continue;
      if (finished == file) {
        ENGRAM_ASSIGN_OR_RETURN(const bool named, is_named(model, file));
        if (named) continue;
      }
      if (::unlinkat(folder.get(), file.c_str(), 0) == 0) ++removed;
    }
    RemoveFolder(model);
  }
  return removed;
}

}  // namespace engram::storage
