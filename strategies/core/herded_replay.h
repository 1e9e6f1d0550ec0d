// What ncm and icarl share: exemplars chosen by herding at boundaries, some of them beside every
// batch, and predictions by the nearest mean of exemplars.
//
// Candidates of a class are the examples of the ended task that the learner kept and the exemplars
// that the class already has, so a class that returns in a later task is herded anew over both.
//
// Threading: one thread. Ownership: owns its memory.
// Failure: Make RESOURCE_EXHAUSTED as HerdedMemory. RestoreMembers DATA_LOSS.
// Bounds: memory_size exemplars, `candidates` examples of the current task.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "strategies/core/registry.h"
#include "strategies/core/strategy.h"
#include "strategies/memory/herded_memory.h"

namespace engram::strategies {

class HerdedReplay {
 public:
  static absl::StatusOr<HerdedReplay> Make(const StrategyParameters& parameters,
                                           const StrategyEnvironment& environment);
  // memory_size, per_class, candidates and replay_batch_size.
  static std::vector<ParameterHelp> Parameters();

  int64_t ExtraRows(int64_t batch_size) const;
  int64_t candidates() const { return candidates_; }
  void Reconfigure(const StrategyParameters& parameters);

  // Appends exemplars to the batch: distinct ones, all of them where there are few.
  absl::Status Append(TrainingBatch& batch, StepContext& context);
  // Offers the stream's rows, after a step that was not skipped.
  void Remember(const TrainingBatch& batch);
  // Herds every class that has examples among these, with the network as it is now.
  void Herd(const ConsolidationSet& examples, StepContext& context);
  std::unique_ptr<const ForwardPass> Serve(const ForwardPass& inner) const;

  void SaveState(StateWriter* writer) const;
  absl::Status LoadState(const StateReader& reader);
  absl::Status RestoreMembers(absl::Span<const MemberPayload> payloads);
  const HerdedMemory& memory() const { return *memory_; }
  void AddGauges(LearnerGauges* gauges) const;

 private:
  HerdedReplay(std::unique_ptr<HerdedMemory> memory, const UnitMap* units, int64_t candidates)
      : memory_(std::move(memory)), units_(units), candidates_(candidates) {}

  std::unique_ptr<HerdedMemory> memory_;
  const UnitMap* units_;
  int64_t candidates_;
  int64_t replay_rows_ = 0;
  std::vector<int64_t> restored_groups_;  // between LoadState and RestoreMembers
};

}  // namespace engram::strategies
