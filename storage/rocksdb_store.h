// The Store on RocksDB. Private to this room and to tests that inject faults; everybody else calls
// OpenStore of store.h.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "storage/rocksdb_checkpoint_store.h"
#include "storage/rocksdb_engine.h"
#include "storage/rocksdb_episodic_store.h"
#include "storage/rocksdb_held_out_store.h"
#include "storage/rocksdb_importance_store.h"
#include "storage/rocksdb_model_catalog.h"
#include "storage/rocksdb_sample_log.h"
#include "storage/rocksdb_scrubber.h"
#include "storage/store.h"
#include "storage/store_folder.h"

namespace engram::storage {

class RocksDbStore : public Store {
 public:
  static absl::StatusOr<std::unique_ptr<Store>> Open(StoreOptions options, const StoreHooks& hooks);

  SampleLog& log() override { return log_; }
  CheckpointStore& checkpoints() override { return checkpoints_; }
  EpisodicStore& episodic() override { return episodic_; }
  ImportanceStore& importance() override { return importance_; }
  HeldOutStore& held_out() override { return held_out_; }
  ModelCatalog& catalog() override { return catalog_; }

  StoreStatistics Statistics() const override;
  void ObserveCommits(std::function<void(double seconds)> observer) override;
  void ObserveHealth(std::function<void(const absl::Status& read_only)> observer) override;
  absl::Status Scrub() override;
  absl::StatusOr<BackupManifest> BackUp(const BackupRequest& request) override;
  absl::Status Purge(ModelUid model, absl::Span<const Sequence> rewritten) override;
  absl::Status RequireFormat(int format) override;
  std::string EngineVersion() const override;

 private:
  RocksDbStore(std::unique_ptr<FolderLock> lock, std::unique_ptr<DiskWatch> disk,
               std::unique_ptr<RocksDbEngine> engine, const StoreOptions& options,
               const StoreHooks& hooks);

  const StoreOptions options_;
  const StoreHooks hooks_;
  base::Mutex backup_mutex_;  // one at a time
  base::Mutex format_mutex_;
  int format_ ABSL_GUARDED_BY(format_mutex_) = kStoreFormatAtOpen;
  // Destroyed from the last to the first: the log drains into an engine that is still there.
  const std::unique_ptr<FolderLock> lock_;
  const std::unique_ptr<DiskWatch> disk_;
  const std::unique_ptr<RocksDbEngine> engine_;
  RocksDbCheckpointStore checkpoints_;
  RocksDbEpisodicStore episodic_;
  RocksDbImportanceStore importance_;
  RocksDbHeldOutStore held_out_;
  RocksDbModelCatalog catalog_;
  RocksDbSampleLog log_;
  RocksDbScrubber scrubber_;
};

}  // namespace engram::storage
