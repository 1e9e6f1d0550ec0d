#include "storage/rocksdb_episodic_store.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "storage/base/status_macros.h"
#include "storage/codec.h"

namespace engram::storage {
namespace {

using Durability = RocksDbEngine::Durability;

constexpr ColumnFamily kFamily = ColumnFamily::kEpisodic;
constexpr size_t kBatchBytesMax = 4 << 20;
constexpr size_t kReadKeysMax = 256;

std::string ModelPrefix(ModelUid model) {
  std::string key;
  AppendBig64(&key, model);
  return key;
}

std::string PayloadKey(ModelUid model, const ExemplarKey& exemplar) {
  std::string key = ModelPrefix(model);
  AppendBig32(&key, exemplar.memory);
  AppendBig64(&key, exemplar.sequence);
  AppendBig32(&key, exemplar.revision);
  return key;
}

ExemplarKey ExemplarOf(absl::string_view key) {
  ExemplarKey exemplar;
  exemplar.memory = ReadBig32(key.data() + 8);
  exemplar.sequence = ReadBig64(key.data() + 12);
  exemplar.revision = ReadBig32(key.data() + 20);
  return exemplar;
}

absl::Status Damaged(ModelUid model, const ExemplarKey& exemplar, absl::string_view what) {
  return absl::DataLossError(absl::StrCat("exemplar (memory ", exemplar.memory, ", sequence ",
                                          exemplar.sequence, ", revision ", exemplar.revision,
                                          ") of model ", model, " ", what));
}

}  // namespace

absl::Status RocksDbEpisodicStore::Put(
    ModelUid model, absl::Span<const std::pair<ExemplarKey, std::string>> payloads) {
  rocksdb::WriteBatch batch;
  for (const auto& [exemplar, payload] : payloads) {
    const std::string key = PayloadKey(model, exemplar);
    batch.Put(engine_->handle_of(kFamily), key, Seal(key, payload));
    if (batch.GetDataSize() >= kBatchBytesMax) {
      ENGRAM_RETURN_IF_ERROR(engine_->Write(&batch, Durability::kWithTheNext));
      batch.Clear();
    }
  }
  return batch.Count() == 0 ? engine_->Health() : engine_->Write(&batch, Durability::kWithTheNext);
}

absl::StatusOr<std::vector<std::string>> RocksDbEpisodicStore::Read(
    ModelUid model, absl::Span<const ExemplarKey> keys) const {
  std::vector<std::string> payloads;
  payloads.reserve(keys.size());
  for (size_t begin = 0; begin < keys.size(); begin += kReadKeysMax) {
    const absl::Span<const ExemplarKey> part = keys.subspan(begin, kReadKeysMax);
    std::vector<std::string> stored_keys;
    for (const ExemplarKey& exemplar : part) stored_keys.push_back(PayloadKey(model, exemplar));
    std::vector<absl::StatusOr<std::string>> values = engine_->MultiGet(kFamily, stored_keys);
    for (size_t i = 0; i < part.size(); ++i) {
      if (absl::IsNotFound(values[i].status())) return Damaged(model, part[i], "is missing");
      ENGRAM_RETURN_IF_ERROR(values[i].status());
      const absl::optional<absl::string_view> payload = Unseal(stored_keys[i], *values[i]);
      if (!payload.has_value()) return Damaged(model, part[i], "fails its checksum");
      values[i]->resize(payload->size());
      payloads.push_back(*std::move(values[i]));
    }
  }
  return payloads;
}

absl::StatusOr<std::vector<ExemplarKey>> RocksDbEpisodicStore::Keys(ModelUid model) const {
  std::vector<ExemplarKey> keys;
  ENGRAM_RETURN_IF_ERROR(engine_->Scan(kFamily, ModelPrefix(model), ModelPrefix(model + 1),
                                       [&keys](absl::string_view key, absl::string_view /*value*/) {
                                         keys.push_back(ExemplarOf(key));
                                         return true;
                                       }));
  return keys;
}

absl::StatusOr<int64_t> RocksDbEpisodicStore::Sweep(ModelUid model, std::vector<ExemplarKey> keep) {
  std::sort(keep.begin(), keep.end());
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<ExemplarKey> stored, Keys(model));
  rocksdb::WriteBatch batch;
  int64_t removed = 0;
  for (const ExemplarKey& exemplar : stored) {
    if (std::binary_search(keep.begin(), keep.end(), exemplar)) continue;
    batch.Delete(engine_->handle_of(kFamily), PayloadKey(model, exemplar));
    ++removed;
  }
  if (removed > 0) ENGRAM_RETURN_IF_ERROR(engine_->Write(&batch, Durability::kWithTheNext));
  return removed;
}

absl::Status RocksDbEpisodicStore::RemoveAll(ModelUid model) {
  const std::string begin = ModelPrefix(model);
  return engine_->RemoveRange(kFamily, begin, ModelPrefix(model + 1), begin, Durability::kSynced)
      .status();
}

}  // namespace engram::storage
