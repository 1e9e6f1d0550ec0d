// A float64 row and a weight for each unit, growing with the head: means of classes, sums over
// their examples.
//
// Threading: one thread. Ownership: owns its arrays.
// Failure: LoadState FAILED_PRECONDITION (another width) or DATA_LOSS (too many, not finite).
// Bounds: 8 (width + 1) bytes a unit.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "strategies/core/state_archive.h"

namespace engram::strategies {

class UnitRows {
 public:
  explicit UnitRows(int64_t width) : width_(width) {}

  int64_t width() const { return width_; }
  int64_t units() const { return static_cast<int64_t>(weights_.size()); }

  // Zeros for units [units(), count).
  void MakeRoom(int64_t count);
  // Rows and weights of `other`, unit by unit.
  void Add(const UnitRows& other);
  double* row(int64_t unit) { return rows_.data() + unit * width_; }
  double& weight(int64_t unit) { return weights_[unit]; }

  double total_weight() const;
  std::vector<bool> has_weight() const;
  // [units(), width()]; borrows, valid until the next MakeRoom.
  at::Tensor rows() const;

  void SaveState(StateWriter* writer) const;
  // `units_max`: as many as there are.
  absl::Status LoadState(const StateReader& reader, int64_t units_max);

 private:
  int64_t width_;
  std::vector<double> weights_;
  std::vector<double> rows_;
};

}  // namespace engram::strategies
