// The definitions of forgetting.h, read off a matrix whose rows grow longer as tasks appear.
#include "strategies/api/forgetting.h"

#include <algorithm>
#include <cstddef>

namespace engram::strategies {
namespace {

using Cell = absl::optional<double>;

Cell At(const std::vector<Cell>& cells, size_t column) {
  return column < cells.size() ? cells[column] : absl::nullopt;
}

// A mean over what exists: absent terms are left out of the divisor too.
class Mean {
 public:
  void Add(double value) {
    sum_ += value;
    ++count_;
  }
  Cell Value() const { return count_ == 0 ? Cell() : Cell(sum_ / static_cast<double>(count_)); }

 private:
  double sum_ = 0;
  int64_t count_ = 0;
};

// Row of the first boundary that ended each column's task.
std::vector<absl::optional<size_t>> FirstEnds(const std::vector<AccuracyRow>& rows,
                                              size_t columns) {
  std::vector<absl::optional<size_t>> first_end(columns);
  for (size_t row = 0; row < rows.size(); ++row) {
    const int32_t task = rows[row].ended_task;
    if (task < 0 || static_cast<size_t>(task) >= columns) continue;
    if (!first_end[task].has_value()) first_end[task] = row;
  }
  return first_end;
}

Cell Best(const std::vector<AccuracyRow>& rows, size_t row_count, size_t column) {
  Cell best;
  for (size_t row = 0; row < row_count; ++row) {
    const Cell cell = At(rows[row].accuracy, column);
    if (cell.has_value()) best = best.has_value() ? std::max(*best, *cell) : *cell;
  }
  return best;
}

}  // namespace

ForgettingReport Summarize(const std::vector<AccuracyRow>& rows,
                           const std::vector<absl::optional<double>>& baseline) {
  ForgettingReport report;
  size_t columns = 0;
  for (const AccuracyRow& row : rows) columns = std::max(columns, row.accuracy.size());
  report.forgetting.resize(columns);
  report.best.resize(columns);
  report.last.resize(columns);
  if (rows.empty()) return report;

  const size_t last_row = rows.size() - 1;
  const std::vector<absl::optional<size_t>> first_end = FirstEnds(rows, columns);
  Mean acc, bwt, fwt, forgetting;
  for (size_t task = 0; task < columns; ++task) {
    report.best[task] = Best(rows, rows.size(), task);
    const Cell last = At(rows[last_row].accuracy, task);
    report.last[task] = last;
    // A task that never ended has held-out rows sent ahead: no part of what was learned.
    if (!first_end[task].has_value()) continue;
    const size_t end = *first_end[task];
    if (last.has_value()) acc.Add(*last);
    if (end > 0) {
      const Cell before = At(rows[end - 1].accuracy, task);
      const Cell untrained = At(baseline, task);
      if (before.has_value() && untrained.has_value()) fwt.Add(*before - *untrained);
    }
    if (end == last_row || !last.has_value()) continue;
    const Cell learned = At(rows[end].accuracy, task);
    if (learned.has_value()) bwt.Add(*last - *learned);
    const Cell earlier_best = Best(rows, last_row, task);
    if (earlier_best.has_value()) {
      report.forgetting[task] = *earlier_best - *last;
      forgetting.Add(*report.forgetting[task]);
    }
  }
  report.acc = acc.Value();
  report.bwt = bwt.Value();
  report.fwt = fwt.Value();
  report.average_forgetting = forgetting.Value();
  return report;
}

}  // namespace engram::strategies
