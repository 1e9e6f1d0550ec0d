// A solved linear classifier: scores z W^T + b, one row of W a unit.
//
// Threading: immutable, Run from any thread. Ownership: shared by the snapshots that serve it.
// Failure: Load FAILED_PRECONDITION (another width) or DATA_LOSS.
// Bounds: (width + 1) floats a unit.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "strategies/core/state_archive.h"
#include "strategies/models/network_program.h"

namespace engram::strategies {

class LinearScores {
 public:
  // `weights` [units, width] and `bias` [units] of any real type; `known` tells by unit whether an
  // example of it was seen.
  LinearScores(const at::Tensor& weights, const at::Tensor& bias, std::vector<bool> known);

  // [rows, width] inputs to [rows, units] scores. `units` may be more than were solved for. A unit
  // that is not known comes behind all that are; without any all score 0.
  void Run(const float* inputs, int64_t rows, int64_t units, float* scores) const;

  // Writes Run down: of `inputs`, the scores of `units`, in their order.
  NetworkProgram::Value Describe(NetworkProgram::Value inputs, const std::vector<int64_t>& units,
                                 NetworkProgram* program) const;

  const at::Tensor& weights() const { return weights_; }
  const at::Tensor& bias() const { return bias_; }

  void Save(StateWriter* writer) const;
  static absl::StatusOr<std::shared_ptr<const LinearScores>> Load(const StateReader& reader,
                                                                  int64_t width, int64_t units);

 private:
  at::Tensor weights_;
  at::Tensor bias_;
  std::vector<bool> known_;
};

}  // namespace engram::strategies
