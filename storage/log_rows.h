// Values of the log's rows in "meta": producers, their messages, positions. Sealed, so that damage
// shows as nullopt and never as a plausible number.
#pragma once

#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "storage/log_index.h"
#include "storage/sample_log.h"

namespace engram::storage {

// A hello leaves its epoch; a message its epoch and sequence. The newer of both is the state.
struct ProducerRow {
  uint64_t epoch = 0;
  uint64_t last_sequence = 0;
  int64_t last_seen_ms = 0;
};

std::string EncodeProducerRow(absl::string_view key, const ProducerRow& row);
absl::optional<ProducerRow> DecodeProducerRow(absl::string_view key, absl::string_view value);

std::string EncodeMessage(absl::string_view key, const ProducerMessage& message);
absl::optional<ProducerMessage> DecodeMessage(absl::string_view key, absl::string_view value);

// The sequence is stored too, for the trim mark whose key does not hold it.
std::string EncodePosition(absl::string_view key, const LogPosition& position);
absl::optional<LogPosition> DecodePosition(absl::string_view key, absl::string_view value);

// 16 bytes of SHA-256: a name itself is in no row.
std::string DigestOfName(absl::string_view name);

// Digests of a record's names; empty where it has none.
struct NameDigests {
  std::string id;
  std::string subject;
};
// The rows by which the record is found.
std::vector<std::string> NameKeys(ModelUid model, Sequence sequence, const NameDigests& names);
std::string EncodeNames(absl::string_view key, const NameDigests& names);
absl::optional<NameDigests> DecodeNames(absl::string_view key, absl::string_view value);

}  // namespace engram::storage
