// Softmax and cross-entropy over the units a row may see (all of them, or its task's own).
//
// Threading: free functions. Failure: none; non-finite logits give a non-finite loss.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "strategies/core/unit_map.h"

namespace engram::strategies {

struct LossRows {
  absl::Span<const int64_t> targets = {};     // unit of each row
  absl::Span<const int32_t> tasks = {};       // read only per task
  absl::Span<const float> coefficients = {};  // of each row's loss in the sum; empty: all 1 / rows
  // Narrower than what the head shows: row r sees unit_sets[set_of_row[r]], ascending and holding
  // its target, where that index is not negative. Empty: no row is limited.
  absl::Span<const int32_t> set_of_row = {};
  absl::Span<const std::vector<int64_t>> unit_sets = {};
  // Share of each target spread evenly over the units its row sees.
  double label_smoothing = 0;
  // Mixed rows: first_shares[r] of row r is to be its target, the rest its second target. Both are
  // empty where no row is mixed.
  absl::Span<const int64_t> second_targets = {};
  absl::Span<const float> first_shares = {};

  float coefficient(int64_t row) const {
    return coefficients.empty() ? 1.0f / static_cast<float>(targets.size()) : coefficients[row];
  }
  // How much of row `row` is to be `unit`.
  float LabelShare(int64_t row, int64_t unit) const {
    const size_t at = static_cast<size_t>(row);
    const float first = first_shares.empty() ? 1.0f : first_shares[at];
    float share = targets[at] == unit ? first : 0.0f;
    if (!second_targets.empty() && second_targets[at] == unit) share += 1 - first;
    return share;
  }
};

// The units that a row's loss runs over, ascending; empty stands for all of them.
absl::Span<const int64_t> SeenUnits(const LossRows& rows, int64_t row, const UnitMap& units);

// Sum over the rows of coefficient * cross-entropy; writes its gradient, [rows, units], over
// `gradient` (0 at units the row does not see). `logits` and `gradient` are contiguous float32.
double CrossEntropy(const at::Tensor& logits, const LossRows& rows, const UnitMap& units,
                    const at::Tensor& gradient);

// Row-wise softmax over the units each row sees; 0 elsewhere. `logits` is [rows, width]; `out` has
// the same shape and may be `logits`.
void SoftmaxRows(const float* logits, int64_t rows, int64_t width, absl::Span<const int32_t> tasks,
                 const UnitMap& units, float* out);

// The same on contiguous float32 tensors.
void Softmax(const at::Tensor& logits, absl::Span<const int32_t> tasks, const UnitMap& units,
             const at::Tensor& out);

}  // namespace engram::strategies
