// What each parameter contributed to the fall of the loss along its path (Zenke, Poole and Ganguli
// 2017, eq. 3): path_i -= g_i (theta_i(t+1) - theta_i(t)) at every update, in a companion of the
// arena. g is the gradient that the update took, after transforms and without weight decay; the
// change is the true one: momentum, Adam, decay and pulls are in it.
//
// A strategy adds it to a step with StepContext::AddPath. Where the optimizer can, the sum is
// formed in registers while a weight is updated; elsewhere this object observes the update.
//
// Threading: the learner's thread. Ownership: borrows the arena, which outlives it.
// Failure: none.
#pragma once

#include <cstdint>
#include <string>

#include "strategies/core/kernels.h"
#include "strategies/core/parameter_arena.h"
#include "strategies/core/step_hooks.h"

namespace engram::strategies {

class PathIntegral final : public UpdateObserver {
 public:
  PathIntegral(ParameterArena* arena, const std::string& name)
      : arena_(arena),
        companion_(arena->AddCompanion(name, ParameterArena::Persistence::kSaved)) {}

  const at::Tensor& values() const { return arena_->Companion(companion_); }
  float* floats() const { return values().data_ptr<float>(); }

  void AfterUpdate(const UpdatedBlock& block) override {
    ActiveKernels().integrate_path(floats() + block.begin, block.gradient, block.before,
                                   block.after, block.count);
  }

 private:
  ParameterArena* arena_;
  CompanionId companion_;
};

}  // namespace engram::strategies
