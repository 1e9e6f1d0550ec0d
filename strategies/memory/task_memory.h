// One bounded episodic memory a task, for methods that hold the past against the present task by
// task (GEM's constraints, A-GEM's reference).
//
// A task is what lies between two boundaries. Each keeps a uniform sample of its own examples
// (ExemplarMemory, reservoir). When every place is taken, the two oldest tasks share one from the
// next boundary on: since priorities are hashes, keeping the highest of both is a uniform sample of
// what both have seen, however often a place is shared; of a sender at its cap the highest of both
// stay, too.
//
// Threading: one thread at a time.
// Ownership: owns its memories; what At, past and DrawPast hand out lives until the next Offer,
//   CloseTask or Restore.
// Failure: Create RESOURCE_EXHAUSTED beyond kExemplarBytesMax in all. Restore DATA_LOSS; the memory
//   is to be thrown away then.
// Bounds: places x capacity exemplars, reserved at Create.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "strategies/api/learner.h"
#include "strategies/memory/exemplar_memory.h"

namespace engram::strategies {

struct TaskMemoryOptions {
  int64_t capacity = 0;  // exemplars of one task, >= 1
  int64_t places = 0;    // tasks kept apart, the present one among them, >= 2
  int64_t feature_count = 0;
  uint64_t seed = 0;
  uint32_t memory = 0;          // MemberKey::memory
  double max_sender_share = 1;  // of each task's capacity
};

class TaskMemory {
 public:
  static absl::StatusOr<std::unique_ptr<TaskMemory>> Create(const TaskMemoryOptions& options);

  // An example of the present task.
  void Offer(const ExemplarView& example) { memories_[past_]->Offer(example); }
  // The present task is past, unless nothing of it was kept.
  void CloseTask();

  // Past tasks kept apart, oldest first, and the memory of one: never empty.
  int64_t past_count() const { return static_cast<int64_t>(past_); }
  ExemplarMemory& past(int64_t index) { return *memories_[static_cast<size_t>(index)]; }

  // `count` different exemplars of all past tasks, each as likely; all of them when there are not
  // more. `below` draws uniformly from [0, limit).
  void DrawPast(int64_t count, absl::FunctionRef<uint64_t(uint64_t)> below,
                std::vector<ExemplarView>* drawn);

  // State: the exemplars of each task, oldest first and the present one last, and all members.
  std::vector<int64_t> Sizes() const;
  std::vector<MemberKey> Members() const;
  std::string Payload(int64_t index) const;
  absl::Status Restore(absl::Span<const MemberPayload> payloads, absl::Span<const int64_t> sizes);

  void AddGauges(LearnerGauges* gauges) const;

 private:
  TaskMemory() = default;
  ExemplarView PastAt(int64_t index) const;

  // All places; [0, past_) hold past tasks, past_ the present one, the rest are empty.
  std::vector<std::unique_ptr<ExemplarMemory>> memories_;
  size_t past_ = 0;
  absl::flat_hash_set<int64_t> chosen_;  // by DrawPast
};

}  // namespace engram::strategies
