#include "server/rotating_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "server/small_file.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

absl::Status Failed(const std::string& name, absl::string_view what) {
  const std::string text = absl::StrCat(name, ": cannot ", what, ": ", strerror(errno));
  return errno == ENOSPC ? absl::ResourceExhaustedError(text) : absl::UnavailableError(text);
}

absl::Status SyncFolder(const std::string& folder) {
  const int directory = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) return Failed("audit", "open the folder");
  const absl::Cleanup closer = [directory] { close(directory); };
  return fsync(directory) == 0 ? absl::OkStatus() : Failed("audit", "sync the folder");
}

}  // namespace

absl::StatusOr<std::unique_ptr<RotatingFile>> RotatingFile::Open(RotatingFileOptions options) {
  std::unique_ptr<RotatingFile> made(new RotatingFile(std::move(options)));
  ENGRAM_RETURN_IF_ERROR(made->OpenCurrent());
  return made;
}

RotatingFile::~RotatingFile() {
  if (file_ >= 0) close(file_);
}

std::string RotatingFile::Name(int age) const {
  return age == 0 ? absl::StrCat(options_.stem, ".jsonl")
                  : absl::StrCat(options_.stem, ".", age, ".jsonl");
}

std::string RotatingFile::Path(int age) const {
  return absl::StrCat(options_.folder, "/", Name(age));
}

absl::Status RotatingFile::OpenCurrent() {
  file_ = open(Path(0).c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (file_ < 0) return Failed(Name(0), "open");
  struct stat facts = {};
  if (fstat(file_, &facts) != 0) return Failed(Name(0), "stat");
  bytes_ = facts.st_size;
  char last = '\n';
  if (bytes_ > 0 && pread(file_, &last, 1, bytes_ - 1) != 1) return Failed(Name(0), "read");
  line_open_ = last != '\n';
  return SyncFolder(options_.folder);
}

absl::Status RotatingFile::Append(absl::string_view lines) {
  if (file_ < 0) ENGRAM_RETURN_IF_ERROR(OpenCurrent());
  const std::string bytes = absl::StrCat(line_open_ ? "\n" : "", lines);
  line_open_ = true;
  for (absl::string_view left = bytes; !left.empty();) {
    const ssize_t written = write(file_, left.data(), left.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return Failed(Name(0), "write");
    bytes_ += written;
    left.remove_prefix(static_cast<size_t>(written));
  }
  line_open_ = false;
  if (fdatasync(file_) != 0) return Failed(Name(0), "sync");
  return bytes_ < options_.file_bytes ? absl::OkStatus() : Rotate();
}

absl::Status RotatingFile::Rotate() {
  close(file_);
  file_ = -1;
  for (int age = options_.files - 1; age > 0; --age) {
    if (rename(Path(age - 1).c_str(), Path(age).c_str()) != 0 && errno != ENOENT) {
      return Failed(Name(age - 1), "rename");
    }
  }
  return OpenCurrent();
}

void RotatingFile::ReadBack(const std::function<bool(absl::string_view)>& take) const {
  for (int age = 0; age < options_.files; ++age) {
    const auto text = ReadSmallFile(options_.folder, Name(age));
    if (!text.ok() || !text->has_value()) continue;
    absl::string_view left = **text;
    while (!left.empty()) {
      const size_t end = left.rfind('\n');
      if (end == absl::string_view::npos) break;
      // What stands behind the last end is the start of a line that never came.
      left = left.substr(0, end);
      const size_t begin = left.rfind('\n');
      const absl::string_view line =
          begin == absl::string_view::npos ? left : left.substr(begin + 1);
      if (!line.empty() && !take(line)) return;
      left = begin == absl::string_view::npos ? absl::string_view() : left.substr(0, begin + 1);
    }
  }
}

}  // namespace engram::server
