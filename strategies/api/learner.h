// A live model: network + optimizer + strategies + random generator, behind a torch-free face.
//
// The trainer drives it: Train for each batch it cut from the log, MarkBoundary for a boundary
// record, TakeSnapshot to publish, Save for a checkpoint. State is a pure function of the calls
// (same options, calls, build, threads and BLAS give the same bits); no clock, thread, file or
// global is read inside.
//
// Threading: one thread at a time; it must have called EnterComputeThread().
// Failure: a c10::Error becomes a Status here and nowhere else. After INVALID_ARGUMENT or
//   RESOURCE_EXHAUSTED the learner is unchanged; after INTERNAL it must be restored.
// Bounds: memories and importance are bounded by their options (see Gauges).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/btree_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "strategies/api/batch_view.h"
#include "strategies/api/options.h"
#include "strategies/api/pretrained_weights.h"
#include "strategies/api/snapshot.h"

namespace engram::strategies {

// What one Train call did. Measured on the outputs before the update (test-then-train).
struct StepReport {
  int64_t rows = 0;
  int64_t correct = 0;  // rows whose class scored highest before the update; a new class is wrong
  double loss = 0;      // mean over the rows that entered the step, before the update
  // The guard found a non-finite or unbounded loss or gradient: no weight and no memory was
  // touched, the batch counts as applied.
  bool skipped = false;
  std::string skip_reason;
};

struct TaskBoundary {
  int32_t ended_task = 0;
  int32_t next_task = 0;
  uint64_t sequence = 0;  // of the boundary record
};

// One strategy's importance (Fisher) of one task, for durable inspection; never read in a step.
struct ImportanceSnapshot {
  std::string strategy;   // registry name
  int32_t task = 0;
  std::string estimator;  // "exact", "sampled", "empirical"
  std::string label_mode; // what labels squared gradients were taken at, in words
  int64_t examples = 0;   // how many the estimate averaged
  std::string tensors;    // safetensors: importance and anchor, flat [P], float32
};

struct BoundaryReport {
  std::vector<ImportanceSnapshot> importance;
};

// Identity of one stored exemplar. A revision changes when its payload (DER's logits) does.
struct MemberKey {
  uint32_t memory = 0;  // which memory of the learner: 0 replay, others by strategy position
  uint64_t sequence = 0;
  uint32_t revision = 0;
  friend bool operator==(const MemberKey& a, const MemberKey& b) {
    return a.memory == b.memory && a.sequence == b.sequence && a.revision == b.revision;
  }
  template <typename H>
  friend H AbslHashValue(H h, const MemberKey& key) {
    return H::combine(std::move(h), key.memory, key.sequence, key.revision);
  }
};

struct MemberPayload {
  MemberKey key;
  std::string bytes;  // opaque outside strategies; immutable for its key
};

struct SavedLearner {
  // Safetensors: parameters, optimizer, generator, strategy state; its __metadata__ carries the
  // format version, each strategy's name and state version, and the compute identity.
  std::string tensors;
  std::vector<MemberKey> members;            // every exemplar of every memory, in memory order
  std::vector<MemberPayload> new_payloads;   // those that `is_stored` did not know
};

// Sizes for metrics; cheap.
struct LearnerGauges {
  int64_t parameters = 0;
  std::vector<int64_t> episodic_by_task;  // index = task column; replay memory only
  std::vector<int64_t> episodic_by_class;  // index = class; the same exemplars
  int64_t episodic_bytes = 0;
  int64_t importance_snapshots = 0;       // consolidations held in the penalty
  // What only some strategies have (classes a generator still draws, free modules ...), by a name
  // in snake_case that says the unit.
  absl::btree_map<std::string, double> named;
};

class Learner {
 public:
  virtual ~Learner() = default;

  // Begins anew with these weights, as if they had been drawn: the first call on a learner, if any.
  // INVALID_ARGUMENT "weights: ..." naming the tensor and the rule; the learner is unchanged then.
  virtual absl::Status StartFrom(const PretrainedWeights& weights) = 0;

  // One strategy step on 1..batch_size rows. Zero rows: INVALID_ARGUMENT.
  virtual absl::StatusOr<StepReport> Train(const BatchView& batch) = 0;

  // Consolidates the ended task (Fisher, anchors ...) and opens the next one.
  virtual absl::StatusOr<BoundaryReport> MarkBoundary(const TaskBoundary& boundary) = 0;

  // Takes over live-changeable hyperparameters (ValidateLiveChange).
  virtual absl::Status Reconfigure(const ModelOptions& next) = 0;

  // Copies what a prediction needs into a buffer that no live snapshot uses.
  virtual absl::StatusOr<std::shared_ptr<const Snapshot>> TakeSnapshot(uint64_t version) = 0;

  // The whole state. `is_stored` answers whether a payload is already durable.
  virtual absl::StatusOr<SavedLearner> Save(
      const std::function<bool(const MemberKey&)>& is_stored) const = 0;

  // Replaces the whole state by a saved one of the same options. `payloads`: one for each member,
  // in their order; one without bytes lets that exemplar go. DATA_LOSS: bytes do not parse;
  // FAILED_PRECONDITION: names, shapes or state versions differ from this learner's (both are
  // named). On any failure the state is unchanged.
  virtual absl::Status Restore(const SavedLearner& saved,
                               const std::vector<MemberPayload>& payloads) = 0;

  virtual LearnerGauges Gauges() const = 0;
};

// A fresh learner with no class, task or exemplar. INVALID_ARGUMENT as ValidateOptions.
absl::StatusOr<std::unique_ptr<Learner>> MakeLearner(const ModelOptions& options);

}  // namespace engram::strategies
