#include "storage/backup/backup_files.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <system_error>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"
#include "storage/base/status_macros.h"
#include "storage/owned_file.h"
#include "storage/sha256.h"
#include "storage/store_folder.h"

namespace engram::storage {
namespace {

namespace fs = std::filesystem;

constexpr size_t kPieceBytes = 1 << 20;
constexpr mode_t kFileMode = 0600;
constexpr mode_t kFolderMode = 0700;

absl::Status Failure(const std::error_code& error, absl::string_view what) {
  return ErrnoStatus(error.value(), what);
}

absl::Status OpenFailure(int error, const std::string& path) {
  if (error == ENOENT) return absl::DataLossError(absl::StrCat(path, ": the file is missing"));
  if (error == ELOOP || error == ENOTDIR) {
    return absl::FailedPreconditionError(absl::StrCat(path, ": not a regular file"));
  }
  return ErrnoStatus(error, absl::StrCat("cannot open ", path));
}

absl::Status WriteAll(int file, absl::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(file, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return ErrnoStatus(errno, "cannot write a copy");
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return absl::OkStatus();
}

using Take = absl::FunctionRef<absl::Status(absl::string_view piece)>;

absl::StatusOr<BackedUpFile> ReadSummed(const std::string& folder, const std::string& path,
                                        const Cancelled& cancelled, Take take) {
  const OwnedFile source(::open(absl::StrCat(folder, "/", path).c_str(),
                                O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
  if (!source.ok()) return OpenFailure(errno, path);
  struct stat facts {};
  if (::fstat(source.get(), &facts) != 0) return ErrnoStatus(errno, "cannot look at a file");
  if (!S_ISREG(facts.st_mode)) return OpenFailure(ELOOP, path);
  BackedUpFile found{path, 0, ""};
  Sha256 sum;
  const std::unique_ptr<char[]> piece(new char[kPieceBytes]);
  while (true) {
    if (cancelled != nullptr && cancelled()) return absl::CancelledError("the copy was stopped");
    const ssize_t size = ::read(source.get(), piece.get(), kPieceBytes);
    if (size < 0 && errno == EINTR) continue;
    if (size < 0) return ErrnoStatus(errno, absl::StrCat("cannot read ", path));
    if (size == 0) break;
    const absl::string_view bytes(piece.get(), static_cast<size_t>(size));
    sum.Update(bytes);
    found.bytes += size;
    ENGRAM_RETURN_IF_ERROR(take(bytes));
  }
  found.sha256 = sum.Hex();
  return found;
}

// For the owner alone, whatever the umask.
absl::Status MakeFolders(const fs::path& folder) {
  if (::mkdir(folder.c_str(), kFolderMode) == 0 || errno == EEXIST) return absl::OkStatus();
  if (errno != ENOENT) return ErrnoStatus(errno, "cannot make a folder of copies");
  ENGRAM_RETURN_IF_ERROR(MakeFolders(folder.parent_path()));
  return MakeFolders(folder);
}

absl::StatusOr<int> MakeFile(const std::string& path) {
  const int file =
      ::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, kFileMode);
  if (file < 0) return ErrnoStatus(errno, "cannot make a copy");
  return file;
}

}  // namespace

absl::StatusOr<BackedUpFile> SumFile(const std::string& folder, const std::string& path,
                                     const Cancelled& cancelled) {
  return ReadSummed(folder, path, cancelled, [](absl::string_view) { return absl::OkStatus(); });
}

absl::StatusOr<BackedUpFile> CopyFile(const std::string& folder, const std::string& path,
                                      const std::string& target, const Cancelled& cancelled) {
  const std::string place = absl::StrCat(target, "/", path);
  ENGRAM_RETURN_IF_ERROR(MakeFolders(fs::path(place).parent_path()));
  ENGRAM_ASSIGN_OR_RETURN(const int made, MakeFile(place));
  const OwnedFile copy(made);
  ENGRAM_ASSIGN_OR_RETURN(
      BackedUpFile found,
      ReadSummed(folder, path, cancelled,
                 [&copy](absl::string_view piece) { return WriteAll(copy.get(), piece); }));
  if (::fsync(copy.get()) != 0) return ErrnoStatus(errno, "cannot sync a copy");
  return found;
}

absl::Status CheckSum(const BackedUpFile& expected, const BackedUpFile& found) {
  if (found.bytes != expected.bytes) {
    return absl::DataLossError(absl::StrCat(expected.path, ": expected ", expected.bytes,
                                            " bytes, found ", found.bytes));
  }
  if (found.sha256 == expected.sha256) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(expected.path, ": sha256 expected ", expected.sha256,
                                          ", found ", found.sha256));
}

absl::Status WriteSynced(const std::string& path, absl::string_view text) {
  ENGRAM_ASSIGN_OR_RETURN(const int made, MakeFile(path));
  const OwnedFile file(made);
  ENGRAM_RETURN_IF_ERROR(WriteAll(file.get(), text));
  return ::fsync(file.get()) == 0 ? absl::OkStatus() : ErrnoStatus(errno, "cannot sync a file");
}

absl::StatusOr<std::vector<std::string>> ListFiles(const std::string& folder) {
  std::vector<std::string> paths;
  std::error_code failed;
  for (fs::recursive_directory_iterator at(folder, failed), end; !failed && at != end;
       at.increment(failed)) {
    if (at->symlink_status().type() != fs::file_type::regular) continue;
    paths.push_back(at->path().lexically_relative(folder).string());
  }
  if (failed) return Failure(failed, "cannot list the files of a copy");
  std::sort(paths.begin(), paths.end());
  return paths;
}

absl::Status SyncFolders(const std::string& folder) {
  std::error_code failed;
  for (fs::recursive_directory_iterator at(folder, failed), end; !failed && at != end;
       at.increment(failed)) {
    if (at->symlink_status().type() != fs::file_type::directory) continue;
    ENGRAM_RETURN_IF_ERROR(SyncFolder(at->path().string()));
  }
  if (failed) return Failure(failed, "cannot list the folders of a copy");
  return SyncFolder(folder);
}

absl::Status RemoveTree(const std::string& folder) {
  std::error_code failed;
  fs::remove_all(folder, failed);
  return failed ? Failure(failed, "cannot remove a folder of copies") : absl::OkStatus();
}

absl::Status AskForRoom(const std::string& folder, int64_t bytes, int64_t reserve_bytes) {
  ENGRAM_ASSIGN_OR_RETURN(const DiskSpace space, MeasureFolder(folder)());
  if (space.free_bytes - bytes >= reserve_bytes) return absl::OkStatus();
  return absl::ResourceExhaustedError(absl::StrCat(
      "the copy needs ", bytes >> 20, " MiB beside a reserve of ", reserve_bytes >> 20,
      " MiB, and ", space.free_bytes >> 20, " MiB are free on its disk"));
}

}  // namespace engram::storage
