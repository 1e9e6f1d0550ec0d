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
constexpr absl::string_view kMarkSealName = "HIGHWATER manifest";
constexpr size_t kSlotBytes = 20;  // turn, value, seal
constexpr size_t kMarkBytes = 36;  // turn, number, bytes, crc, seal; behind the slot
constexpr off_t kSlotDistance = 4096;  // a torn sector hits one slot
constexpr uint64_t kSlots = 2;

std::string PathIn(const std::string& folder) { return absl::StrCat(folder, "/HIGHWATER"); }

absl::Status WriteSlot(int file, uint64_t turn, uint64_t value, const ManifestMark& manifest) {
  ByteWriter writer;
  writer.Fixed64(turn);
  writer.Fixed64(value);
  ByteWriter mark;
  mark.Fixed64(turn);
  mark.Fixed64(manifest.number);
  mark.Fixed64(manifest.bytes);
  mark.Fixed64(manifest.crc);
  const std::string slot = Seal(kSealName, writer.Take()) + Seal(kMarkSealName, mark.Take());
  const off_t offset = static_cast<off_t>(turn % kSlots) * kSlotDistance;
  if (::pwrite(file, slot.data(), slot.size(), offset) != static_cast<ssize_t>(slot.size()) ||
      ::fdatasync(file) != 0) {
    return ErrnoStatus(errno, "cannot write HIGHWATER");
  }
  return absl::OkStatus();
}

// No mark when there is none of this turn.
ManifestMark ReadMark(absl::string_view bytes, uint64_t turn) {
  ManifestMark mark;
  const absl::optional<absl::string_view> body = Unseal(kMarkSealName, bytes);
  if (!body.has_value()) return mark;
  ByteReader reader(*body);
  if (reader.Fixed64() != turn) return mark;
  mark.number = reader.Fixed64();
  mark.bytes = reader.Fixed64();
  mark.crc = static_cast<uint32_t>(reader.Fixed64());
  return mark;
}

}  // namespace

absl::Status HighWater::Create(const std::string& folder) {
  const int file =
      ::open(PathIn(folder).c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, kFileMode);
  if (file < 0) return ErrnoStatus(errno, "cannot make HIGHWATER");
  absl::Status written;
  for (uint64_t turn = 0; turn < kSlots && written.ok(); ++turn) {
    written = WriteSlot(file, turn, 0, ManifestMark());
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
    char bytes[kSlotBytes + kMarkBytes];
    const off_t offset = static_cast<off_t>(i) * kSlotDistance;
    const ssize_t size = ::pread(file_, bytes, sizeof(bytes), offset);
    if (size < static_cast<ssize_t>(kSlotBytes)) continue;
    const absl::optional<absl::string_view> body = Unseal(kSealName, {bytes, kSlotBytes});
    if (!body.has_value()) continue;
    ByteReader reader(*body);
    const uint64_t turn = reader.Fixed64();
    const uint64_t value = reader.Fixed64();
    if (!found || turn > turn_) {
      turn_ = turn;
      value_ = value;
      manifest_ = ReadMark({bytes + kSlotBytes, static_cast<size_t>(size) - kSlotBytes}, turn);
    }
    found = true;
  }
  return found ? absl::OkStatus() : absl::DataLossError("the file HIGHWATER is damaged");
}

absl::Status HighWater::Advance(uint64_t value, const ManifestMark& manifest) {
  ENGRAM_RETURN_IF_ERROR(WriteSlot(file_, turn_ + 1, value, manifest));
  turn_ += 1;
  value_ = value;
  manifest_ = manifest;
  return absl::OkStatus();
}

}  // namespace engram::storage
