// The directions in which a linear layer's past inputs lie, so that its updates can keep to what is
// orthogonal to them (gradient projection memory, Saha et al. 2021).
//
// The bias counts as the weight of an input that is always 1: with rows b_k = (w_k, o_k) of an
// orthonormal basis B over inputs (a, 1), an update G with G b_k = 0 for all k leaves the layer's
// outputs as they were for every input in the span of B, bias included.
//
// Threading: one thread. Ownership: owns its basis.
// Failure: Extend leaves the basis as it is when an input is not finite. LoadState as StateReader,
//   FAILED_PRECONDITION when a shape is not that of this layer.
// Bounds: directions_max x (2 inputs + 1) floats.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "strategies/core/state_archive.h"
#include "strategies/models/network.h"

namespace engram::strategies {

class InputSubspace {
 public:
  InputSubspace(int64_t inputs, int64_t directions_max);

  // Adds the fewest directions after which `energy` of the squared length of `examples` [rows,
  // inputs] lies in the span (eq. 9), as long as there is room: singular vectors of what the basis
  // does not hold yet, largest first.
  void Extend(const at::Tensor& examples, double energy);

  int64_t rank() const { return weights_.size(0); }
  const at::Tensor& weights() const { return weights_; }  // [rank, inputs]
  const at::Tensor& offsets() const { return offsets_; }  // [rank, 1]

  // Removes the span from any gradient of the layer, [out, inputs] and [out, 1], in place: g -= g
  // B^T B.
  void RemoveFrom(const at::Tensor& weight_gradient, const at::Tensor& bias_gradient) const;
  // The same before the gradient delta^T (a, 1) is formed: removes the span from the rows (a, 1).
  // The trace's inputs then are buffers of this object, overwritten by the next call.
  void RemoveFrom(LayerTrace* trace);

  void SaveState(const std::string& name, StateWriter* writer) const;
  absl::Status LoadState(const std::string& name, const StateReader& reader);

 private:
  // Fills coefficients_: of `rows` rows of `input` in the basis, without the offsets' share.
  void FindCoefficients(const float* input, int64_t rows);

  int64_t directions_max_;
  at::Tensor weights_;
  at::Tensor offsets_;
  at::Tensor by_input_;      // weights_ transposed, [inputs, rank], or not yet
  at::Tensor coefficients_;  // [rank, rows]
  at::Tensor by_row_;        // the same, [rows, rank]
  at::Tensor outside_;       // [rows, inputs]
  at::Tensor outside_ones_;  // [rows, 1]
};

}  // namespace engram::strategies
