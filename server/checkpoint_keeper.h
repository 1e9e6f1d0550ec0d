// The checkpoints of one model: writing what the trainer saved, loading, pins, retention, the sweep
// of exemplar payloads, and the trim of the log behind them.
//
// A payload must be there for as long as a checkpoint names it, also one that is saved but not yet
// written. So the set of durable payloads and the memberships on their way are kept here: Save and
// Sweep decide under one lock, and all writes happen on the background queue in that order.
//
// Threading: Save on the trainer's strand; Write, Alias and Tend on the background thread; the rest
//   from any thread.
// Failure: the store's statuses; FAILED_PRECONDITION for a pinned or an indispensable checkpoint.
// Bounds: keep_automatic automatic checkpoints, the store's limit in all; 16 bytes of memory a
//   payload.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engram/internal/records.pb.h"
#include "engram/v1/checkpoints.pb.h"
#include "server/held_out_sets.h"
#include "server/model_context.h"
#include "storage/base/mutex.h"
#include "strategies/api/learner.h"

namespace engram::server {

// A learner's state as Learner::Restore takes it.
struct RestorableLearner {
  strategies::SavedLearner saved;
  std::vector<strategies::MemberPayload> payloads;  // one a member
  // Of an open tune: one a candidate, without tensors where it was dropped.
  std::vector<RestorableLearner> shadows;
};

// A learner to be saved, null for a candidate that was dropped. A payload is immutable for its key,
// and two learners may keep one example differently: each has a space of keys to itself.
struct SpacedLearner {
  const strategies::Learner* learner = nullptr;
  uint32_t memory_space = 0;
};

// The whole state in memory, payloads included.
absl::StatusOr<RestorableLearner> Capture(const strategies::Learner& learner);

class CheckpointKeeper {
 public:
  // Saved on the strand, not yet written.
  struct Pending {
    storage::NewCheckpoint row;
    std::vector<strategies::MemberPayload> new_payloads;
    absl::Duration started;
    std::list<std::vector<storage::ExemplarKey>>::iterator on_its_way;
  };

  explicit CheckpointKeeper(const ModelContext* context) : context_(context) {}

  // Which payloads are durable, from the store.
  absl::Status Open();

  // The model's learner first, then the candidates of an open tune in order.
  absl::StatusOr<std::shared_ptr<Pending>> Save(const std::vector<SpacedLearner>& learners,
                                                uint64_t applied,
                                                internal::StreamState stream_state,
                                                std::string label, bool automatic);
  absl::StatusOr<storage::CheckpointRow> Write(Pending* pending);
  absl::StatusOr<storage::CheckpointRow> Alias(const std::string& source_id, uint64_t applied,
                                               std::string stream_state);
  // Retention, sweep, trim; names of trimmed records go unless an exemplar or a held-out row lives.
  void Tend(int64_t keep_automatic, const HeldOutSets& held_out);

  // The whole state, verified.
  absl::StatusOr<RestorableLearner> Load(const storage::CheckpointRow& row) const;

  absl::StatusOr<storage::CheckpointRow> Find(absl::string_view id) const;
  absl::StatusOr<std::vector<storage::CheckpointRow>> List() const;
  absl::Status Delete(absl::string_view id);
  // One that learned from what was erased: also the only valid one, and a pinned one.
  absl::Status DeleteErased(const std::string& id);
  // Deletes the payloads that no checkpoint names.
  absl::Status SweepPayloads();

  // A pinned checkpoint is not deleted: a rollback record in the log still needs it.
  void Pin(const std::string& id);
  // With no deletion of it under way, which Find may not see yet and a pin would be too late for.
  absl::StatusOr<storage::CheckpointRow> FindAndPin(absl::string_view id);
  void Unpin(const std::string& id);

 private:
  absl::Status SaveOne(const SpacedLearner& one, Pending* pending)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool MayDelete(const storage::CheckpointRow& row,
                 const std::vector<storage::CheckpointRow>& rows, std::string* why) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(rows_mutex_);
  void DropSurplus(int64_t keep_automatic) ABSL_EXCLUSIVE_LOCKS_REQUIRED(rows_mutex_);
  void TrimLog() ABSL_EXCLUSIVE_LOCKS_REQUIRED(rows_mutex_);
  void TrimNames(const HeldOutSets& held_out);

  const ModelContext* const context_;
  // Held across deletions and trims: each must see what the other left.
  mutable base::Mutex rows_mutex_;
  bool sweep_due_ ABSL_GUARDED_BY(rows_mutex_) = false;
  mutable base::Mutex mutex_;
  std::multiset<std::string> pins_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_set<strategies::MemberKey> durable_ ABSL_GUARDED_BY(mutex_);
  std::list<std::vector<storage::ExemplarKey>> on_their_way_ ABSL_GUARDED_BY(mutex_);
};

// For the wire.
v1::Checkpoint ToProto(const storage::CheckpointRow& row);

}  // namespace engram::server
