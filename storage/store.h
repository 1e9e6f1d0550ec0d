// All durable state of one server, in one folder: RocksDB under `db/`, tensor files under
// `checkpoints/` and `weights/`. One process at a time.
//
// Failure of OpenStore: FAILED_PRECONDITION "in use by process N" (second server), a folder that is
//   a symlink or writable by others, a newer format; DATA_LOSS for damage, naming what and where,
//   nothing modified; UNAVAILABLE for I/O errors.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "storage/checkpoint_store.h"
#include "storage/episodic_store.h"
#include "storage/held_out_store.h"
#include "storage/importance_store.h"
#include "storage/model_catalog.h"
#include "storage/sample_log.h"

namespace engram::storage {

struct StoreOptions {
  std::string folder;
  bool sync = true;                    // false only in a test that shows why it must be true
  int64_t commit_bytes_max = 4 << 20;  // of one group commit
  int64_t queue_bytes_max = 64 << 20;
  int64_t disk_reserve_bytes = 512 << 20;
  int64_t checkpoints_max = 64;     // rows a model
  std::function<int64_t()> now_ms;  // Unix milliseconds; null: the system's clock
};

// Durations and sizes since start, for metrics; taken under a lock, cheap.
struct StoreStatistics {
  uint64_t commits = 0;
  uint64_t committed_records = 0;
  uint64_t committed_bytes = 0;
  int64_t queued_bytes = 0;
  int64_t disk_free_bytes = 0;
  int64_t disk_total_bytes = 0;
};

class Store {
 public:
  virtual ~Store() = default;  // drains the committer, then closes

  virtual SampleLog& log() = 0;
  virtual CheckpointStore& checkpoints() = 0;
  virtual EpisodicStore& episodic() = 0;
  virtual ImportanceStore& importance() = 0;
  virtual HeldOutStore& held_out() = 0;
  virtual ModelCatalog& catalog() = 0;

  virtual StoreStatistics Statistics() const = 0;
  // Called on the committer thread after each commit with its seconds. Set once, before traffic.
  virtual void ObserveCommits(std::function<void(double seconds)> observer) = 0;
  virtual std::string EngineVersion() const = 0;  // "RocksDB 7.8.3"
};

absl::StatusOr<std::unique_ptr<Store>> OpenStore(const StoreOptions& options);

}  // namespace engram::storage
