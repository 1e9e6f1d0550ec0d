#include "client/datasets/tar_reader.h"

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "client/datasets/byte_file.h"
#include "storage/base/status_macros.h"

namespace engram::datasets {
namespace {

constexpr int64_t kBlock = 512;
constexpr int64_t kMaxFile = int64_t{64} << 20;
// What a tar header's fields are: offset and size (POSIX.1-1988, ustar).
constexpr size_t kSizeAt = 124;
constexpr size_t kNumberSize = 12;
constexpr size_t kChecksumAt = 148;
constexpr size_t kChecksumSize = 8;
constexpr size_t kTypeAt = 156;
constexpr size_t kNameSize = 100;
constexpr size_t kPrefixAt = 345;
constexpr size_t kPrefixSize = 155;

// One header block.
class Header {
 public:
  uint8_t* block() { return block_; }
  char type() const { return static_cast<char>(block_[kTypeAt]); }
  bool IsEnd() const {
    return std::all_of(block_, block_ + kBlock, [](uint8_t byte) { return byte == 0; });
  }

  std::string Name() const {
    const std::string name = Text(0, kNameSize);
    const std::string prefix = Text(kPrefixAt, kPrefixSize);
    // GNU's older form keeps times where ustar has a prefix.
    const bool ustar = std::memcmp(block_ + 257, "ustar\0", 6) == 0;
    return ustar && !prefix.empty() ? absl::StrCat(prefix, "/", name) : name;
  }

  // -1: not an octal number.
  int64_t Size() const { return Octal(kSizeAt, kNumberSize); }

  // The sum of all bytes, its own field read as blanks.
  bool ChecksumHolds() const {
    int64_t sum = kChecksumSize * ' ';
    for (size_t i = 0; i < kBlock; ++i) {
      if (i < kChecksumAt || i >= kChecksumAt + kChecksumSize) sum += block_[i];
    }
    return sum == Octal(kChecksumAt, kChecksumSize);
  }

 private:
  std::string Text(size_t at, size_t size) const {
    const auto* const first = reinterpret_cast<const char*>(block_) + at;
    return std::string(first, std::find(first, first + size, '\0'));
  }

  int64_t Octal(size_t at, size_t size) const {
    int64_t number = 0;
    bool digits = false;
    for (const char c : Text(at, size)) {
      if (c == ' ') continue;
      if (c < '0' || c > '7') return -1;
      number = number * 8 + (c - '0');
      digits = true;
    }
    return digits ? number : -1;
  }

  uint8_t block_[kBlock];
};

bool IsFile(char type) { return type == '0' || type == '\0'; }
// Folders, and notes about the file that follows, say nothing that is needed.
bool IsSkipped(char type) { return type == '5' || type == 'x' || type == 'g'; }

absl::Status CheckHeader(const std::string& path, const Header& header) {
  if (!header.ChecksumHolds()) {
    return absl::DataLossError(
        absl::StrCat(path, ": expected a tar header with its checksum, found another one"));
  }
  if (!IsFile(header.type()) && !IsSkipped(header.type())) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": ", header.Name(),
                                                   ": expected a file or a folder, got type '",
                                                   std::string(1, header.type()), "'"));
  }
  if (header.Size() < 0 || header.Size() > kMaxFile) {
    return absl::InvalidArgumentError(absl::StrCat(
        path, ": ", header.Name(), ": expected a size up to ", kMaxFile, ", got another"));
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status WalkTar(
    const std::string& path,
    const std::function<absl::Status(const std::string& name, std::string content)>& visit) {
  ENGRAM_ASSIGN_OR_RETURN(ByteFile file, ByteFile::Open(path));
  while (true) {
    Header header;
    ENGRAM_RETURN_IF_ERROR(file.Read("a tar header", header.block(), kBlock));
    if (header.IsEnd()) break;
    ENGRAM_RETURN_IF_ERROR(CheckHeader(path, header));
    const int64_t size = header.Size();
    std::string content(static_cast<size_t>((size + kBlock - 1) / kBlock * kBlock), '\0');
    ENGRAM_RETURN_IF_ERROR(file.Read(header.Name(), reinterpret_cast<uint8_t*>(content.data()),
                                     static_cast<int64_t>(content.size())));
    content.resize(static_cast<size_t>(size));
    if (IsFile(header.type())) ENGRAM_RETURN_IF_ERROR(visit(header.Name(), std::move(content)));
  }
  // What fills the last block up is read for the gzip checksum's sake.
  for (int64_t got = 1; got > 0;) {
    uint8_t rest[kBlock];
    ENGRAM_ASSIGN_OR_RETURN(got, file.ReadSome(rest, kBlock));
  }
  return absl::OkStatus();
}

}  // namespace engram::datasets
