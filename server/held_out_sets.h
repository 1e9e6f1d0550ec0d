// Held-out rows by task: a uniform sample of at most so many rows a task, kept by hash priority, so
// that it depends on nothing but the log's prefix. In memory for evaluation; in the HeldOutStore to
// outlive the log's trim.
//
// Threading: every method from any thread; Add in log order by one thread, Write* by the
//   background.
// Ownership: a View shares its sets; a shared set is copied before it changes.
// Failure: Write* and Load pass the store's statuses on; rows not written stay queued.
// Bounds: max_per_task rows a task.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engram/v1/example.pb.h"
#include "storage/base/mutex.h"
#include "storage/held_out_store.h"

namespace engram::server {

// Immutable once it is in a View.
struct HeldOutSet {
  struct Row {
    uint64_t sequence = 0;
    uint64_t priority = 0;
    v1::Label label;
  };
  std::vector<Row> rows;
  std::vector<float> features;  // row-major
};

class HeldOutSets {
 public:
  struct Options {
    storage::ModelUid model = 0;
    int64_t feature_count = 0;
    int64_t max_per_task = 0;
    uint64_t seed = 0;
  };
  using View = absl::flat_hash_map<std::string, std::shared_ptr<const HeldOutSet>>;

  HeldOutSets(Options options, storage::HeldOutStore* store);

  // Begins anew with the stored rows up to `through`; later ones come again from the log.
  absl::Status Load(uint64_t through);
  // A row of the log. Nothing happens at or before the last one added or loaded.
  void Add(const std::string& task, uint64_t sequence, const v1::Example& example);

  View Share();
  absl::flat_hash_map<std::string, int64_t> Counts() const;

  // Makes everything added so far durable.
  absl::Status WriteAdded();
  // Deletes rows that a row at or before `sequence` pushed out. Not earlier than a checkpoint at
  // `sequence`: a replay from before it still needs them.
  absl::Status WriteEvicted(uint64_t sequence);

  // Takes rows (ascending) out, here and in the store. Returns how many the store held. Shared sets
  // stay as they are until their holders let go. Not beside WriteAdded or WriteEvicted.
  absl::StatusOr<int64_t> Erase(const std::vector<uint64_t>& sequences);
  // Of all rows, also of evicted ones that the store may still hold.
  std::vector<uint64_t> Sequences() const;

 private:
  struct Task {
    std::shared_ptr<HeldOutSet> set = std::make_shared<HeldOutSet>();
    bool shared = false;
    size_t lowest = 0;  // row with the lowest priority
  };
  struct Evicted {
    std::string task;
    uint64_t sequence = 0;
    uint64_t by = 0;
  };

  void EraseLocked(const std::vector<uint64_t>& sequences) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool Insert(const std::string& name, uint64_t sequence, const v1::Example& example)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Options options_;
  storage::HeldOutStore* const store_;
  mutable base::Mutex mutex_;
  uint64_t through_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::flat_hash_map<std::string, Task> tasks_ ABSL_GUARDED_BY(mutex_);
  std::vector<storage::HeldOutRow> added_ ABSL_GUARDED_BY(mutex_);
  std::vector<Evicted> evicted_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace engram::server
