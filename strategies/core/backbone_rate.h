// A learning rate of its own for the backbone, all that is below the head: the change that an
// update makes there counts `factor` times.
//
// Scaling the change, not the gradient, is what a factor on the rate means under every optimizer:
// Adam's step does not depend on the gradient's size, and momentum and weight decay go by the rate
// as well. 0 leaves the backbone as it is, weight decay or not.
//
// Threading: one thread. Ownership: borrows arena and network.
// Failure: none. Bounds: one block of floats.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "strategies/core/parameter_arena.h"
#include "strategies/core/step_hooks.h"
#include "strategies/models/network.h"

namespace engram::strategies {

class BackboneRate final : public UpdateObserver {
 public:
  BackboneRate(ParameterArena* arena, const Network* network) : arena_(arena), network_(network) {}

  void set_factor(double factor) { factor_ = static_cast<float>(factor); }

  void BeforeUpdate(int64_t begin, int64_t count) override;
  void AfterUpdate(int64_t begin, int64_t count, const float* gradient) override;

 private:
  // [begin, end) of the backbone's parameters in the arena as it is now.
  const std::vector<std::pair<int64_t, int64_t>>& Ranges();

  ParameterArena* arena_;
  const Network* network_;
  float factor_ = 1;
  std::vector<std::pair<int64_t, int64_t>> ranges_;
  uint64_t generation_ = 0;  // of the arena when ranges_ were found
  bool found_ = false;
  std::vector<float> before_;
};

}  // namespace engram::strategies
