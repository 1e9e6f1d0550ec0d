// What each parameter contributed to the fall of the loss along its path, in a companion of the
// arena: with the gradient g that an update took, after transforms and without weight decay, and
// the change d that it made, momentum, Adam, decay and pulls included,
//   path_i -= g_i d_i                                     (Zenke, Poole and Ganguli 2017, eq. 3)
// or, in the metric of a running Fisher (Chaudhry et al. 2018, eq. 6-8),
//   F_i <- F_i + share (g_i^2 - F_i),   path_i -= g_i d_i / (F_i d_i^2 / 2 + damping)
//
// A strategy adds it to a step with StepContext::AddPath. Where the optimizer can, the sums are
// formed in registers while a weight is updated; elsewhere this object observes the update.
//
// Threading: the learner's thread. Ownership: borrows the arena, which outlives it.
// Failure: none. Bounds: one companion, two with a metric; both are saved.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "strategies/core/kernels.h"
#include "strategies/core/parameter_arena.h"
#include "strategies/core/step_hooks.h"

namespace engram::strategies {

class PathIntegral final : public UpdateObserver {
 public:
  PathIntegral(ParameterArena* arena, const std::string& name)
      : arena_(arena),
        path_(arena->AddCompanion(name, ParameterArena::Persistence::kSaved)) {}
  // In the metric of a Fisher, the companion `fisher_name`.
  PathIntegral(ParameterArena* arena, const std::string& name, const std::string& fisher_name)
      : PathIntegral(arena, name) {
    fisher_ = arena->AddCompanion(fisher_name, ParameterArena::Persistence::kSaved);
  }

  void SetMetric(double share, double damping) {
    share_ = static_cast<float>(share);
    damping_ = static_cast<float>(damping);
  }

  const at::Tensor& values() const { return arena_->Companion(path_); }
  const at::Tensor& fisher() const { return arena_->Companion(fisher_); }

  // Of the parameters from `begin` of the flat array on.
  PathSums At(int64_t begin) const {
    PathSums sums;
    sums.path = values().data_ptr<float>() + begin;
    if (fisher_ >= 0) sums.fisher = fisher().data_ptr<float>() + begin;
    sums.share = share_;
    sums.damping = damping_;
    return sums;
  }

  std::vector<at::Tensor> Written() const override {
    if (fisher_ < 0) return {values()};
    return {values(), fisher()};
  }

  void AfterUpdate(const UpdatedBlock& block) override {
    ActiveKernels().sum_path(At(block.begin), block.gradient, block.before, block.after,
                             block.count);
  }

 private:
  ParameterArena* arena_;
  CompanionId path_;
  CompanionId fisher_ = -1;
  float share_ = 0;
  float damping_ = 0;
};

}  // namespace engram::strategies
