// Every key of the column family "meta", in one place: a tag, the model's uid, then what the tag
// says. Numbers are big-endian, so a model's rows of one tag lie together in order.
#pragma once

#include <string>

#include "absl/strings/string_view.h"
#include "storage/types.h"

namespace engram::storage {

enum class MetaTag : char {
  kModel = 'c',       // catalog row
  kOrphan = 'o',      // uid of a removed model whose leftovers may still be there
  kUidCounter = 'n',  // last uid given out; no uid follows
  kReport = 'r',      // + sequence: row of the report
  kTrimMark = 't',    // how far the log was trimmed
  kLogIndex = 'i',    // + sequence: bytes and time of the log up to it
  kProducer = 'p',    // + producer, 'h' or 'm': its last hello, its last message
  kMessage = 'q',     // + producer, slot: one of its last 1 024 messages
};

std::string MetaKey(MetaTag tag);
std::string MetaKey(MetaTag tag, ModelUid model);
std::string MetaKey(MetaTag tag, ModelUid model, Sequence sequence);
std::string HelloKey(ModelUid model, absl::string_view producer);
std::string LastMessageKey(ModelUid model, absl::string_view producer);
std::string MessagePrefix(ModelUid model, absl::string_view producer);
std::string MessageKey(ModelUid model, absl::string_view producer, uint64_t sequence);

// The number at the end of a key that MetaKey(tag, model) or MetaKey(tag, model, sequence) made.
uint64_t LastNumber(absl::string_view key);

}  // namespace engram::storage
