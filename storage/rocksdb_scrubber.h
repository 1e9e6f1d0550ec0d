// Reads what is stored again and again, slowly: a block that went bad is found while there are
// still checkpoints and backups from before, and not when somebody needs it.
//
// A damaged table turns the store read-only with the reason: what it held was acknowledged, and the
// next start refuses to open. A damaged file of tensors is counted; whoever loads it is refused,
// and every other checkpoint goes on.
//
// Threading: Scrub and Statistics from any thread; one pass at a time. Ownership: the stores
//   outlive it. Bounds: one table (64 MiB) is read at full speed, then it sleeps.
#pragma once

#include <cstdint>
#include <thread>

#include "storage/base/mutex.h"
#include "storage/rocksdb_checkpoint_store.h"
#include "storage/rocksdb_engine.h"
#include "storage/rocksdb_model_catalog.h"
#include "storage/store.h"

namespace engram::storage {

class RocksDbScrubber {
 public:
  RocksDbScrubber(RocksDbEngine* engine, RocksDbCheckpointStore* checkpoints,
                  RocksDbModelCatalog* catalog, const StoreOptions& options);
  ~RocksDbScrubber();

  // Begins the background passes, the first at once or after a period.
  void Start(bool at_once);
  // One pass at full speed; OK or the first damage.
  absl::Status Scrub();
  // Fills in what scrubs count.
  void AddTo(StoreStatistics* statistics) const;

 private:
  void Loop(bool at_once);
  absl::Status Pass(int64_t bytes_per_second);
  absl::Status VerifyTensors(int64_t bytes_per_second);
  // Counts the bytes and sleeps for them; false when it is to stop.
  bool Pace(int64_t bytes, int64_t bytes_per_second);
  bool SleepFor(std::chrono::milliseconds time);
  absl::Status Note(const absl::Status& found);

  RocksDbEngine* const engine_;
  RocksDbCheckpointStore* const checkpoints_;
  RocksDbModelCatalog* const catalog_;
  const StoreOptions options_;
  base::Mutex pass_mutex_;
  mutable base::Mutex mutex_;
  base::CondVar wake_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  uint64_t passes_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t bytes_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t damaged_ ABSL_GUARDED_BY(mutex_) = 0;
  std::thread thread_;
};

}  // namespace engram::storage
