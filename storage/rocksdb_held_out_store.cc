#include "storage/rocksdb_held_out_store.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "storage/base/status_macros.h"
#include "storage/codec.h"

namespace engram::storage {
namespace {

using Durability = RocksDbEngine::Durability;

constexpr ColumnFamily kFamily = ColumnFamily::kHeldOut;

std::string ModelPrefix(ModelUid model) {
  std::string key;
  AppendBig64(&key, model);
  return key;
}

std::string RowKey(ModelUid model, absl::string_view task, Sequence sequence) {
  std::string key = ModelPrefix(model);
  AppendOrderedText(&key, task);
  AppendBig64(&key, sequence);
  return key;
}

// Nullopt for a damaged row.
absl::optional<HeldOutRow> ParseRow(absl::string_view key, absl::string_view value) {
  const absl::optional<absl::string_view> payload = Unseal(key, value);
  key.remove_prefix(sizeof(ModelUid));
  absl::optional<std::string> task = TakeOrderedText(&key);
  if (!payload.has_value() || !task.has_value() || key.size() != sizeof(Sequence)) {
    return absl::nullopt;
  }
  HeldOutRow row;
  row.task = *std::move(task);
  row.sequence = ReadBig64(key.data());
  row.payload = std::string(*payload);
  return row;
}

}  // namespace

// Not synced by itself: the log holds these rows too, until a checkpoint, which is synced after
// them, lets it be trimmed.
absl::Status RocksDbHeldOutStore::Put(ModelUid model, absl::Span<const HeldOutRow> rows) {
  rocksdb::WriteBatch batch;
  for (const HeldOutRow& row : rows) {
    const std::string key = RowKey(model, row.task, row.sequence);
    batch.Put(engine_->handle_of(kFamily), key, Seal(key, row.payload));
  }
  return rows.empty() ? engine_->Health() : engine_->Write(&batch, Durability::kWithTheNext);
}

absl::Status RocksDbHeldOutStore::Delete(ModelUid model, absl::string_view task,
                                         Sequence sequence) {
  return engine_->Delete(kFamily, RowKey(model, task, sequence), Durability::kWithTheNext);
}

absl::Status RocksDbHeldOutStore::ForEach(ModelUid model,
                                          const std::function<bool(HeldOutRow)>& visit) const {
  absl::Status damage;
  ENGRAM_RETURN_IF_ERROR(engine_->Scan(kFamily, ModelPrefix(model), ModelPrefix(model + 1),
                                       [&](absl::string_view key, absl::string_view value) {
                                         absl::optional<HeldOutRow> row = ParseRow(key, value);
                                         if (!row.has_value()) {
                                           damage = absl::DataLossError(absl::StrCat(
                                               "a held-out row of model ", model, " (sequence ",
                                               ReadBig64(key.data() + key.size() - 8),
                                               ") fails its checksum"));
                                           return false;
                                         }
                                         return visit(*std::move(row));
                                       }));
  return damage;
}

absl::Status RocksDbHeldOutStore::RemoveAll(ModelUid model) {
  const std::string begin = ModelPrefix(model);
  return engine_->RemoveRange(kFamily, begin, ModelPrefix(model + 1), begin, Durability::kSynced)
      .status();
}

}  // namespace engram::storage
