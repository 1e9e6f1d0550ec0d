#include "server/canary.h"

#include <algorithm>

namespace engram::server {
namespace {

// Shares of counted rows that differ by exactly what is allowed do not fall for a rounding.
constexpr double kRounding = 1e-9;

}  // namespace

Canary::Verdict Canary::Judge(const v1::AccuracyRow& row, double allowed, const Rewinds& rewinds) {
  Verdict verdict;
  allowed += kRounding;
  if (histories_.size() < static_cast<size_t>(row.cells_size())) {
    histories_.resize(row.cells_size());
  }
  for (int column = 0; column < row.cells_size(); ++column) {
    const v1::AccuracyRow::Cell& cell = row.cells(column);
    if (!cell.has_accuracy() || cell.held_out_rows() < kRowsMin) continue;
    const Measurement now = {row.sequence(), cell.accuracy()};
    const Measurement* best = nullptr;
    const Measurement* before = nullptr;
    for (const Measurement& measured : histories_[column]) {
      if (UndoneBy(rewinds, measured.version) != 0) continue;
      if (best == nullptr || measured.accuracy > best->accuracy) best = &measured;
      before = &measured;
    }
    if (best != nullptr) {
      const double drop = best->accuracy - now.accuracy;
      const bool was_low = best->accuracy - before->accuracy > allowed;
      ++verdict.judged;
      verdict.drop = std::max(verdict.drop, drop);
      if (drop > allowed) {
        ++verdict.low;
        if (!was_low) {
          verdict.falls.push_back({column, best->accuracy, now.accuracy, cell.held_out_rows(),
                                   best->version, before->version});
        }
      }
    }
    Keep(now, &histories_[column]);
  }
  return verdict;
}

void Canary::Keep(const Measurement& measured, std::vector<Measurement>* history) {
  history->push_back(measured);
  if (history->size() <= kMeasurementsMax) return;
  const auto best = std::max_element(
      history->begin(), history->end(),
      [](const Measurement& a, const Measurement& b) { return a.accuracy < b.accuracy; });
  history->erase(best == history->begin() ? history->begin() + 1 : history->begin());
}

}  // namespace engram::server
