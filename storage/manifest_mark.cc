#include "storage/manifest_mark.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"
#include "storage/base/status_macros.h"
#include "storage/crc32c.h"
#include "storage/owned_file.h"
#include "storage/store_folder.h"

namespace engram::storage {
namespace {

constexpr absl::string_view kManifestPrefix = "MANIFEST-";

absl::StatusOr<std::string> CurrentManifest(const std::string& db_folder) {
  const OwnedFile file(
      ::open(absl::StrCat(db_folder, "/CURRENT").c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!file.ok() && errno == ENOENT) return absl::DataLossError("the file CURRENT is missing");
  if (!file.ok()) return ErrnoStatus(errno, "cannot open CURRENT");
  char bytes[64];
  const ssize_t size = ::pread(file.get(), bytes, sizeof(bytes), 0);
  if (size < 0) return ErrnoStatus(errno, "cannot read CURRENT");
  return std::string(
      absl::StripSuffix(absl::string_view(bytes, static_cast<size_t>(size)), "\n"));
}

absl::StatusOr<uint64_t> NumberOf(absl::string_view manifest) {
  uint64_t number = 0;
  if (absl::ConsumePrefix(&manifest, kManifestPrefix) && absl::SimpleAtoi(manifest, &number)) {
    return number;
  }
  return absl::DataLossError("the file CURRENT is damaged");
}

// Extends `mark` over the file's bytes up to `end`, or up to where the file ends.
absl::Status Extend(int file, uint64_t end, ManifestMark* mark) {
  return ReadPieces(file, mark->bytes, end, "the MANIFEST", [mark](absl::string_view piece) {
    mark->crc = ExtendCrc32c(mark->crc, piece);
    mark->bytes += piece.size();
  });
}

}  // namespace

absl::StatusOr<ManifestMark> MarkManifest(const std::string& db_folder,
                                          const ManifestMark& before) {
  ENGRAM_ASSIGN_OR_RETURN(const std::string name, CurrentManifest(db_folder));
  ManifestMark mark;
  ENGRAM_ASSIGN_OR_RETURN(mark.number, NumberOf(name));
  if (mark.number == before.number) mark = before;
  const OwnedFile file(::open(absl::StrCat(db_folder, "/", name).c_str(),
                              O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!file.ok()) return ErrnoStatus(errno, "cannot open the MANIFEST");
  const off_t size = ::lseek(file.get(), 0, SEEK_END);
  if (size < 0) return ErrnoStatus(errno, "cannot look at the MANIFEST");
  if (mark.bytes >= static_cast<uint64_t>(size)) return mark;
  // A power failure must not leave less than what is marked.
  if (::fdatasync(file.get()) != 0) return ErrnoStatus(errno, "cannot sync the MANIFEST");
  ENGRAM_RETURN_IF_ERROR(Extend(file.get(), static_cast<uint64_t>(size), &mark));
  return mark;
}

absl::Status CheckManifest(const std::string& db_folder, const ManifestMark& mark) {
  ENGRAM_ASSIGN_OR_RETURN(const std::string name, CurrentManifest(db_folder));
  ENGRAM_ASSIGN_OR_RETURN(const uint64_t number, NumberOf(name));
  if (number > mark.number) return absl::OkStatus();
  if (number < mark.number) {
    return absl::DataLossError(absl::StrCat("CURRENT names MANIFEST ", number, ", MANIFEST ",
                                            mark.number, " was in use"));
  }
  const OwnedFile file(::open(absl::StrCat(db_folder, "/", name).c_str(),
                              O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!file.ok() && errno == ENOENT) return absl::DataLossError("the MANIFEST is missing");
  if (!file.ok()) return ErrnoStatus(errno, "cannot open the MANIFEST");
  ManifestMark found;
  ENGRAM_RETURN_IF_ERROR(Extend(file.get(), mark.bytes, &found));
  if (found.bytes < mark.bytes) {
    return absl::DataLossError(absl::StrCat("MANIFEST ", number, " ends at byte ", found.bytes,
                                            ", byte ", mark.bytes, " was durable"));
  }
  if (found.crc != mark.crc) {
    return absl::DataLossError(absl::StrCat("the first ", mark.bytes, " bytes of MANIFEST ", number,
                                            " are not those that were durable"));
  }
  return absl::OkStatus();
}

}  // namespace engram::storage
