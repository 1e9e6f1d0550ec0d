// All durable state of one server, in one folder: RocksDB under `db/`, tensor files under
// `checkpoints/` and `weights/`. One process at a time.
//
// Failure of OpenStore: FAILED_PRECONDITION "in use by process N" (second server), a folder that is
//   a symlink or writable by others, a newer format; DATA_LOSS "refusing to open the store: ...;
//   last good checkpoint: ...; nothing was modified" for damage, naming what and where; UNAVAILABLE
//   for I/O errors.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "storage/backup/backup_manifest.h"
#include "storage/checkpoint_store.h"
#include "storage/episodic_store.h"
#include "storage/held_out_store.h"
#include "storage/importance_store.h"
#include "storage/model_catalog.h"
#include "storage/sample_log.h"

namespace engram::storage {

// Below this a reserve would not hold what RocksDB may still write when the watermark stops it: two
// buffers of the log, and what others put on the disk until the next measure.
constexpr int64_t kDiskReserveBytesLeast = 192 << 20;

struct StoreOptions {
  std::string folder;
  bool sync = true;                    // false only in a test that shows why it must be true
  int64_t commit_bytes_max = 4 << 20;  // of one group commit
  int64_t queue_bytes_max = 64 << 20;
  int64_t disk_reserve_bytes = 512 << 20;
  int64_t checkpoints_max = 64;     // rows a model
  // A store with at most so many bytes of tables is read whole, and checked, before it opens; a
  // larger one right after.
  int64_t verify_bytes_max = int64_t{2} << 30;
  // Later, everything stored is read again at this pace: once a period, 0 = never.
  std::chrono::seconds scrub_period{24 * 3600};
  int64_t scrub_bytes_per_second = 16 << 20;
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
  uint64_t scrubs = 0;  // that came to their end
  uint64_t scrubbed_bytes = 0;
  uint64_t damaged_files = 0;  // that scrubs found
};

struct BackupRequest {
  std::string root;  // as BackupRoot checked it
  std::string name;
  std::function<bool()> cancelled;  // asked between pieces; may be null
  // The caller's own files and folders in the data folder that go along, those that are there.
  std::vector<std::string> beside;
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
  // Called once when the store turns read-only, with the reason that every write answers from then
  // on; at once when it is so already. On any thread; must not block or call the store's writers.
  // Set once.
  virtual void ObserveHealth(std::function<void(const absl::Status& read_only)> observer) = 0;
  // Reads tables, checkpoints and weights now and at full speed. DATA_LOSS names the first damaged
  // one. A damaged table turns the store read-only; a damaged file of tensors is its model's alone.
  virtual absl::Status Scrub() = 0;
  // A consistent copy of everything that is durable now, as ROOT/NAME, which appears whole or not
  // at all. Writers wait for a moment, not for the copying. The copy was opened and checked before.
  // Blocks for long and lowers the calling thread's priority for good: call it on one of its own.
  // FAILED_PRECONDITION when the store is read-only, RESOURCE_EXHAUSTED without room for the copy
  // beside the reserve, DATA_LOSS naming what is damaged here, CANCELLED. One at a time.
  virtual absl::StatusOr<BackupManifest> BackUp(const BackupRequest& request) = 0;
  // After it no file holds what these log records held before they were rewritten, nor what was
  // deleted of the model elsewhere: exemplars, held-out rows, checkpoints, names. Blocks while the
  // tables concerned are written anew; everything else goes on. UNAVAILABLE beside a copy.
  virtual absl::Status Purge(ModelUid model, absl::Span<const Sequence> rewritten) = 0;
  // Durable on return: from then on whoever does not know this format (store_folder.h) refuses the
  // folder. Asked for before the first record that an older format would not understand; free
  // when the folder has it. UNAVAILABLE or RESOURCE_EXHAUSTED, and what Health says.
  virtual absl::Status RequireFormat(int format) = 0;
  virtual std::string EngineVersion() const = 0;  // "RocksDB 7.8.3"
};

absl::StatusOr<std::unique_ptr<Store>> OpenStore(const StoreOptions& options);

}  // namespace engram::storage
