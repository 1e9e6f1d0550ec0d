#include "strategies/core/cross_entropy.h"

#include <algorithm>
#include <cmath>

namespace engram::strategies {
namespace {

// Softmax of the logits at `seen` (or all of 0..count-1 where it is empty and not masked) into the
// same places of `out`; returns the log of the normaliser.
template <typename UnitAt>
double SoftmaxRow(const float* logits, int64_t count, UnitAt unit_at, float* out) {
  float highest = logits[unit_at(0)];
  for (int64_t i = 1; i < count; ++i) highest = std::max(highest, logits[unit_at(i)]);
  float sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    const float value = std::exp(logits[unit_at(i)] - highest);
    out[unit_at(i)] = value;
    sum += value;
  }
  const float scale = 1.0f / sum;
  for (int64_t i = 0; i < count; ++i) out[unit_at(i)] *= scale;
  return static_cast<double>(highest) + std::log(static_cast<double>(sum));
}

// `seen` in ascending order; empty: all units.
double SoftmaxOver(const float* logits, int64_t units, absl::Span<const int64_t> seen, float* out) {
  if (seen.empty()) {
    return SoftmaxRow(
        logits, units, [](int64_t i) { return i; }, out);
  }
  // In place, what the row does not see must go only after it was not read: it never is.
  size_t next = 0;
  for (int64_t unit = 0; unit < units; ++unit) {
    if (next < seen.size() && seen[next] == unit) {
      ++next;
    } else {
      out[unit] = 0;
    }
  }
  return SoftmaxRow(
      logits, static_cast<int64_t>(seen.size()), [&](int64_t i) { return seen[i]; }, out);
}

double SoftmaxSeen(const float* logits, int64_t units, int32_t task, const UnitMap& map,
                   float* out) {
  if (!map.per_task()) return SoftmaxOver(logits, units, {}, out);
  const absl::Span<const int64_t> seen = map.UnitsOf(task);
  if (!seen.empty()) return SoftmaxOver(logits, units, seen, out);
  std::fill(out, out + units, 0.0f);
  return 0;
}

// Takes `share` of a target, spread over the seen units, off the slopes; returns its part of
// sum_k q_k z_k.
double Smooth(const float* logits, int64_t units, absl::Span<const int64_t> seen, double share,
              float* slopes) {
  const int64_t count = seen.empty() ? units : static_cast<int64_t>(seen.size());
  const double each = share / static_cast<double>(count);
  double sum = 0;
  for (int64_t i = 0; i < count; ++i) {
    const int64_t unit = seen.empty() ? i : seen[static_cast<size_t>(i)];
    sum += each * static_cast<double>(logits[unit]);
    slopes[unit] -= static_cast<float>(each);
  }
  return sum;
}

}  // namespace

absl::Span<const int64_t> SeenUnits(const LossRows& rows, int64_t row, const UnitMap& units) {
  const size_t index = static_cast<size_t>(row);
  if (!rows.set_of_row.empty() && rows.set_of_row[index] >= 0) {
    return rows.unit_sets[static_cast<size_t>(rows.set_of_row[index])];
  }
  return units.per_task() ? units.UnitsOf(rows.tasks[index]) : absl::Span<const int64_t>();
}

double CrossEntropy(const at::Tensor& logits, const LossRows& rows, const UnitMap& units,
                    const at::Tensor& gradient) {
  const int64_t count = logits.size(0), width = logits.size(1);
  const float* values = logits.data_ptr<float>();
  float* slopes = gradient.data_ptr<float>();
  double loss = 0;
  for (int64_t row = 0; row < count; ++row, values += width, slopes += width) {
    const absl::Span<const int64_t> seen = SeenUnits(rows, row, units);
    const double normaliser = SoftmaxOver(values, width, seen, slopes);
    const int64_t target = rows.targets[static_cast<size_t>(row)];
    const float coefficient = rows.coefficient(row);
    const double kept = 1 - rows.label_smoothing;
    const bool mixed = !rows.first_shares.empty() && rows.first_shares[row] < 1;
    const double first = mixed ? kept * static_cast<double>(rows.first_shares[row]) : kept;
    loss += coefficient * (normaliser - first * static_cast<double>(values[target]));
    slopes[target] -= static_cast<float>(first);
    if (mixed) {
      const int64_t second = rows.second_targets[static_cast<size_t>(row)];
      loss -= coefficient * (kept - first) * static_cast<double>(values[second]);
      slopes[second] -= static_cast<float>(kept - first);
    }
    if (rows.label_smoothing > 0) {
      loss -= coefficient * Smooth(values, width, seen, rows.label_smoothing, slopes);
    }
    for (int64_t unit = 0; unit < width; ++unit) slopes[unit] *= coefficient;
  }
  return loss;
}

void SoftmaxRows(const float* logits, int64_t rows, int64_t width, absl::Span<const int32_t> tasks,
                 const UnitMap& units, float* out) {
  for (int64_t row = 0; row < rows; ++row, logits += width, out += width) {
    const int32_t task = units.per_task() ? tasks[static_cast<size_t>(row)] : 0;
    SoftmaxSeen(logits, width, task, units, out);
  }
}

void Softmax(const at::Tensor& logits, absl::Span<const int32_t> tasks, const UnitMap& units,
             const at::Tensor& out) {
  SoftmaxRows(logits.data_ptr<float>(), logits.size(0), logits.size(1), tasks, units,
              out.data_ptr<float>());
}

}  // namespace engram::strategies
