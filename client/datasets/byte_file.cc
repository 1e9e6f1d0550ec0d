#include "client/datasets/byte_file.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "storage/base/status_macros.h"

namespace engram::datasets {
namespace {

constexpr int64_t kReadBytes = 1 << 20;

bool IsFile(const std::string& path) {
  std::error_code ignored;
  return std::filesystem::is_regular_file(path, ignored);
}

}  // namespace

absl::StatusOr<ByteFile> ByteFile::Open(const std::string& path) {
  // zlib would read a folder as an empty file.
  if (!IsFile(path)) return absl::NotFoundError(absl::StrCat(path, ": no such file"));
  gzFile file = gzopen(path.c_str(), "rb");
  if (file == nullptr) return absl::NotFoundError(absl::StrCat(path, ": cannot be opened"));
  return ByteFile(path, file);
}

ByteFile::ByteFile(std::string path, gzFile file) : path_(std::move(path)), file_(file) {}

ByteFile::ByteFile(ByteFile&& other) noexcept
    : path_(std::move(other.path_)), file_(std::exchange(other.file_, nullptr)) {}

ByteFile::~ByteFile() {
  if (file_ != nullptr) gzclose(file_);
}

absl::Status ByteFile::Read(absl::string_view what, uint8_t* out, int64_t bytes) {
  int64_t done = 0;
  while (done < bytes) {
    ENGRAM_ASSIGN_OR_RETURN(const int64_t got, ReadSome(out + done, bytes - done));
    if (got == 0) {
      return absl::DataLossError(absl::StrCat(path_, ": truncated: expected ", bytes, " bytes of ",
                                              what, ", found ", done));
    }
    done += got;
  }
  return absl::OkStatus();
}

absl::StatusOr<int64_t> ByteFile::ReadSome(uint8_t* out, int64_t bytes) {
  const int got = gzread(file_, out, static_cast<unsigned>(std::min(kReadBytes, bytes)));
  if (got > 0) return got;
  // At the end zlib has compared the checksum; a gzip file that was cut says so here only.
  int code = Z_OK;
  gzerror(file_, &code);
  if (got < 0 || code != Z_OK) return Damaged();
  return 0;
}

absl::Status ByteFile::ExpectEnd() {
  uint8_t extra;
  ENGRAM_ASSIGN_OR_RETURN(const int64_t got, ReadSome(&extra, 1));
  if (got == 0) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat(path_, ": goes on after the last row its header announces"));
}

absl::Status ByteFile::Damaged() const {
  int code = 0;
  return absl::DataLossError(absl::StrCat(path_, ": damaged: ", gzerror(file_, &code)));
}

absl::StatusOr<std::string> ReadWhole(const std::string& path, int64_t bytes_max) {
  ENGRAM_ASSIGN_OR_RETURN(ByteFile file, ByteFile::Open(path));
  std::string bytes;
  while (true) {
    const size_t done = bytes.size();
    bytes.resize(done + kReadBytes);
    ENGRAM_ASSIGN_OR_RETURN(
        const int64_t got,
        file.ReadSome(reinterpret_cast<uint8_t*>(bytes.data()) + done, kReadBytes));
    bytes.resize(done + static_cast<size_t>(got));
    if (got == 0) return bytes;
    if (static_cast<int64_t>(bytes.size()) > bytes_max) {
      return absl::InvalidArgumentError(
          absl::StrCat(path, ": expected at most ", bytes_max, " bytes"));
    }
  }
}

absl::StatusOr<std::string> FindFile(const std::string& path,
                                     std::initializer_list<absl::string_view> names) {
  if (IsFile(path)) return path;
  for (const absl::string_view name : names) {
    for (const absl::string_view ending : {".gz", ""}) {
      std::string candidate = absl::StrCat(path, "/", name, ending);
      if (IsFile(candidate)) return candidate;
    }
  }
  return absl::NotFoundError(
      absl::StrCat(path, ": expected a folder with ", absl::StrJoin(names, " or ")));
}

}  // namespace engram::datasets
