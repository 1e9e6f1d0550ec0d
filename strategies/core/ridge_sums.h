// Ridge regression from features h to one-hot units, as two sums in float64 (RanPAC, McDonnell et
// al. 2023, eq. 7; ACIL, Zhuang et al. 2022):
//   G = sum h h^T,   C = sum y h^T,   W = C (G + lambda I)^-1
// Sums know no order, so the same examples give the same classifier however they came, the sums of
// two shards merge, and an example is forgotten by subtraction.
//
// Threading: one thread. Ownership: owns its arrays.
// Failure: as SolvableSums.
// Bounds: those of OuterSum and UnitRows.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>

#include "absl/status/status.h"
#include "strategies/core/closed_form.h"
#include "strategies/core/linear_scores.h"
#include "strategies/core/outer_sum.h"
#include "strategies/core/state_archive.h"
#include "strategies/core/unit_rows.h"

namespace engram::strategies {

class RidgeSums final : public SolvableSums {
 public:
  explicit RidgeSums(int64_t width) : gram_(width), cross_(width) {}

  void Add(const float* features, int64_t unit, double weight) override;
  // Of an example that was added with this weight.
  void Subtract(const float* features, int64_t unit, double weight);
  void Merge(const RidgeSums& other);

  at::Tensor Gram() const { return gram_.Total(); }  // lower triangle
  // [units, width] float64; borrows, valid until the next Add.
  at::Tensor Cross() const { return cross_.rows(); }

  LinearScores Solve(double lambda) const override;

  void SaveState(StateWriter* writer) const override;
  absl::Status LoadState(const StateReader& reader, int64_t units) override;

 private:
  void AddToCross(const float* features, int64_t unit, double weight);

  OuterSum gram_;
  UnitRows cross_;
};

}  // namespace engram::strategies
