// The sum of outer products x x^T of many rows, in float64: what a covariance and a ridge
// regression are made of, and the solve over it.
//
// Rows wait in a block and enter the matrix together, so that a batch of ten rows does not read and
// write the whole of it. Only the lower triangle is computed.
//
// Threading: one thread. Ownership: owns its arrays.
// Failure: LoadState FAILED_PRECONDITION (another width) or DATA_LOSS.
// Bounds: 8 width (width + kBlockRows) bytes, and as much again during Total and SolveShrunk.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>

#include "absl/status/status.h"
#include "strategies/core/state_archive.h"

namespace engram::strategies {

class OuterSum {
 public:
  static constexpr int64_t kBlockRows = 128;

  explicit OuterSum(int64_t width);

  int64_t width() const { return folded_.size(0); }

  // The place of one more row, `width` values that the caller fills in before the next call.
  double* NextRow();
  // Takes an equal row away again.
  void Subtract(const double* row);
  void Merge(const OuterSum& other);

  // [width, width], a new tensor; above the diagonal it holds nothing of meaning.
  at::Tensor Total() const;

  void SaveState(StateWriter* writer) const;
  absl::Status LoadState(const StateReader& reader);

 private:
  at::Tensor folded_;
  at::Tensor block_;     // [kBlockRows, width]; rows [0, waiting_) are not yet in folded_
  int64_t waiting_ = 0;  // the other rows are zero
};

// X of (scale total + ridge I) X = right, by Cholesky; `right` is [width, k] float64. Where
// rounding leaves the matrix indefinite the ridge grows until it is not.
at::Tensor SolveShrunk(const at::Tensor& total, double scale, double ridge,
                       const at::Tensor& right);

}  // namespace engram::strategies
