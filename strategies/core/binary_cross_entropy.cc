#include "strategies/core/binary_cross_entropy.h"

#include <algorithm>
#include <cmath>

namespace engram::strategies {
namespace {

float Sigmoid(float logit) { return 1.0f / (1.0f + std::exp(-logit)); }

// log(1 + e^z) without overflow.
double SoftPlus(double logit) {
  return std::max(logit, 0.0) + std::log1p(std::exp(-std::abs(logit)));
}

}  // namespace

double BinaryCrossEntropy(const at::Tensor& logits, const LossRows& rows, const UnitMap& units,
                          const DistilledOutputs& distilled, const at::Tensor& gradient) {
  const int64_t width = logits.size(1);
  const float* values = logits.data_ptr<float>();
  const float* old_values = distilled.old_logits;
  float* slopes = gradient.data_ptr<float>();
  std::fill(slopes, slopes + gradient.numel(), 0.0f);
  double loss = 0;
  for (int64_t row = 0; row < logits.size(0); ++row, values += width, slopes += width) {
    const float coefficient = rows.coefficient(row);
    const absl::Span<const int64_t> seen = SeenUnits(rows, row, units);
    const int64_t count = seen.empty() ? width : static_cast<int64_t>(seen.size());
    for (int64_t i = 0; i < count; ++i) {
      const int64_t unit = seen.empty() ? i : seen[static_cast<size_t>(i)];
      const bool from_old = old_values != nullptr && (*distilled.units)[unit];
      const float goal =
          from_old ? Sigmoid(old_values[row * width + unit]) : rows.LabelShare(row, unit);
      loss += coefficient * (SoftPlus(values[unit]) - static_cast<double>(goal) * values[unit]);
      slopes[unit] = coefficient * (Sigmoid(values[unit]) - goal);
    }
  }
  return loss;
}

}  // namespace engram::strategies
