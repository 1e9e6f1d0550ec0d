// Bytes of one log record. Key: model uid, sequence, both big-endian. Value: kind (1), CRC-32C (4),
// commit time in ms (8), payload. The checksum covers payload, kind, time and key, in this order:
// the long part can be summed before the sequence is known.
#pragma once

#include <array>
#include <cstdint>

#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "storage/types.h"

namespace engram::storage {

constexpr size_t kLogKeySize = 16;
constexpr size_t kRecordHeaderSize = 13;
using LogKey = std::array<char, kLogKeySize>;
using RecordHeader = std::array<char, kRecordHeaderSize>;

LogKey MakeLogKey(ModelUid model, Sequence sequence);
inline absl::string_view ToView(const LogKey& key) { return {key.data(), key.size()}; }
// The sequence of a key that MakeLogKey made.
Sequence SequenceOf(absl::string_view key);

RecordHeader MakeRecordHeader(const LogKey& key, uint8_t kind, int64_t time_ms,
                              uint32_t payload_crc);

struct RecordView {
  uint8_t kind = 0;
  int64_t time_ms = 0;
  absl::string_view payload;
};
// Nullopt when the value is not what was stored under this key.
absl::optional<RecordView> ParseRecord(absl::string_view key, absl::string_view value);

}  // namespace engram::storage
