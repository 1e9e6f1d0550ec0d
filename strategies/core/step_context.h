// What a strategy may touch during a step or a consolidation, and the plain step in pieces.
//
// The innermost step of a model is PlainStep: forward, loss, backward, guard, update. A strategy
// that composes adds its hooks (step_hooks.h) and calls `next`, which ends there; one that does the
// whole step itself (several passes, closed forms) uses the pieces.
//
// Threading: one thread. Ownership: borrows the learner's parts for its whole life.
// Failure: Status of the pieces; c10::Error passes through to the learner.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/optional.h"
#include "strategies/api/options.h"
#include "strategies/core/augmentation.h"
#include "strategies/core/embedding_cache.h"
#include "strategies/core/generator.h"
#include "strategies/core/optimizer.h"
#include "strategies/core/parameter_arena.h"
#include "strategies/core/path_integral.h"
#include "strategies/core/penalty_schedule.h"
#include "strategies/core/proximal_pull.h"
#include "strategies/core/step_hooks.h"
#include "strategies/core/training_batch.h"
#include "strategies/core/unit_map.h"
#include "strategies/core/update_norm.h"
#include "strategies/models/network.h"

namespace engram::strategies {

// What one step saw and did.
struct Observation {
  // [stream rows, units] logits of the rows as they came, before the update; valid until the next
  // step.
  at::Tensor logits;
  double loss = 0;  // mean over all rows that entered, as trained, before the update
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

  // Boundaries marked so far: 0 while the first task lasts.
  int64_t boundaries() const { return boundaries_; }
  void set_boundaries(int64_t boundaries) { boundaries_ = boundaries; }

  // `lambda` of what holds the model to its past, as scheduled for the step that comes next.
  double Strength(double lambda) const {
    return lambda * penalty_schedule_.Factor(options_->penalty_schedule, units_->size());
  }
  PenaltySchedule& penalty_schedule() { return penalty_schedule_; }

  // From now on passes over rows as they came go through `cache`, which outlives the context.
  void set_embedding_cache(EmbeddingCache* cache) { embedding_cache_ = cache; }

  // Hooks of this step and of those inside it, in the order added. Cleared when the step ends.
  // The learning rate below the head counts `factor` times.
  void SlowBackbone(double factor) { backbone_rate_ *= factor; }
  void AddPull(ProximalPull* pull) { pulls_.push_back(pull); }
  absl::Span<ProximalPull* const> pulls() const { return pulls_; }
  void ReplaceClassLoss(ClassLoss loss) { class_loss_ = std::move(loss); }
  void AddLossTerm(LossTerm term) { loss_terms_.push_back(std::move(term)); }
  void AddEmbeddingTerm(EmbeddingTerm term) { embedding_terms_.push_back(std::move(term)); }
  // Of the traces; none after a transform of the gradient, which they come before.
  void AddTraceTransform(TraceTransform transform);
  void AddTransform(GradientTransform transform) { transforms_.push_back(std::move(transform)); }
  bool has_transforms() const { return !transforms_.empty(); }
  void AddObserver(UpdateObserver* observer) { observers_.push_back(observer); }
  // At most one a step is summed up by the optimizer itself (Optimizer::Integrates).
  void AddPath(PathIntegral* path) { paths_.push_back(path); }
  void ClearHooks();

  // The innermost step over all rows of the batch. With augmentation it trains views of them, and
  // one more forward pass shows what the stream's rows as they came would have been answered.
  absl::StatusOr<Observation> PlainStep(TrainingBatch& batch);

  // Its pieces. Augment adds views of the rows where the options ask for any; without it a pass
  // sees the rows themselves. Forward returns [rows, units] of the batch's inputs; LossAndBackward
  // fills the network's traces and returns the loss; Guard answers why the step must be skipped,
  // before any weight is written.
  void Augment(TrainingBatch& batch);
  const at::Tensor& Forward(const TrainingBatch& batch);
  double LossAndBackward(const TrainingBatch& batch, const at::Tensor& logits);
  absl::optional<std::string> Guard(double loss) const;
  // Answers why nothing was written: transforms made the gradient unbounded, or the parameters
  // would have moved further than max_update_norm.
  absl::optional<std::string> Update();
  // Whether Update would answer so, for a strategy that changes other state before it updates. Of
  // max_update_norm only: none, and nothing done, where no such cap is set.
  absl::optional<std::string> TryUpdate();

  // Fills the network's traces for cross-entropy alone over a batch of the caller's, and returns
  // the loss; no hook takes part and no parameter changes. LossGradient also writes
  // d loss / d theta into the flat `gradient`.
  double LossTraces(const TrainingBatch& batch);
  double LossGradient(const TrainingBatch& batch, const at::Tensor& gradient);

  // A copy of the first `rows` rows that the next Forward does not overwrite.
  at::Tensor KeepLogits(const at::Tensor& logits, int64_t rows);

 private:
  absl::optional<std::string> GuardTraces(const std::vector<LayerTrace>& traces) const;
  std::vector<UpdateObserver*> AllObservers() const;
  absl::optional<std::string> Write();
  // Write, and the reason why it must be taken back.
  absl::optional<std::string> WriteAndMeasure();

  const ModelOptions* options_;
  ParameterArena* arena_;
  Network* network_;
  Optimizer* optimizer_;
  UnitMap* units_;
  Generator* generator_;
  Augmentation augmentation_;
  PenaltySchedule penalty_schedule_;
  EmbeddingCache* embedding_cache_ = nullptr;
  int64_t boundaries_ = 0;
  double backbone_rate_ = 1;
  std::vector<ProximalPull*> pulls_;
  ClassLoss class_loss_;
  std::vector<LossTerm> loss_terms_;
  std::vector<EmbeddingTerm> embedding_terms_;
  std::vector<TraceTransform> trace_transforms_;
  std::vector<GradientTransform> transforms_;
  std::vector<UpdateObserver*> observers_;
  std::vector<PathIntegral*> paths_;
  std::vector<LayerTrace> transformed_;
  at::Tensor logit_gradient_;
  at::Tensor embedding_gradient_;
  at::Tensor flat_gradient_;
  uint64_t gradient_generation_ = 0;  // of the arena when it was made
  at::Tensor kept_logits_;
  UpdateNorm update_norm_;
};

}  // namespace engram::strategies
