// A cap on how far one update may move the parameters (ModelOptions::max_update_norm): what is
// about to change is copied, the move is measured, and one that is too long is taken back bit for
// bit, so that it leaves the same state as an update that was never made.
//
// Threading: one thread. Ownership: borrows nothing between Keep and PutBack but the tensors that
//   the arena owns; no layout may change in between.
// Failure: none. Bounds: a copy of the parameters, of the optimizer's moments and of what the
//   step's observers write; none while no cap is set.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/optional.h"
#include "absl/types/span.h"
#include "strategies/core/optimizer.h"
#include "strategies/core/parameter_arena.h"
#include "strategies/core/step_hooks.h"

namespace engram::strategies {

class UpdateNorm {
 public:
  // Before the update.
  void Keep(const ParameterArena& arena, const Optimizer& optimizer,
            absl::Span<UpdateObserver* const> observers);

  // After it: the Euclidean norm of what it did to all trained parameters, in double; NaN or
  // infinite when one is not finite any more.
  double Measure(const ParameterArena& arena) const;

  // As Keep found it.
  void PutBack(Optimizer* optimizer) const;

 private:
  struct Copy {
    at::Tensor live;
    at::Tensor kept;
  };
  void Add(const at::Tensor& live);

  std::vector<Copy> copies_;  // the parameters first; buffers are used again
  size_t used_ = 0;
  int64_t steps_ = 0;
};

// Why a move of this length is refused; none when it is within the cap.
absl::optional<std::string> BeyondUpdateNorm(double norm, double max_update_norm);

}  // namespace engram::strategies
