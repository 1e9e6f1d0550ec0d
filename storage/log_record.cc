#include "storage/log_record.h"

#include <cstring>

#include "storage/base/check.h"
#include "storage/codec.h"
#include "storage/crc32c.h"

namespace engram::storage {
namespace {

constexpr size_t kCrcOffset = 1;
constexpr size_t kTimeOffset = 5;
constexpr uint8_t kSenderFlag = 0x80;

// `header` is all of it, whatever stands in the place of the checksum.
uint32_t RecordCrc(absl::string_view key, absl::string_view header, uint32_t payload_crc) {
  std::array<char, 9> kind_and_time;
  kind_and_time[0] = header[0];
  std::memcpy(kind_and_time.data() + 1, header.data() + kTimeOffset, 8);
  const uint32_t crc = ExtendCrc32c(payload_crc, {kind_and_time.data(), kind_and_time.size()});
  return ExtendCrc32c(ExtendCrc32c(crc, header.substr(kRecordHeaderSize)), key);
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

void MakeRecordHeader(const LogKey& key, const RecordHead& head, uint32_t payload_crc,
                      std::string* header) {
  ENGRAM_CHECK(head.kind <= kRecordKindMax && head.sender.size() <= kSenderBytesMax);
  header->resize(kRecordHeaderSize);
  (*header)[0] = static_cast<char>(head.kind | (head.sender.empty() ? 0 : kSenderFlag));
  StoreLittle64(&(*header)[kTimeOffset], static_cast<uint64_t>(head.time_ms));
  if (!head.sender.empty()) {
    header->push_back(static_cast<char>(head.sender.size()));
    header->append(head.sender.data(), head.sender.size());
  }
  StoreLittle32(&(*header)[kCrcOffset], RecordCrc(ToView(key), *header, payload_crc));
}

absl::optional<RecordView> ParseRecord(absl::string_view key, absl::string_view value) {
  if (key.size() != kLogKeySize || value.size() < kRecordHeaderSize) return absl::nullopt;
  size_t header_size = kRecordHeaderSize;
  if ((static_cast<uint8_t>(value[0]) & kSenderFlag) != 0) {
    if (value.size() == kRecordHeaderSize) return absl::nullopt;
    header_size += 1 + static_cast<uint8_t>(value[kRecordHeaderSize]);
    if (value.size() < header_size) return absl::nullopt;
  }
  const absl::string_view header = value.substr(0, header_size);
  RecordView record;
  record.kind = static_cast<uint8_t>(value[0]) & kRecordKindMax;
  record.time_ms = static_cast<int64_t>(LoadLittle64(value.data() + kTimeOffset));
  if (header_size > kRecordHeaderSize) record.sender = header.substr(kRecordHeaderSize + 1);
  record.payload = value.substr(header_size);
  const uint32_t stored = LoadLittle32(value.data() + kCrcOffset);
  if (RecordCrc(key, header, Crc32c(record.payload)) != stored) return absl::nullopt;
  return record;
}

}  // namespace engram::storage
