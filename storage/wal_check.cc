#include "storage/wal_check.h"

#include <dirent.h>
#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <memory>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "absl/types/optional.h"
#include "storage/base/status_macros.h"
#include "storage/codec.h"
#include "storage/crc32c.h"
#include "storage/owned_file.h"
#include "storage/store_folder.h"

namespace engram::storage {
namespace {

// RocksDB's format (db/log_format.h): blocks of 32 KiB; a record is CRC 4, length 2, type 1, bytes;
// one that does not fit is cut into first, middle and last; under seven bytes of block are padding.
constexpr size_t kBlockBytes = 32 << 10;
constexpr size_t kHeaderBytes = 7;
constexpr size_t kBatchHeaderBytes = 12;  // sequence number 8, count 4
enum RecordType : uint8_t { kFull = 1, kFirst = 2, kMiddle = 3, kLast = 4 };

uint32_t Unmask(uint32_t masked) {
  const uint32_t rotated = masked - 0xa282ead8U;
  return (rotated >> 17) | (rotated << 15);
}

size_t BlockEnd(size_t at, size_t size) {
  return std::min(size, (at / kBlockBytes + 1) * kBlockBytes);
}

struct Fragment {
  uint8_t type = 0;
  absl::string_view body;
  size_t end = 0;
};

// Nullopt where no whole record begins.
absl::optional<Fragment> FragmentAt(absl::string_view bytes, size_t at) {
  const size_t block_end = BlockEnd(at, bytes.size());
  if (block_end - at < kHeaderBytes) return absl::nullopt;
  const char* header = bytes.data() + at;
  const size_t length =
      static_cast<uint8_t>(header[4]) | static_cast<size_t>(static_cast<uint8_t>(header[5])) << 8;
  Fragment fragment;
  fragment.type = static_cast<uint8_t>(header[6]);
  fragment.end = at + kHeaderBytes + length;
  if (fragment.type == 0 || fragment.end > block_end) return absl::nullopt;
  fragment.body = bytes.substr(at + kHeaderBytes, length);
  const uint32_t found = Crc32c(bytes.substr(at + kHeaderBytes - 1, length + 1));
  if (found != Unmask(LoadLittle32(header))) return absl::nullopt;
  return fragment;
}

// Whether anything but zeros in this block, or a whole record in a later one, follows `at`.
bool SomethingFollows(absl::string_view bytes, size_t at) {
  const size_t block_end = BlockEnd(at, bytes.size());
  const absl::string_view rest = bytes.substr(at, block_end - at);
  const bool zeros_first = rest.size() >= kHeaderBytes &&
                           rest.find_first_not_of('\0') >= kHeaderBytes;
  if (zeros_first && rest.find_first_not_of('\0') != absl::string_view::npos) return true;
  for (size_t block = block_end; block < bytes.size(); block += kBlockBytes) {
    if (FragmentAt(bytes, block).has_value()) return true;
  }
  return false;
}

// Puts the batches of one file in a row.
class Sequencer {
 public:
  explicit Sequencer(absl::string_view name) : name_(name) {}

  absl::Status Take(const Fragment& fragment, size_t at) {
    const bool begins = fragment.type == kFull || fragment.type == kFirst;
    const bool ends = fragment.type == kFull || fragment.type == kLast;
    if (!begins && !ends && fragment.type != kMiddle) return absl::OkStatus();
    if (begins == inside_) return Damage(at, "a record without its beginning or end");
    if (begins) {
      header_.clear();
      extent_.last_record = at;
    }
    inside_ = !ends;
    const size_t wanted = kBatchHeaderBytes - std::min(header_.size(), kBatchHeaderBytes);
    header_.append(fragment.body.data(), std::min(wanted, fragment.body.size()));
    return ends ? EndRecord(at, fragment.end) : absl::OkStatus();
  }

  absl::Status Damage(size_t at, absl::string_view what) const {
    return absl::DataLossError(
        absl::StrCat("write-ahead log ", name_, ", byte ", at, ": ", what));
  }

  const WalExtent& extent() const { return extent_; }

 private:
  absl::Status EndRecord(size_t at, size_t end) {
    if (header_.size() < kBatchHeaderBytes) return Damage(at, "a record too short for a batch");
    const uint64_t sequence = LoadLittle64(header_.data());
    const uint64_t count = LoadLittle32(header_.data() + sizeof(sequence));
    if (extent_.first == 0) {
      extent_.first = sequence;
    } else if (sequence != extent_.next) {
      return Damage(at, absl::StrCat("expected write ", extent_.next, ", found ", sequence));
    }
    extent_.next = sequence + count;
    extent_.end = end;
    return absl::OkStatus();
  }

  const absl::string_view name_;
  WalExtent extent_;
  bool inside_ = false;
  std::string header_;
};

// Names by number.
absl::StatusOr<std::map<uint64_t, std::string>> LogFiles(const std::string& db_folder) {
  std::map<uint64_t, std::string> files;
  const std::unique_ptr<DIR, int (*)(DIR*)> folder(::opendir(db_folder.c_str()), &::closedir);
  if (folder == nullptr) return ErrnoStatus(errno, "cannot list the database");
  while (const dirent* entry = ::readdir(folder.get())) {
    absl::string_view name = entry->d_name;
    uint64_t number = 0;
    if (absl::ConsumeSuffix(&name, ".log") && absl::SimpleAtoi(name, &number)) {
      files[number] = entry->d_name;
    }
  }
  return files;
}

}  // namespace

absl::StatusOr<WalExtent> ReadWal(absl::string_view name, absl::string_view bytes) {
  Sequencer sequencer(name);
  size_t at = 0;
  while (at < bytes.size()) {
    if (kBlockBytes - at % kBlockBytes < kHeaderBytes) {
      at = BlockEnd(at, bytes.size());
      continue;
    }
    const absl::optional<Fragment> fragment = FragmentAt(bytes, at);
    if (!fragment.has_value()) {
      if (SomethingFollows(bytes, at)) return sequencer.Damage(at, "records are gone");
      break;
    }
    ENGRAM_RETURN_IF_ERROR(sequencer.Take(*fragment, at));
    at = fragment->end;
  }
  return sequencer.extent();
}

absl::Status CheckWriteAheadLogs(const std::string& db_folder, uint64_t oldest_needed) {
  ENGRAM_ASSIGN_OR_RETURN(const auto files, LogFiles(db_folder));
  uint64_t next = 0;
  for (const auto& [number, name] : files) {
    if (number < oldest_needed) continue;
    const OwnedFile file(
        ::open(absl::StrCat(db_folder, "/", name).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!file.ok()) return ErrnoStatus(errno, "cannot open a write-ahead log");
    ENGRAM_ASSIGN_OR_RETURN(const std::string bytes,
                            ReadWhole(file.get(), "a write-ahead log"));
    ENGRAM_ASSIGN_OR_RETURN(const WalExtent extent, ReadWal(name, bytes));
    if (extent.first == 0) continue;
    if (next != 0 && extent.first != next) {
      return absl::DataLossError(absl::StrCat("write-ahead log ", name, " begins at write ",
                                              extent.first, ", expected ", next));
    }
    next = extent.next;
  }
  return absl::OkStatus();
}

}  // namespace engram::storage
