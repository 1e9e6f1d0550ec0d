#include "strategies/core/ridge_sums.h"

#include <cmath>
#include <vector>

#include "storage/base/status_macros.h"

namespace engram::strategies {

void RidgeSums::AddToCross(const float* features, int64_t unit, double weight) {
  cross_.MakeRoom(unit + 1);
  cross_.weight(unit) += weight;
  double* sums = cross_.row(unit);
  for (int64_t i = 0; i < cross_.width(); ++i) sums[i] += weight * features[i];
}

void RidgeSums::Add(const float* features, int64_t unit, double weight) {
  if (weight <= 0) return;
  AddToCross(features, unit, weight);
  const double root = std::sqrt(weight);
  double* row = gram_.NextRow();
  for (int64_t i = 0; i < gram_.width(); ++i) row[i] = root * features[i];
}

void RidgeSums::Subtract(const float* features, int64_t unit, double weight) {
  if (weight <= 0) return;
  AddToCross(features, unit, -weight);
  std::vector<double> row(features, features + gram_.width());
  for (double& value : row) value *= std::sqrt(weight);
  gram_.Subtract(row.data());
}

void RidgeSums::Merge(const RidgeSums& other) {
  cross_.Add(other.cross_);
  gram_.Merge(other.gram_);
}

LinearScores RidgeSums::Solve(double lambda) const {
  const at::Tensor cross = Cross();
  const at::Tensor bias = at::zeros({cross.size(0)});
  if (cross.size(0) == 0) return LinearScores(cross, bias, {});
  return LinearScores(SolveShrunk(Gram(), 1, lambda, cross.t()).t(), bias, cross_.has_weight());
}

void RidgeSums::SaveState(StateWriter* writer) const {
  gram_.SaveState(writer);
  cross_.SaveState(writer);
}

absl::Status RidgeSums::LoadState(const StateReader& reader, int64_t units) {
  ENGRAM_RETURN_IF_ERROR(gram_.LoadState(reader));
  return cross_.LoadState(reader, units);
}

}  // namespace engram::strategies
