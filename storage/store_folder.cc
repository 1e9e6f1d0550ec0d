#include "storage/store_folder.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"
#include "storage/base/status_macros.h"

namespace engram::storage {
namespace {

constexpr absl::string_view kFormatWord = "engram-store ";
constexpr absl::string_view kFolderTaken = "engram/folder-taken";  // a payload
constexpr mode_t kFolderMode = 0700;
constexpr mode_t kFileMode = 0600;

std::string FormatPath(const std::string& folder) { return absl::StrCat(folder, "/FORMAT"); }

std::string ReadSmallFile(int file) {
  char bytes[64];
  const ssize_t size = ::pread(file, bytes, sizeof(bytes), 0);
  return std::string(bytes, size > 0 ? static_cast<size_t>(size) : 0);
}

absl::Status MakeFolder(const std::string& folder) {
  for (size_t slash = folder.find('/', 1);; slash = folder.find('/', slash + 1)) {
    const std::string part = folder.substr(0, slash);
    if (::mkdir(part.c_str(), kFolderMode) != 0 && errno != EEXIST) {
      return ErrnoStatus(errno, "cannot make the data folder");
    }
    if (slash == std::string::npos) return absl::OkStatus();
  }
}

absl::Status WriteText(int file, absl::string_view text) {
  if (::ftruncate(file, 0) != 0 ||
      ::pwrite(file, text.data(), text.size(), 0) != static_cast<ssize_t>(text.size()) ||
      ::fsync(file) != 0) {
    return ErrnoStatus(errno, "cannot write in the data folder");
  }
  return absl::OkStatus();
}

absl::Status Taken(absl::Status status) {
  status.SetPayload(kFolderTaken, absl::Cord());
  return status;
}

}  // namespace

absl::Status ErrnoStatus(int error, absl::string_view what) {
  const std::string message = absl::StrCat(what, ": ", std::strerror(error));
  if (error == ENOSPC || error == EDQUOT) return absl::ResourceExhaustedError(message);
  return absl::UnavailableError(message);
}

absl::Status PrepareFolder(const std::string& folder) {
  // With a slash at its end, lstat would look behind a symlink.
  std::string path(folder);
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  if (path.empty()) return absl::InvalidArgumentError("data folder: empty path");
  struct stat found {};
  if (::lstat(path.c_str(), &found) != 0) {
    if (errno != ENOENT) return ErrnoStatus(errno, "cannot look at the data folder");
    ENGRAM_RETURN_IF_ERROR(MakeFolder(path));
    if (::lstat(path.c_str(), &found) != 0) return ErrnoStatus(errno, "data folder");
  }
  if (S_ISLNK(found.st_mode)) {
    return absl::FailedPreconditionError("data folder is a symbolic link; give the folder itself");
  }
  if (!S_ISDIR(found.st_mode)) {
    return absl::FailedPreconditionError("data folder is not a folder");
  }
  if ((found.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    return absl::FailedPreconditionError(
        absl::StrFormat("data folder may be written by others (mode %04o); expected 0700",
                        static_cast<unsigned>(found.st_mode & 07777)));
  }
  return absl::OkStatus();
}

bool IsFolderTaken(const absl::Status& status) {
  return status.GetPayload(kFolderTaken).has_value();
}

absl::StatusOr<std::unique_ptr<FolderLock>> FolderLock::Take(const std::string& folder) {
  const std::string path = absl::StrCat(folder, "/LOCK");
  const int file = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, kFileMode);
  if (file < 0) {
    return Taken(ErrnoStatus(errno, "cannot open the lock file of the data folder"));
  }
  std::unique_ptr<FolderLock> lock(new FolderLock(file));
  if (::flock(file, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return ErrnoStatus(errno, "cannot lock the data folder");
    return Taken(absl::FailedPreconditionError(absl::StrCat(
        "data folder is in use by process ", absl::StripSuffix(ReadSmallFile(file), "\n"))));
  }
  ENGRAM_RETURN_IF_ERROR(WriteText(file, absl::StrCat(::getpid(), "\n")));
  return lock;
}

FolderLock::~FolderLock() { ::close(file_); }

absl::StatusOr<int> ReadStoreFormat(const std::string& folder) {
  const int file = ::open(FormatPath(folder).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (file < 0) {
    if (errno == ENOENT) return 0;
    return ErrnoStatus(errno, "cannot read the format of the data folder");
  }
  const std::string text = ReadSmallFile(file);
  ::close(file);
  absl::string_view number = text;
  int format = 0;
  if (!absl::ConsumePrefix(&number, kFormatWord) ||
      !absl::SimpleAtoi(absl::StripSuffix(number, "\n"), &format) || format < 1) {
    return absl::DataLossError("the FORMAT file of the data folder is damaged");
  }
  if (format > kStoreFormat) {
    return absl::FailedPreconditionError(absl::StrCat(
        "the data folder has format ", format, ", newer than the supported ", kStoreFormat,
        "; use the version that wrote it, or restore a backup from before"));
  }
  return format;
}

absl::Status WriteStoreFormat(const std::string& folder, int format) {
  const std::string part = absl::StrCat(folder, "/FORMAT.part");
  const int file =
      ::open(part.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, kFileMode);
  if (file < 0) return ErrnoStatus(errno, "cannot write in the data folder");
  absl::Status written = WriteText(file, absl::StrCat(kFormatWord, format, "\n"));
  ::close(file);
  ENGRAM_RETURN_IF_ERROR(written);
  if (::rename(part.c_str(), FormatPath(folder).c_str()) != 0) {
    return ErrnoStatus(errno, "cannot write in the data folder");
  }
  return SyncFolder(folder);
}

absl::Status SyncFolder(const std::string& folder) {
  const int file = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
  if (file < 0) return ErrnoStatus(errno, "cannot open a folder");
  const int failed = ::fsync(file) != 0 ? errno : 0;
  ::close(file);
  return failed == 0 ? absl::OkStatus() : ErrnoStatus(failed, "cannot sync a folder");
}

DiskWatch::DiskWatch(Measure measure, int64_t reserve_bytes)
    : measure_(std::move(measure)), reserve_bytes_(reserve_bytes) {}

void DiskWatch::Refresh() {
  const auto now = std::chrono::steady_clock::now();
  {
    base::MutexLock lock(&mutex_);
    if (measured_ && now - measured_at_ < kMeasurePeriod) return;
    measured_ = true;
    measured_at_ = now;
  }
  absl::StatusOr<DiskSpace> space = measure_();
  if (!space.ok()) return;  // keeps the last figure: no reason to refuse a write
  {
    base::MutexLock lock(&mutex_);
    space_ = *space;
  }
  if (observer_ != nullptr) observer_(*space);
}

void DiskWatch::ObserveMeasures(std::function<void(const DiskSpace&)> observer) {
  observer_ = std::move(observer);
}

absl::Status DiskWatch::CheckLeaves(int64_t reserve_bytes, int64_t more_bytes) const {
  base::MutexLock lock(&mutex_);
  if (space_.total_bytes == 0 || space_.free_bytes - more_bytes >= reserve_bytes) {
    return absl::OkStatus();
  }
  return absl::ResourceExhaustedError(absl::StrCat(
      "free space ", space_.free_bytes >> 20, " MiB below reserve ", reserve_bytes >> 20, " MiB",
      more_bytes >= 1 << 20 ? absl::StrCat(" plus ", more_bytes >> 20, " MiB") : ""));
}

DiskSpace DiskWatch::Space() const {
  base::MutexLock lock(&mutex_);
  return space_;
}

DiskWatch::Measure MeasureFolder(const std::string& folder) {
  return [folder]() -> absl::StatusOr<DiskSpace> {
    struct statvfs disk {};
    if (::statvfs(folder.c_str(), &disk) != 0) return ErrnoStatus(errno, "statvfs");
    DiskSpace space;
    space.free_bytes = static_cast<int64_t>(disk.f_bavail) * static_cast<int64_t>(disk.f_frsize);
    space.total_bytes = static_cast<int64_t>(disk.f_blocks) * static_cast<int64_t>(disk.f_frsize);
    return space;
  };
}

}  // namespace engram::storage
