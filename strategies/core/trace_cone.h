// GEM's cone (gradient_projection.h) where no gradient is ever written. A layer's gradient is
// delta^T a, so the product of two of them is a sum over pairs of rows,
//   <delta^T a, delta'^T a'> = sum_ij (delta_i . delta'_j) (a_i . a'_j),
// and the step along g + sum_k v_k g_k is that of the step's rows and of the exemplars', each
// exemplar's delta times its task's v_k.
//
// With R exemplars it costs R^2 (in + out) multiplications a layer, where flat gradients of K tasks
// cost some 3 K in out reads: it is for few rows.
//
// Threading: one thread. Ownership: owns copies of what it keeps.
// Failure: none. A task whose gradient may not be finite constrains nothing.
// Bounds: R (in + out) floats a layer, twice; [R, R] floats.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "strategies/models/network.h"

namespace engram::strategies {

class TraceCone {
 public:
  // The exemplars' traces after a pass back; task k's rows end before `ends[k]`, the first at 0.
  void Keep(const std::vector<LayerTrace>& traces, absl::Span<const int64_t> ends);

  // ProjectOntoCone for the gradient that `traces` make, with what it answers. The tensors that
  // take the place of theirs live until the next call.
  bool Project(double strength, std::vector<LayerTrace>* traces);

 private:
  struct Joint {
    at::Tensor input, delta, bias_input;
  };

  std::vector<LayerTrace> kept_;
  std::vector<int64_t> ends_;
  std::vector<Joint> joint_;  // the step's rows, then the exemplars'
};

}  // namespace engram::strategies
