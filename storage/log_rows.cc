#include "storage/log_rows.h"

#include "absl/strings/escaping.h"
#include "storage/codec.h"
#include "storage/meta_keys.h"
#include "storage/sha256.h"

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

std::string DigestOfName(absl::string_view name) {
  return absl::HexStringToBytes(Sha256Hex(name).substr(0, 32));
}

std::vector<std::string> NameKeys(ModelUid model, Sequence sequence, const NameDigests& names) {
  std::vector<std::string> keys;
  const auto add = [&](RecordName kind, const std::string& digest) {
    if (digest.empty()) return;
    keys.push_back(NamePrefix(model, static_cast<char>(kind), digest));
    AppendBig64(&keys.back(), sequence);
  };
  add(RecordName::kId, names.id);
  add(RecordName::kSubject, names.subject);
  return keys;
}

std::string EncodeNames(absl::string_view key, const NameDigests& names) {
  ByteWriter writer;
  writer.Text(names.id);
  writer.Text(names.subject);
  return Seal(key, writer.Take());
}

absl::optional<NameDigests> DecodeNames(absl::string_view key, absl::string_view value) {
  const absl::optional<absl::string_view> body = Unseal(key, value);
  if (!body.has_value()) return absl::nullopt;
  ByteReader reader(*body);
  NameDigests names;
  names.id = reader.Text();
  names.subject = reader.Text();
  if (!reader.ok()) return absl::nullopt;
  return names;
}

}  // namespace engram::storage
