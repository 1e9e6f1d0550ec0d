#include "storage/owned_file.h"

#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <limits>

#include "absl/strings/str_cat.h"
#include "storage/base/status_macros.h"
#include "storage/store_folder.h"

namespace engram::storage {
namespace {

constexpr uint64_t kPieceBytes = 1 << 20;

absl::Status CannotRead(absl::string_view what) {
  return ErrnoStatus(errno, absl::StrCat("cannot read ", what));
}

}  // namespace

absl::Status ReadPieces(int file, uint64_t begin, uint64_t end, absl::string_view what,
                        absl::FunctionRef<void(absl::string_view piece)> take) {
  std::string piece(static_cast<size_t>(std::min(kPieceBytes, end - begin)), '\0');
  while (begin < end) {
    const size_t wanted = static_cast<size_t>(std::min<uint64_t>(piece.size(), end - begin));
    const ssize_t got = ::pread(file, &piece[0], wanted, static_cast<off_t>(begin));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return CannotRead(what);
    if (got == 0) break;
    take(absl::string_view(piece).substr(0, static_cast<size_t>(got)));
    begin += static_cast<uint64_t>(got);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::string> ReadWhole(int file, absl::string_view what) {
  struct stat found {};
  if (::fstat(file, &found) != 0) return CannotRead(what);
  std::string bytes;
  bytes.reserve(static_cast<size_t>(found.st_size));
  ENGRAM_RETURN_IF_ERROR(
      ReadPieces(file, 0, static_cast<uint64_t>(found.st_size), what,
                 [&bytes](absl::string_view piece) { bytes.append(piece.data(), piece.size()); }));
  return bytes;
}

}  // namespace engram::storage
