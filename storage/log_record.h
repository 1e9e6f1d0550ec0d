// Bytes of one log record. Key: model uid, sequence, both big-endian. Value: kind (1), CRC-32C (4),
// commit time in ms (8), who sent it, payload. The top bit of the kind says that a sender follows:
// its length (1) and its name; without it there is neither, as in every record of format 1. The
// checksum covers payload, kind, time, sender and key, in this order: the long part can be summed
// before the sequence is known.
#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "storage/types.h"

namespace engram::storage {

constexpr size_t kLogKeySize = 16;
constexpr size_t kRecordHeaderSize = 13;
constexpr uint8_t kRecordKindMax = 127;
constexpr size_t kSenderBytesMax = 255;
using LogKey = std::array<char, kLogKeySize>;

LogKey MakeLogKey(ModelUid model, Sequence sequence);
inline absl::string_view ToView(const LogKey& key) { return {key.data(), key.size()}; }
// The sequence of a key that MakeLogKey made.
Sequence SequenceOf(absl::string_view key);

// What a value begins with.
struct RecordHead {
  uint8_t kind = 0;  // at most kRecordKindMax
  int64_t time_ms = 0;
  absl::string_view sender;  // at most kSenderBytesMax; empty: nobody
};
// Replaces `header` by everything of a value before its payload.
void MakeRecordHeader(const LogKey& key, const RecordHead& head, uint32_t payload_crc,
                      std::string* header);

struct RecordView : RecordHead {
  absl::string_view payload;
};
// Nullopt when the value is not what was stored under this key.
absl::optional<RecordView> ParseRecord(absl::string_view key, absl::string_view value);

}  // namespace engram::storage
