#include "storage/meta_keys.h"

#include "storage/base/check.h"
#include "storage/codec.h"
#include "storage/sample_log.h"

namespace engram::storage {

std::string MetaKey(MetaTag tag) { return std::string(1, static_cast<char>(tag)); }

std::string MetaKey(MetaTag tag, ModelUid model) {
  std::string key = MetaKey(tag);
  AppendBig64(&key, model);
  return key;
}

std::string MetaKey(MetaTag tag, ModelUid model, Sequence sequence) {
  std::string key = MetaKey(tag, model);
  AppendBig64(&key, sequence);
  return key;
}

std::string HelloKey(ModelUid model, absl::string_view producer) {
  std::string key = MetaKey(MetaTag::kProducer, model);
  AppendOrderedText(&key, producer);
  key.push_back('h');
  return key;
}

std::string LastMessageKey(ModelUid model, absl::string_view producer) {
  std::string key = MetaKey(MetaTag::kProducer, model);
  AppendOrderedText(&key, producer);
  key.push_back('m');
  return key;
}

std::string MessagePrefix(ModelUid model, absl::string_view producer) {
  std::string key = MetaKey(MetaTag::kMessage, model);
  AppendOrderedText(&key, producer);
  return key;
}

std::string MessageKey(ModelUid model, absl::string_view producer, uint64_t sequence) {
  std::string key = MessagePrefix(model, producer);
  AppendBig16(&key, static_cast<uint16_t>(sequence % SampleLog::kProducerWindow));
  return key;
}

std::string NamePrefix(ModelUid model, char kind, absl::string_view digest) {
  std::string key = MetaKey(MetaTag::kName, model);
  key.push_back(kind);
  key.append(digest.data(), digest.size());
  return key;
}

std::string ErasureKey(ModelUid model, absl::string_view name) {
  std::string key = MetaKey(MetaTag::kErasure, model);
  key.append(name.data(), name.size());
  return key;
}

uint64_t LastNumber(absl::string_view key) {
  ENGRAM_CHECK(key.size() >= sizeof(uint64_t));
  return ReadBig64(key.data() + key.size() - sizeof(uint64_t));
}

}  // namespace engram::storage
