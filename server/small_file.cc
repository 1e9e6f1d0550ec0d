#include "server/small_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "absl/cleanup/cleanup.h"
#include "absl/strings/str_cat.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

absl::Status Failed(const std::string& name, absl::string_view what) {
  const std::string text = absl::StrCat(name, ": cannot ", what, ": ", strerror(errno));
  return errno == ENOSPC ? absl::ResourceExhaustedError(text) : absl::UnavailableError(text);
}

absl::Status WriteSynced(const std::string& path, const std::string& name,
                         absl::string_view bytes) {
  const int file =
      open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (file < 0) return Failed(name, "open");
  const absl::Cleanup closer = [file] { close(file); };
  while (!bytes.empty()) {
    const ssize_t written = write(file, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return Failed(name, "write");
    bytes.remove_prefix(static_cast<size_t>(written));
  }
  return fsync(file) == 0 ? absl::OkStatus() : Failed(name, "sync");
}

}  // namespace

absl::StatusOr<absl::optional<std::string>> ReadSmallFile(const std::string& folder,
                                                          const std::string& name) {
  const int file =
      open(absl::StrCat(folder, "/", name).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (file < 0 && errno == ENOENT) return absl::optional<std::string>();
  if (file < 0) return Failed(name, "open");
  const absl::Cleanup closer = [file] { close(file); };
  std::string bytes;
  char piece[4096];
  while (true) {
    const ssize_t got = read(file, piece, sizeof(piece));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return Failed(name, "read");
    if (got == 0) return absl::optional<std::string>(std::move(bytes));
    bytes.append(piece, static_cast<size_t>(got));
  }
}

absl::Status WriteSmallFile(const std::string& folder, const std::string& name,
                            absl::string_view bytes) {
  const std::string path = absl::StrCat(folder, "/", name);
  const std::string part = absl::StrCat(path, ".part");
  ENGRAM_RETURN_IF_ERROR(WriteSynced(part, name, bytes));
  if (rename(part.c_str(), path.c_str()) != 0) return Failed(name, "rename");
  const int directory = open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (directory < 0) return Failed(name, "open the folder");
  const absl::Cleanup closer = [directory] { close(directory); };
  return fsync(directory) == 0 ? absl::OkStatus() : Failed(name, "sync the folder");
}

}  // namespace engram::server
