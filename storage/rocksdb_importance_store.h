// The ImportanceStore on RocksDB. A snapshot is a head row and its tensors in pieces of 1 MiB; the
// head is written last, synced, and is the commit point. Private to this room; see
// importance_store.h for the contract.
#pragma once

#include <string>
#include <vector>

#include "storage/base/mutex.h"
#include "storage/importance_store.h"
#include "storage/rocksdb_engine.h"

namespace engram::storage {

class RocksDbImportanceStore : public ImportanceStore {
 public:
  explicit RocksDbImportanceStore(RocksDbEngine* engine) : engine_(engine) {}

  // RESOURCE_EXHAUSTED, nothing changed, for a snapshot larger than `bytes_max`.
  absl::Status Put(ModelUid model, const ImportanceRow& row, int64_t bytes_max) override;
  absl::StatusOr<std::vector<ImportanceRow>> List(ModelUid model) const override;
  absl::StatusOr<ImportanceRow> Read(ModelUid model, Sequence boundary,
                                     uint32_t position) const override;
  absl::Status RemoveRange(ModelUid model, Sequence after, Sequence up_to) override;
  absl::Status RemoveAll(ModelUid model) override;

 private:
  absl::Status PutPieces(ModelUid model, const ImportanceRow& row);
  // Adds the removal of one snapshot to `batch`: the head and as many pieces as it has.
  void AddRemoval(ModelUid model, const ImportanceRow& row, rocksdb::WriteBatch* batch) const;

  RocksDbEngine* const engine_;
  base::Mutex mutex_;  // one change at a time
};

}  // namespace engram::storage
