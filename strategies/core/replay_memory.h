// The episodic memory of a strategy that replays: an ExemplarMemory with what all such strategies
// do alike - parameters, draws into the step's batch, offers after it, state and gauges.
//
// Threading: one thread. Ownership: a member of its strategy.
// Failure: Make as ExemplarMemory::Create. Replay FAILED_PRECONDITION when the batch is full: the
//   strategy declared too few extra rows. LoadState and RestoreMembers as Strategy's.
// Bounds: of the ExemplarMemory.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "strategies/api/options.h"
#include "strategies/core/parameters.h"
#include "strategies/core/registry.h"
#include "strategies/core/state_archive.h"
#include "strategies/core/step_context.h"
#include "strategies/core/training_batch.h"
#include "strategies/memory/exemplar_memory.h"

namespace engram::strategies {

// Parameters that replay strategies share, by the names memory_size, storage and replay_batch_size.
ParameterHelp MemorySizeParameter();
ParameterHelp StorageParameter();
ParameterHelp ReplayRowsParameter();

// Most rows of one draw, whatever replay_batch_size may become live.
int64_t ReplayRowsMax(int64_t batch_size);

class ReplayMemory {
 public:
  // `options` with memory_size, storage and the place in the model filled in.
  static absl::StatusOr<ReplayMemory> Make(const StrategyParameters& parameters,
                                           const StrategyEnvironment& environment,
                                           ExemplarMemoryOptions options = {});

  // Takes over replay_batch_size.
  void Reconfigure(const StrategyParameters& parameters);

  // One draw: replay_batch_size slots, or `stream_rows` where that is 0; none while the memory is
  // empty.
  void Draw(int64_t stream_rows, StepContext& context, std::vector<int64_t>* slots);
  // Appends one draw to the batch: replay_batch_size rows, or as many as there are stream rows;
  // none while the memory is empty. `slots` says which.
  absl::Status Replay(StepContext& context, TrainingBatch* batch, std::vector<int64_t>* slots);

  // Offers the stream's rows; with `logits`, [stream rows, units], as their side values.
  void OfferStream(const TrainingBatch& batch, const at::Tensor& logits = at::Tensor());
  void Offer(const ExemplarView& example) { memory_->Offer(example); }

  const ExemplarMemory& exemplars() const { return *memory_; }

  void SaveState(StateWriter* writer) const;
  absl::Status LoadState(const StateReader& reader);
  std::vector<MemberKey> Members() const { return memory_->Members(); }
  std::string Payload(int64_t index) const { return memory_->Payload(index); }
  absl::Status RestoreMembers(absl::Span<const MemberPayload> payloads);
  void AddGauges(LearnerGauges* gauges) const;

 private:
  explicit ReplayMemory(std::unique_ptr<ExemplarMemory> memory) : memory_(std::move(memory)) {}

  std::unique_ptr<ExemplarMemory> memory_;
  int64_t replay_rows_ = 0;
  std::vector<int32_t> restored_class_order_;  // between LoadState and RestoreMembers
};

}  // namespace engram::strategies
