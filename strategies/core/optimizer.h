// SGD (momentum, weight decay), Adam and AdamW over the arena's flat arrays; the same arithmetic
// as torch::optim.
//
// Plain SGD never writes a gradient: each layer's update is one product into its weights,
// W <- (1 - lr wd) W - lr delta^T a. The others write a flat gradient and update in one pass. Each
// parameter learns at its group's rate (ParameterArena::SetRateFactor): decay and pulls go by it.
//
// Threading: one thread. Ownership: moments are saved companions of the arena, so they survive
//   growth of the head; the gradient is a derived one.
// Failure: none; the caller has guarded the traces.
// Bounds: 0 (SGD), 2 (momentum) or 3 (Adam, AdamW) companions; the gradient of one layer.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "strategies/api/options.h"
#include "strategies/core/kernels.h"
#include "strategies/core/learning_rate.h"
#include "strategies/core/parameter_arena.h"
#include "strategies/core/state_archive.h"
#include "strategies/models/network.h"

namespace engram::strategies {

class PathIntegral;
class ProximalPull;
class UpdateObserver;

class Optimizer {
 public:
  Optimizer(const OptimizerOptions& options, ParameterArena* arena);

  // One step of mean loss from the traces of the last Backward, then the pulls, block by block.
  // `path` only where Integrates says so; what has no trace adds nothing to it.
  void Step(const std::vector<LayerTrace>& traces, absl::Span<ProximalPull* const> pulls,
            PathIntegral* path = nullptr);

  // Step can sum up a path: it updates each weight in one pass.
  bool Integrates(absl::Span<ProximalPull* const> pulls) const;

  // The same from a flat gradient in the arena's layout; observers see each block change. Only
  // ParameterArena::trained_ranges() move.
  void StepWithGradient(const at::Tensor& gradient, absl::Span<ProximalPull* const> pulls,
                        absl::Span<UpdateObserver* const> observers = {});

  // d loss / d theta of the last Backward, as a flat array; parameters without a trace keep what
  // `gradient` holds for them.
  void WriteGradient(const std::vector<LayerTrace>& traces, const at::Tensor& gradient) const;

  const OptimizerOptions& options() const { return options_; }
  // Of the next step, as scheduled, where no factor counts.
  double learning_rate() const { return rate_.value(); }
  bool adaptive() const { return options_.kind != OptimizerKind::kSgd; }
  // Adam, AdamW: bias-corrected second moment is moment2() / second_correction().
  const at::Tensor& moment2() const { return arena_->Companion(moment2_); }
  double second_correction() const;
  // Steps taken; set_steps takes some back, together with moments() (update_norm.h).
  int64_t steps() const { return steps_; }
  void set_steps(int64_t steps) { steps_ = steps; }
  // What a step changes beside the parameters, flat; none under plain SGD.
  std::vector<at::Tensor> moments() const;

  // Forgets moments and steps.
  void Reset();

  // Where the schedule stands moves on: after a step that changed weights, and at a boundary.
  void OnStep(double loss) { rate_.OnStep(loss); }
  void OnBoundary() { rate_.OnBoundary(); }

  // Takes over the numbers; kind and presence of momentum stay.
  void Reconfigure(const OptimizerOptions& next);

  void SaveState(StateWriter* writer) const;
  absl::Status LoadState(const StateReader& reader);

 private:
  // Of a parameter in the next step.
  struct Rate {
    double value;
    float step;  // value
    float kept;  // what weight decay leaves, 1 - value * weight_decay
  };

  bool plain() const;
  Rate RateOf(double factor) const;
  // What is the same for all layers of a plain step.
  struct Beside {
    absl::Span<ProximalPull* const> pulls;
    const PathIntegral* path = nullptr;
  };
  void StepWeight(const LayerTrace& trace, const Beside& beside);
  // Some outputs of a layer's weight, which begin at `begin` of the arena.
  void StepOutputs(const RankUpdate& update, int64_t delta_stride, int64_t begin, const Rate& rate,
                   const Beside& beside);
  void StepBias(const LayerTrace& trace, const Beside& beside);
  // `update`, of the parameters from `begin` on, and what is beside it.
  void Run(RankUpdate update, int64_t begin, const Rate& rate, const Beside& beside);
  // The same from a gradient that is written.
  void Descend(const float* gradient, int64_t begin, int64_t count, const Rate& rate,
               const Beside& beside);
  void UpdateFlat(const float* gradient, int64_t begin, int64_t count, const Rate& rate);

  OptimizerOptions options_;
  LearningRate rate_;
  ParameterArena* arena_;
  CompanionId gradient_ = -1;
  CompanionId moment1_ = -1;  // momentum under SGD
  CompanionId moment2_ = -1;
  int64_t steps_ = 0;
  uint64_t gradient_generation_ = 0;  // of the arena when the gradient was last cleared
  std::vector<float> layer_gradient_;
  std::vector<float> before_;  // the block that is being updated, where somebody observes
};

}  // namespace engram::strategies
