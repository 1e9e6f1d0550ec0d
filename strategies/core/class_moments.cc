#include "strategies/core/class_moments.h"

#include <algorithm>
#include <cmath>

#include "storage/base/status_macros.h"

namespace engram::strategies {

void ClassMoments::Add(const float* input, int64_t unit, double weight) {
  if (weight <= 0) return;
  means_.MakeRoom(unit + 1);
  const int64_t width = means_.width();
  const double before = means_.weight(unit);
  means_.weight(unit) += weight;
  double* mean = means_.row(unit);
  if (before == 0) {
    std::copy(input, input + width, mean);
    return;
  }
  const double share = weight / means_.weight(unit);
  const double root = std::sqrt(before * share);
  double* residual = scatter_.NextRow();
  for (int64_t i = 0; i < width; ++i) {
    const double deviation = static_cast<double>(input[i]) - mean[i];
    residual[i] = root * deviation;
    mean[i] += share * deviation;
  }
}

at::Tensor ClassMoments::Covariance() const {
  return scatter_.Total().div_(std::max(means_.total_weight(), 1.0));
}

LinearScores ClassMoments::Solve(double shrinkage) const {
  const at::Tensor means = Means();
  if (means_.units() == 0) return LinearScores(means, at::zeros({0}), {});
  const at::Tensor weights = SolveShrunk(Covariance(), 1 - shrinkage, shrinkage, means.t()).t();
  return LinearScores(weights, (means * weights).sum(1).mul_(-0.5), means_.has_weight());
}

void ClassMoments::SaveState(StateWriter* writer) const {
  scatter_.SaveState(writer);
  means_.SaveState(writer);
}

absl::Status ClassMoments::LoadState(const StateReader& reader, int64_t units) {
  ENGRAM_RETURN_IF_ERROR(scatter_.LoadState(reader));
  return means_.LoadState(reader, units);
}

}  // namespace engram::strategies
