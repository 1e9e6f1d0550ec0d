// What lies in the database, byte by byte: log records, the log's rows, checkpoint rows, write-
// ahead logs, states of a stream. As they are, and under a valid checksum, which an input drawn at
// random never has.
#include <algorithm>
#include <array>
#include <string>

#include "server/record_kind.h"
#include "server/stream_state.h"
#include "storage/checkpoint_row.h"
#include "storage/codec.h"
#include "storage/crc32c.h"
#include "storage/log_record.h"
#include "storage/log_rows.h"
#include "storage/wal_check.h"
#include "tests/fuzz/target.h"

namespace engram::fuzz {
namespace {

using absl::string_view;

constexpr char kKey[] = "key";

// A record under its own checksum reads back as it was; one flipped bit never does.
void LogRecord(string_view input) {
  const storage::LogKey key = storage::MakeLogKey(7, 1234567);
  (void)storage::ParseRecord(storage::ToView(key), input);
  storage::RecordHead head;
  head.kind = static_cast<uint8_t>(TakeChoice(&input, storage::kRecordKindMax + 1));
  head.time_ms = -5;
  head.sender = input.substr(0, std::min(TakeChoice(&input, 256), input.size()));
  input.remove_prefix(head.sender.size());
  std::string value;
  storage::MakeRecordHeader(key, head, storage::Crc32c(input), &value);
  value.append(input.data(), input.size());
  const auto parsed = storage::ParseRecord(storage::ToView(key), value);
  ENGRAM_CHECK(parsed.has_value() && parsed->kind == head.kind && parsed->time_ms == -5);
  ENGRAM_CHECK(parsed->sender == head.sender && parsed->payload == input);
  const size_t at = (input.empty() ? 0 : static_cast<unsigned char>(input[0])) % value.size();
  value[at] = static_cast<char>(value[at] ^ 1 << (input.size() % 8));
  ENGRAM_CHECK(!storage::ParseRecord(storage::ToView(key), value).has_value());
}

// What decodes encodes to something that decodes to the same.
template <typename Decode, typename Encode>
void Row(string_view input, const Decode& decode, const Encode& encode) {
  (void)decode(kKey, input);
  const auto row = decode(kKey, storage::Seal(kKey, std::string(input)));
  if (!row.has_value()) return;
  const std::string encoded = encode(kKey, *row);
  const auto again = decode(kKey, encoded);
  ENGRAM_CHECK(again.has_value() && encode(kKey, *again) == encoded);
}

void CheckpointRow(string_view input) {
  (void)storage::DecodeCheckpointRow(kKey, "id", input);
  const std::string sealed = storage::Seal(kKey, std::string(input));
  const auto row = storage::DecodeCheckpointRow(kKey, "id", sealed);
  if (!row.ok()) return;
  const std::string encoded = storage::EncodeCheckpointRow(kKey, *row);
  const auto again = storage::DecodeCheckpointRow(kKey, "id", encoded);
  ENGRAM_CHECK(again.ok() && storage::EncodeCheckpointRow(kKey, *again) == encoded);
}

void Keys(string_view input) {
  string_view rest = input;
  const auto text = storage::TakeOrderedText(&rest);
  if (!text.has_value()) return;
  std::string encoded;
  storage::AppendOrderedText(&encoded, *text);
  ENGRAM_CHECK(encoded == input.substr(0, input.size() - rest.size()));
}

// Records of any kind on a fresh stream: refused, or applied.
void Stream(string_view input) {
  const auto stored = server::StreamState::Parse(input);
  ENGRAM_CHECK(stored.ok() || stored.status().code() == absl::StatusCode::kDataLoss);
  v1::ModelSpec spec;
  spec.set_feature_count(3);
  spec.set_max_classes(10);
  auto state = server::StreamState::Fresh(spec);
  constexpr std::array<server::RecordKind, 5> kKinds = {
      server::RecordKind::kExample, server::RecordKind::kBoundary, server::RecordKind::kFlush,
      server::RecordKind::kErased, server::RecordKind::kReleased};
  const server::RecordKind kind = kKinds[TakeChoice(&input, kKinds.size())];
  const absl::Status applied = state.Apply(kind, input, 1);
  ENGRAM_CHECK(applied.ok() || applied.code() == absl::StatusCode::kDataLoss);
  (void)state.View();
}

}  // namespace
}  // namespace engram::fuzz

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* bytes, size_t size) {
  namespace storage = engram::storage;
  using engram::fuzz::Row;
  absl::string_view input = engram::fuzz::ToText(bytes, size);
  switch (engram::fuzz::TakeChoice(&input, 9)) {
    case 0:
      engram::fuzz::LogRecord(input);
      break;
    case 1:
      Row(input, storage::DecodeProducerRow, storage::EncodeProducerRow);
      break;
    case 2:
      Row(input, storage::DecodeMessage, storage::EncodeMessage);
      break;
    case 3:
      Row(input, storage::DecodePosition, storage::EncodePosition);
      break;
    case 4:
      engram::fuzz::CheckpointRow(input);
      break;
    case 5:
      (void)storage::ReadWal("000004.log", input);
      break;
    case 6:
      engram::fuzz::Keys(input);
      break;
    case 7:
      Row(input, storage::DecodeNames, storage::EncodeNames);
      break;
    default:
      engram::fuzz::Stream(input);
  }
  return 0;
}
