#include "client/datasets/stream_columns.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <utility>
#include <vector>

namespace engram::datasets {
namespace {

constexpr double kDeviationsMax = 10.0;

// Welford (1962), equations for the mean and the sum of squared differences from it.
class RunningMoments {
 public:
  void Add(double value) {
    ++count_;
    const double before = value - mean_;
    mean_ += before / count_;
    squares_ += before * (value - mean_);
  }

  double Standardised(double value) const {
    const double deviation = std::sqrt(squares_ / count_);
    if (deviation == 0) return 0;
    return std::clamp((value - mean_) / deviation, -kDeviationsMax, kDeviationsMax);
  }

 private:
  double count_ = 0;
  double mean_ = 0;
  double squares_ = 0;
};

}  // namespace

void StandardiseOnline(RowSet* set) {
  const auto columns = static_cast<size_t>(set->columns);
  std::vector<RunningMoments> moments(columns);
  for (size_t at = 0; at < set->values.size(); ++at) {
    RunningMoments& column = moments[at % columns];
    column.Add(set->values[at]);
    set->values[at] = static_cast<float>(column.Standardised(set->values[at]));
  }
}

void AppendPreviousLabel(RowSet* set) {
  std::vector<float> values;
  values.reserve(static_cast<size_t>(set->rows * (set->columns + 1)));
  for (int64_t row = 0; row < set->rows; ++row) {
    values.insert(values.end(), set->Values(row), set->Values(row) + set->columns);
    values.push_back(row == 0 ? 0.0f : 2.0f * set->labels[static_cast<size_t>(row - 1)] - 1.0f);
  }
  set->values = std::move(values);
  ++set->columns;
}

}  // namespace engram::datasets
