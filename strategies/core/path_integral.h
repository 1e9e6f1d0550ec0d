// What each parameter contributed to the fall of the loss along its path, in a companion of the
// arena: with the gradient g that an update took, after transforms and without weight decay, and
// the change d that it made, momentum, Adam, decay and pulls included,
//   path_i -= g_i d_i                                     (Zenke, Poole and Ganguli 2017, eq. 3)
// and, of interval after interval, that path for the distance which the interval moved the
// parameter, in the metric of a running Fisher (Chaudhry et al. 2018, eq. 6-8):
//   F_i <- F_i + share (g_i^2 - F_i),   score_i += path_i / (F_i Delta_i^2 / 2 + damping),
//   path_i = 0                                            g: that of the interval's last update
//
// A strategy adds it to a step with StepContext::AddPath. Where the optimizer can, the sums are
// formed in registers while a weight is updated; elsewhere this object observes the update.
//
// Threading: the learner's thread. Ownership: borrows the arena, which outlives it.
// Failure: none. Bounds: one companion, four with a score; all are saved.
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
  // With the companions of a score.
  PathIntegral(ParameterArena* arena, const std::string& name, const std::string& score_name,
               const std::string& fisher_name, const std::string& start_name)
      : PathIntegral(arena, name) {
    score_ = arena->AddCompanion(score_name, ParameterArena::Persistence::kSaved);
    fisher_ = arena->AddCompanion(fisher_name, ParameterArena::Persistence::kSaved);
    start_ = arena->AddCompanion(start_name, ParameterArena::Persistence::kSaved);
  }

  void SetMetric(double share, double damping) {
    share_ = static_cast<float>(share);
    damping_ = static_cast<float>(damping);
  }

  const at::Tensor& values() const { return arena_->Companion(path_); }
  const at::Tensor& score() const { return arena_->Companion(score_); }
  const at::Tensor& fisher() const { return arena_->Companion(fisher_); }

  // Whether the next update is the last of its interval.
  void SetLast(bool last) { last_ = last; }
  // Ends the interval where no update does, the Fisher as it is, and begins one at the weights of
  // now; also the first.
  void EndNow() {
    PathSums sums = ScoredAt(0);
    sums.share = 0;
    const float* weights = arena_->flat().data_ptr<float>();
    ActiveKernels().sum_path(sums, weights, weights, weights, arena_->size());
  }

  // Of the parameters from `begin` of the flat array on.
  PathSums At(int64_t begin) const {
    if (last_) return ScoredAt(begin);
    PathSums sums;
    sums.path = values().data_ptr<float>() + begin;
    return sums;
  }

  std::vector<at::Tensor> Written() const override {
    if (!last_) return {values()};
    return {values(), score(), fisher(), arena_->Companion(start_)};
  }

  void AfterUpdate(const UpdatedBlock& block) override {
    ActiveKernels().sum_path(At(block.begin), block.gradient, block.before, block.after,
                             block.count);
  }

 private:
  PathSums ScoredAt(int64_t begin) const {
    PathSums sums;
    sums.path = values().data_ptr<float>() + begin;
    sums.score = score().data_ptr<float>() + begin;
    sums.fisher = fisher().data_ptr<float>() + begin;
    sums.start = arena_->Companion(start_).data_ptr<float>() + begin;
    sums.share = share_;
    sums.damping = damping_;
    return sums;
  }

  ParameterArena* arena_;
  CompanionId path_;
  CompanionId score_ = -1;
  CompanionId fisher_ = -1;
  CompanionId start_ = -1;
  bool last_ = false;
  float share_ = 0;
  float damping_ = 0;
};

}  // namespace engram::strategies
