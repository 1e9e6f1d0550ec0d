// A continual-learning strategy: what happens around the plain step and at a boundary.
//
// Strategies compose as a list, outermost first: Observe does its part, calls `next` for the rest
// of the list (at the innermost the plain step) and returns what `next` returned. Inheritance is
// exactly one deep; shared parts are members and free functions.
//
// Threading: one thread. No clock, file, global or metric inside; randomness from
//   StepContext::generator() only, so that state is a pure function of the calls.
// Ownership: the learner owns its strategies; they may keep a pointer to the arena they were made
//   with, and add companions to it in their constructor only.
// Failure: INTERNAL means the learner must be restored. A skipped step is not a failure: leave
//   every memory as it was (Observation::skipped).
// Bounds: ExtraRows and ConsolidationExamples are constant for the strategy's life.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"
#include "strategies/api/learner.h"
#include "strategies/core/parameters.h"
#include "strategies/core/state_archive.h"
#include "strategies/core/step_context.h"
#include "strategies/core/training_batch.h"
#include "strategies/models/network.h"

namespace engram::strategies {

using Next = absl::FunctionRef<absl::StatusOr<Observation>(TrainingBatch&, StepContext&)>;

// Examples of the ended task, drawn uniformly from those that were learned; where senders are
// capped, from each sender's, and the first few are of as many senders as they can be.
struct ConsolidationSet {
  at::Tensor features;                // [rows, d]
  absl::Span<const int64_t> targets = {};  // units
  absl::Span<const int32_t> tasks = {};
  absl::Span<const int32_t> classes = {};
  absl::Span<const uint64_t> sequences = {};
  absl::Span<const uint64_t> senders = {};
  int64_t rows() const { return static_cast<int64_t>(targets.size()); }
};

// One of them, borrowed.
inline ExemplarView ExampleOf(const ConsolidationSet& examples, int64_t row) {
  const size_t index = static_cast<size_t>(row);
  const size_t width = static_cast<size_t>(examples.features.size(1));
  ExemplarView view;
  view.features = absl::MakeConstSpan(examples.features.data_ptr<float>() + index * width, width);
  view.class_index = examples.classes[index];
  view.task = examples.tasks[index];
  view.sequence = examples.sequences[index];
  if (!examples.senders.empty()) view.sender = examples.senders[index];
  return view;
}

class Strategy {
 public:
  virtual ~Strategy() = default;

  // Registry name, and the version of what SaveState writes.
  virtual absl::string_view Name() const = 0;
  virtual int64_t StateVersion() const { return 1; }
  virtual StrategyTraits Traits() const { return {}; }

  // Most rows that Observe appends to a batch of `batch_size` stream rows.
  virtual int64_t ExtraRows(int64_t batch_size) const { return 0; }
  // Examples of the task that Consolidate wants; the learner keeps a reservoir of the most wanted.
  virtual int64_t ConsolidationExamples() const { return 0; }

  virtual absl::StatusOr<Observation> Observe(TrainingBatch& batch, StepContext& context,
                                              Next next) = 0;

  // `examples` holds at most ConsolidationExamples() rows, fewer after a short task, none after an
  // empty one.
  virtual absl::Status Consolidate(const TaskBoundary& boundary, const ConsolidationSet& examples,
                                   StepContext& context, BoundaryReport* report) {
    return absl::OkStatus();
  }

  // What is served in place of `inner`, the pass over this snapshot's copy of the parameters or
  // what strategies further in made of it; null: `inner` itself. The pass answers with logits, as
  // many a row as there are units, keeps no reference to the strategy, and may use `inner`, which
  // outlives it. Called at every publication, so it should be cheap to make.
  virtual std::unique_ptr<const ForwardPass> Serve(const ForwardPass& inner) const {
    return nullptr;
  }

  // Takes over live parameters (the others are equal to those it was made with).
  virtual void Reconfigure(const StrategyParameters& parameters) {}

  // Beside the arena's companions, which the learner saves. Into a freshly made strategy.
  virtual void SaveState(StateWriter* writer) const {}
  virtual absl::Status LoadState(const StateReader& reader) { return absl::OkStatus(); }

  // Exemplars, for strategies that keep any; their keys carry StrategyEnvironment::memory.
  // Payload(i) is that of Members()[i], asked for only before anything else is called.
  // RestoreMembers comes after LoadState, with all payloads in the order of Members; DATA_LOSS when
  // one does not parse.
  virtual std::vector<MemberKey> Members() const { return {}; }
  virtual std::string Payload(int64_t index) const { return {}; }
  virtual absl::Status RestoreMembers(absl::Span<const MemberPayload> payloads) {
    return absl::OkStatus();
  }

  // Adds its share (episodic_by_task, episodic_by_class, episodic_bytes, importance_snapshots,
  // named).
  virtual void AddGauges(LearnerGauges* gauges) const {}
};

}  // namespace engram::strategies
