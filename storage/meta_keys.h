// Every key of the column family "meta", in one place: a tag, the model's uid, then what the tag
// says. Numbers are big-endian, so a model's rows of one tag lie together in order.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "storage/types.h"

namespace engram::storage {

enum class MetaTag : char {
  kModel = 'c',       // catalog row
  kReason = 'w',      // why it is paused
  kOrphan = 'o',      // uid of a removed model whose leftovers may still be there
  kUidCounter = 'n',  // last uid given out; no uid follows
  kReport = 'r',      // + sequence: row of the report
  kTrimMark = 't',    // how far the log was trimmed
  kLogIndex = 'i',    // + sequence: bytes and time of the log up to it
  kProducer = 'p',    // + producer, 'h' or 'm': its last hello, its last message
  kMessage = 'q',     // + producer, slot: one of its last 1 024 messages
  kName = 'x',        // + kind, digest of the name, sequence: a record of this name
  kNamed = 'y',       // + sequence: the names of a record, as digests
  kUnnamed = 'u',     // the last record of format 1, which noted no names
  kErasure = 'e',     // + the caller's name of it: state of an erasure
};

std::string MetaKey(MetaTag tag);
std::string MetaKey(MetaTag tag, ModelUid model);
std::string MetaKey(MetaTag tag, ModelUid model, Sequence sequence);
std::string HelloKey(ModelUid model, absl::string_view producer);
std::string LastMessageKey(ModelUid model, absl::string_view producer);
std::string MessagePrefix(ModelUid model, absl::string_view producer);
std::string MessageKey(ModelUid model, absl::string_view producer, uint64_t sequence);

// All rows of one name lie together, in the order of their sequences.
std::string NamePrefix(ModelUid model, char kind, absl::string_view digest);
std::string ErasureKey(ModelUid model, absl::string_view name);

// The number at the end of a key that MetaKey(tag, model) or MetaKey(tag, model, sequence) made.
uint64_t LastNumber(absl::string_view key);

}  // namespace engram::storage
