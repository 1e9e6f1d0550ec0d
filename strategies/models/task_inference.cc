// Which task a row belongs to, when nothing but the outputs tells: ForwardPass::InferTasks.
#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "strategies/core/cross_entropy.h"
#include "strategies/models/network.h"

namespace engram::strategies {
namespace {

// Entropy of the probabilities at `units` over log(their number), in [0, 1]. A single output is
// always sure of itself: it counts as knowing nothing.
float Doubt(const float* probabilities, absl::Span<const int64_t> units) {
  if (units.size() == 1) return 1;
  float entropy = 0;
  for (const int64_t unit : units) {
    const float p = probabilities[unit];
    if (p > 0) entropy -= p * std::log(p);
  }
  return entropy / std::log(static_cast<float>(units.size()));
}

// The lowest doubt of a row so far and the one after it.
struct Ranking {
  float lowest = std::numeric_limits<float>::infinity();
  float next = std::numeric_limits<float>::infinity();
  int32_t task = -1;

  void Consider(int32_t candidate, float doubt) {
    if (doubt < lowest) {
      next = lowest;
      lowest = doubt;
      task = candidate;
    } else {
      next = std::min(next, doubt);
    }
  }
  float confidence() const {
    if (std::isinf(next)) return 1;  // the only task
    return next > 0 ? 1 - lowest / next : 0;
  }
};

}  // namespace

void ForwardPass::InferTasks(const float* features, int64_t rows, const UnitMap& units,
                             ForwardScratch* scratch, absl::Span<InferredTask> inferred) const {
  const int64_t width = units.size();
  std::vector<float> outputs(static_cast<size_t>(rows * width));
  std::vector<Ranking> rankings(static_cast<size_t>(rows));
  std::vector<int32_t> tasks;
  for (int32_t task = 0; task < units.task_count(); ++task) {
    const absl::Span<const int64_t> own = units.UnitsOf(task);
    if (own.empty()) continue;
    tasks.assign(static_cast<size_t>(rows), task);
    Run(features, rows, tasks, scratch, outputs.data());
    SoftmaxRows(outputs.data(), rows, width, tasks, units, outputs.data());
    for (size_t row = 0; row < rankings.size(); ++row) {
      const float doubt = Doubt(outputs.data() + static_cast<int64_t>(row) * width, own);
      rankings[row].Consider(task, std::isfinite(doubt) ? doubt : 1);
    }
  }
  for (size_t row = 0; row < rankings.size(); ++row) {
    inferred[row] = {rankings[row].task, rankings[row].confidence()};
  }
}

}  // namespace engram::strategies
