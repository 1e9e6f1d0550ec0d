#include "storage/log_record.h"

#include <cstring>

#include "storage/base/check.h"
#include "storage/codec.h"
#include "storage/crc32c.h"

namespace engram::storage {
namespace {

constexpr size_t kCrcOffset = 1;
constexpr size_t kTimeOffset = 5;

uint32_t RecordCrc(absl::string_view key, uint8_t kind, int64_t time_ms, uint32_t payload_crc) {
  std::array<char, 9> bytes;
  bytes[0] = static_cast<char>(kind);
  StoreLittle64(bytes.data() + 1, static_cast<uint64_t>(time_ms));
  return ExtendCrc32c(ExtendCrc32c(payload_crc, {bytes.data(), bytes.size()}), key);
}

}  // namespace

LogKey MakeLogKey(ModelUid model, Sequence sequence) {
  LogKey key;
  for (size_t i = 0; i < 8; ++i) {
    key[i] = static_cast<char>(model >> (56 - 8 * i));
    key[8 + i] = static_cast<char>(sequence >> (56 - 8 * i));
  }
  return key;
}

Sequence SequenceOf(absl::string_view key) {
  ENGRAM_CHECK(key.size() == kLogKeySize);
  return ReadBig64(key.data() + 8);
}

RecordHeader MakeRecordHeader(const LogKey& key, uint8_t kind, int64_t time_ms,
                              uint32_t payload_crc) {
  RecordHeader header;
  header[0] = static_cast<char>(kind);
  StoreLittle32(header.data() + kCrcOffset, RecordCrc(ToView(key), kind, time_ms, payload_crc));
  StoreLittle64(header.data() + kTimeOffset, static_cast<uint64_t>(time_ms));
  return header;
}

absl::optional<RecordView> ParseRecord(absl::string_view key, absl::string_view value) {
  if (key.size() != kLogKeySize || value.size() < kRecordHeaderSize) return absl::nullopt;
  RecordView record;
  record.kind = static_cast<uint8_t>(value[0]);
  record.time_ms = static_cast<int64_t>(LoadLittle64(value.data() + kTimeOffset));
  record.payload = value.substr(kRecordHeaderSize);
  const uint32_t stored = LoadLittle32(value.data() + kCrcOffset);
  if (RecordCrc(key, record.kind, record.time_ms, Crc32c(record.payload)) != stored) {
    return absl::nullopt;
  }
  return record;
}

}  // namespace engram::storage
