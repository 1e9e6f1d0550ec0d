// The CheckpointStore: rows in RocksDB, tensors in files. Private to this room; see
// checkpoint_store.h for the contract.
//
// Threading: changes of one model's checkpoints take that model's mutex, so that labels stay unique
//   and a shared file outlives its last row; models do not wait for each other.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/types/optional.h"
#include "storage/base/mutex.h"
#include "storage/checkpoint_folder.h"
#include "storage/checkpoint_id.h"
#include "storage/checkpoint_store.h"
#include "storage/rocksdb_engine.h"
#include "storage/store.h"
#include "storage/store_folder.h"

namespace engram::storage {

class RocksDbCheckpointStore : public CheckpointStore {
 public:
  RocksDbCheckpointStore(RocksDbEngine* engine, DiskWatch* disk, const StoreOptions& options);

  // Makes the folder and sweeps files that no row names: what a crash between file and row left.
  absl::Status Prepare();

  absl::StatusOr<CheckpointRow> Put(ModelUid model, NewCheckpoint checkpoint) override;
  absl::StatusOr<CheckpointRow> PutAlias(ModelUid model, absl::string_view source_id,
                                         Sequence applied, std::string stream_state) override;
  absl::StatusOr<CheckpointRow> Find(ModelUid model, absl::string_view id) const override;
  absl::StatusOr<std::vector<CheckpointRow>> List(ModelUid model) const override;
  absl::StatusOr<std::string> Load(ModelUid model, const CheckpointRow& row) const override;
  absl::Status Delete(ModelUid model, absl::string_view id) override;
  absl::Status RemoveAll(ModelUid model) override;

  // Whether a checkpoint's file is what its row says, without keeping its bytes: DATA_LOSS as Load.
  absl::Status Verify(ModelUid model, const CheckpointRow& row) const;
  // The newest checkpoint that verifies.
  absl::optional<CheckpointRow> NewestWhole(ModelUid model) const;

 private:
  base::Mutex* MutexOf(ModelUid model);
  absl::Status CheckRoom(ModelUid model, absl::string_view label) const;
  absl::Status PutRow(ModelUid model, const CheckpointRow& row);
  absl::Status VerifyFile(ModelUid model, const CheckpointRow& row) const;
  std::string NewestValid(ModelUid model, const CheckpointRow& damaged) const;

  RocksDbEngine* const engine_;
  DiskWatch* const disk_;
  const StoreOptions options_;
  const CheckpointFolder folder_;
  CheckpointIds ids_;
  base::Mutex mutex_;
  std::map<ModelUid, std::unique_ptr<base::Mutex>> model_mutexes_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace engram::storage
