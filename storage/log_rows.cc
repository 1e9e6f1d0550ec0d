#include "storage/log_rows.h"

#include "storage/codec.h"

namespace engram::storage {

std::string EncodeProducerRow(absl::string_view key, const ProducerRow& row) {
  ByteWriter writer;
  writer.Varint(row.epoch);
  writer.Varint(row.last_sequence);
  writer.SignedVarint(row.last_seen_ms);
  return Seal(key, writer.Take());
}

absl::optional<ProducerRow> DecodeProducerRow(absl::string_view key, absl::string_view value) {
  const absl::optional<absl::string_view> body = Unseal(key, value);
  if (!body.has_value()) return absl::nullopt;
  ByteReader reader(*body);
  ProducerRow row;
  row.epoch = reader.Varint();
  row.last_sequence = reader.Varint();
  row.last_seen_ms = reader.SignedVarint();
  if (!reader.ok()) return absl::nullopt;
  return row;
}

std::string EncodeMessage(absl::string_view key, const ProducerMessage& message) {
  ByteWriter writer;
  writer.Varint(message.sequence);
  writer.Varint(message.first);
  writer.Varint(message.count);
  writer.Fixed64(message.content_hash);
  return Seal(key, writer.Take());
}

absl::optional<ProducerMessage> DecodeMessage(absl::string_view key, absl::string_view value) {
  const absl::optional<absl::string_view> body = Unseal(key, value);
  if (!body.has_value()) return absl::nullopt;
  ByteReader reader(*body);
  ProducerMessage message;
  message.sequence = reader.Varint();
  message.first = reader.Varint();
  message.count = static_cast<uint32_t>(reader.Varint());
  message.content_hash = reader.Fixed64();
  if (!reader.ok()) return absl::nullopt;
  return message;
}

std::string EncodePosition(absl::string_view key, const LogPosition& position) {
  ByteWriter writer;
  writer.Varint(position.sequence);
  writer.SignedVarint(position.bytes);
  writer.SignedVarint(position.time_ms);
  return Seal(key, writer.Take());
}

absl::optional<LogPosition> DecodePosition(absl::string_view key, absl::string_view value) {
  const absl::optional<absl::string_view> body = Unseal(key, value);
  if (!body.has_value()) return absl::nullopt;
  ByteReader reader(*body);
  LogPosition position;
  position.sequence = reader.Varint();
  position.bytes = reader.SignedVarint();
  position.time_ms = reader.SignedVarint();
  if (!reader.ok()) return absl::nullopt;
  return position;
}

}  // namespace engram::storage
