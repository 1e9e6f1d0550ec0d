// The ModelCatalog on RocksDB, with the rows of all models kept in memory too: they are few.
// Private to this room; see model_catalog.h for the contract.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "storage/base/mutex.h"
#include "storage/checkpoint_folder.h"
#include "storage/checkpoint_id.h"
#include "storage/model_catalog.h"
#include "storage/rocksdb_engine.h"
#include "storage/store.h"
#include "storage/store_folder.h"

namespace engram::storage {

class RocksDbModelCatalog : public ModelCatalog {
 public:
  RocksDbModelCatalog(RocksDbEngine* engine, DiskWatch* disk, const StoreOptions& options);

  // Reads what is stored, and changes nothing. DATA_LOSS for a damaged row.
  absl::Status Recover();
  // After Recover: deletes files of weights that no row names.
  absl::Status SweepWeights();
  // Whether a model's weights are what its row says; DATA_LOSS as LoadWeights.
  absl::Status VerifyWeights(const ModelRow& row) const;

  absl::StatusOr<ModelRow> Create(absl::string_view name, std::string spec,
                                  const StartingWeights& weights) override;
  absl::StatusOr<std::string> LoadWeights(ModelUid model) const override;
  absl::StatusOr<std::vector<ModelRow>> List() const override;
  absl::Status SetPaused(ModelUid model, bool paused) override;
  absl::Status PauseFor(ModelUid model, std::string reason) override;
  absl::Status Remove(ModelUid model) override;
  absl::StatusOr<std::vector<ModelUid>> Orphans() const override;
  absl::Status ForgetOrphan(ModelUid model) override;
  absl::Status PutReportRow(ModelUid model, Sequence boundary, std::string row) override;
  absl::StatusOr<std::vector<std::pair<Sequence, std::string>>> ReportRows(
      ModelUid model) const override;
  absl::Status RemoveReportRows(ModelUid model) override;
  absl::Status PutErasure(ModelUid model, absl::string_view name, std::string row) override;
  absl::StatusOr<absl::optional<std::string>> FindErasure(ModelUid model,
                                                          absl::string_view name) const override;
  absl::Status RemoveErasure(ModelUid model, absl::string_view name) override;
  absl::Status RemoveErasures(ModelUid model) override;

 private:
  absl::Status RecoverUidCounter() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status RecoverRows() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status RecoverPauseReasons() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status RecoverOrphans() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // As the row will be: with its reason, or without one that an earlier pause left.
  absl::Status PutPause(ModelRow row) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<WeightsFile> WriteWeights(ModelUid model, int64_t now_ms,
                                           const StartingWeights& weights);

  RocksDbEngine* const engine_;
  DiskWatch* const disk_;
  const std::function<int64_t()> now_ms_;
  const CheckpointFolder weights_folder_;
  CheckpointIds ids_;
  mutable base::Mutex mutex_;
  ModelUid last_uid_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<ModelUid, ModelRow> rows_ ABSL_GUARDED_BY(mutex_);
  std::set<ModelUid> orphans_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace engram::storage
