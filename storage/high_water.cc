#include "storage/high_water.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>

#include "absl/strings/str_cat.h"
#include "storage/base/status_macros.h"
#include "storage/codec.h"
#include "storage/store_folder.h"

namespace engram::storage {
namespace {

constexpr mode_t kFileMode = 0600;
constexpr absl::string_view kSealName = "HIGHWATER";
constexpr size_t kSlotBytes = 20;      // turn, value, seal
constexpr off_t kSlotDistance = 4096;  // a torn sector hits one slot
constexpr uint64_t kSlots = 2;

std::string PathIn(const std::string& folder) { return absl::StrCat(folder, "/HIGHWATER"); }

absl::Status WriteSlot(int file, uint64_t turn, uint64_t value) {
  ByteWriter writer;
  writer.Fixed64(turn);
  writer.Fixed64(value);
  const std::string slot = Seal(kSealName, writer.Take());
  const off_t offset = static_cast<off_t>(turn % kSlots) * kSlotDistance;
  if (::pwrite(file, slot.data(), slot.size(), offset) != static_cast<ssize_t>(slot.size()) ||
      ::fdatasync(file) != 0) {
    return ErrnoStatus(errno, "cannot write HIGHWATER");
  }
  return absl::OkStatus();
}

}  // namespace

absl::Status HighWater::Create(const std::string& folder) {
  const int file =
      ::open(PathIn(folder).c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, kFileMode);
  if (file < 0) return ErrnoStatus(errno, "cannot make HIGHWATER");
  absl::Status written;
  for (uint64_t turn = 0; turn < kSlots && written.ok(); ++turn) {
    written = WriteSlot(file, turn, 0);
  }
  ::close(file);
  ENGRAM_RETURN_IF_ERROR(written);
  return SyncFolder(folder);
}

absl::StatusOr<std::unique_ptr<HighWater>> HighWater::Open(const std::string& folder) {
  const int file = ::open(PathIn(folder).c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
  if (file < 0 && errno == ENOENT) return absl::DataLossError("the file HIGHWATER is missing");
  if (file < 0) return ErrnoStatus(errno, "cannot open HIGHWATER");
  std::unique_ptr<HighWater> mark(new HighWater(file));
  ENGRAM_RETURN_IF_ERROR(mark->Recover());
  return mark;
}

HighWater::~HighWater() { ::close(file_); }

absl::Status HighWater::Recover() {
  bool found = false;
  for (uint64_t i = 0; i < kSlots; ++i) {
    char bytes[kSlotBytes];
    const off_t offset = static_cast<off_t>(i) * kSlotDistance;
    if (::pread(file_, bytes, sizeof(bytes), offset) != static_cast<ssize_t>(sizeof(bytes))) {
      continue;
    }
    const absl::optional<absl::string_view> body = Unseal(kSealName, {bytes, sizeof(bytes)});
    if (!body.has_value()) continue;
    ByteReader reader(*body);
    const uint64_t turn = reader.Fixed64();
    const uint64_t value = reader.Fixed64();
    if (!found || turn > turn_) {
      turn_ = turn;
      value_ = value;
    }
    found = true;
  }
  return found ? absl::OkStatus() : absl::DataLossError("the file HIGHWATER is damaged");
}

absl::Status HighWater::Advance(uint64_t value) {
  ENGRAM_RETURN_IF_ERROR(WriteSlot(file_, turn_ + 1, value));
  turn_ += 1;
  value_ = value;
  return absl::OkStatus();
}

}  // namespace engram::storage
