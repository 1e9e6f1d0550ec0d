// What a strategy may touch during a step or a consolidation, and the plain step in pieces.
//
// The innermost step of a model is PlainStep: forward, loss, backward, guard, update. A strategy
// that composes calls `next`, which ends there; one that does the whole step itself (gradient
// projection) uses the pieces.
//
// Threading: one thread. Ownership: borrows the learner's parts for its whole life.
// Failure: Status of the pieces; c10::Error passes through to the learner.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/optional.h"
#include "strategies/api/options.h"
#include "strategies/core/generator.h"
#include "strategies/core/optimizer.h"
#include "strategies/core/parameter_arena.h"
#include "strategies/core/proximal_pull.h"
#include "strategies/core/training_batch.h"
#include "strategies/core/unit_map.h"
#include "strategies/models/network.h"

namespace engram::strategies {

// What one step saw and did.
struct Observation {
  // [stream rows, units] logits before the update; valid until the next step.
  at::Tensor logits;
  double loss = 0;  // mean over all rows that entered, before the update
  bool skipped = false;
  std::string skip_reason;
};

class StepContext {
 public:
  StepContext(const ModelOptions* options, ParameterArena* arena, Network* network,
              Optimizer* optimizer, UnitMap* units, Generator* generator);

  const ModelOptions& options() const { return *options_; }
  ParameterArena& arena() { return *arena_; }
  Network& network() { return *network_; }
  Optimizer& optimizer() { return *optimizer_; }
  const UnitMap& units() const { return *units_; }
  Generator& generator() { return *generator_; }

  // Applied after the update of this step, in the order added. Cleared when the step ends.
  void AddPull(ProximalPull* pull) { pulls_.push_back(pull); }
  absl::Span<ProximalPull* const> pulls() const { return pulls_; }
  void ClearPulls() { pulls_.clear(); }

  // The innermost step over all rows of the batch.
  absl::StatusOr<Observation> PlainStep(TrainingBatch& batch);

  // Its pieces. Forward returns [rows, units]; LossAndBackward fills the network's traces and
  // returns the loss; Guard answers why the step must be skipped, before any weight is written.
  const at::Tensor& Forward(const TrainingBatch& batch);
  double LossAndBackward(const TrainingBatch& batch, const at::Tensor& logits);
  absl::optional<std::string> Guard(double loss) const;
  void Update();

  // A copy of the first `rows` rows that the next Forward does not overwrite.
  at::Tensor KeepLogits(const at::Tensor& logits, int64_t rows);

 private:
  const ModelOptions* options_;
  ParameterArena* arena_;
  Network* network_;
  Optimizer* optimizer_;
  UnitMap* units_;
  Generator* generator_;
  std::vector<ProximalPull*> pulls_;
  at::Tensor logit_gradient_;
  at::Tensor kept_logits_;
};

}  // namespace engram::strategies
