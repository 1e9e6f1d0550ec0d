#include "server/evaluator.h"

#include <algorithm>

#include "absl/container/flat_hash_map.h"
#include "server/feature_values.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

constexpr int64_t kChunkRows = 256;

// Class index by label, for the labels a snapshot knows.
class ClassIndex {
 public:
  explicit ClassIndex(absl::Span<const v1::Label> labels) {
    for (size_t i = 0; i < labels.size(); ++i) index_[labels[i].SerializeAsString()] = i;
  }
  int32_t Find(const v1::Label& label) const {
    auto it = index_.find(label.SerializeAsString());
    return it == index_.end() ? -1 : it->second;
  }

 private:
  absl::flat_hash_map<std::string, int32_t> index_;
};

struct Hits {
  int64_t overall = 0;
  int64_t within_task = 0;
};

int64_t BestClass(absl::Span<const float> scores) {
  return scores.empty() ? -1 : std::max_element(scores.begin(), scores.end()) - scores.begin();
}

int64_t BestOf(absl::Span<const float> scores, absl::Span<const int32_t> classes) {
  int64_t best = -1;
  for (int32_t candidate : classes) {
    if (candidate < 0 || candidate >= static_cast<int64_t>(scores.size())) continue;
    if (best < 0 || scores[candidate] > scores[best]) best = candidate;
  }
  return best;
}

// A task without a head yet predicts nothing: an empty score matrix, every row wrong.
absl::Status PredictChunk(const Served& served, absl::Span<const float> features, int64_t rows,
                          absl::Span<const int32_t> tasks, std::vector<float>* scores) {
  absl::Status status = served.snapshot->Predict(features, rows, tasks, scores);
  if (!absl::IsNotFound(status)) return status;
  scores->assign(rows * served.snapshot->class_count(), 0.0f);
  return absl::OkStatus();
}

absl::StatusOr<Hits> CountHits(const Served& served, int32_t column, const HeldOutSet& set,
                               const std::vector<int32_t>& truth,
                               absl::Span<const int32_t> task_classes) {
  Hits hits;
  const int64_t rows = static_cast<int64_t>(set.rows.size());
  const int64_t feature_count = static_cast<int64_t>(set.features.size()) / rows;
  const int64_t classes = served.snapshot->class_count();
  std::vector<float> scores;
  for (int64_t begin = 0; begin < rows; begin += kChunkRows) {
    const int64_t count = std::min(kChunkRows, rows - begin);
    const std::vector<int32_t> tasks(count, column);
    ENGRAM_RETURN_IF_ERROR(PredictChunk(
        served,
        absl::MakeConstSpan(set.features).subspan(begin * feature_count, count * feature_count),
        count, tasks, &scores));
    for (int64_t i = 0; i < count; ++i) {
      const auto row = absl::MakeConstSpan(scores).subspan(i * classes, classes);
      const int32_t expected = truth[begin + i];
      if (expected < 0 || expected >= classes) continue;
      if (*std::max_element(row.begin(), row.end()) <= 0) continue;  // no head
      hits.overall += BestClass(row) == expected;
      hits.within_task += BestOf(row, task_classes) == expected;
    }
  }
  return hits;
}

absl::StatusOr<v1::AccuracyRow::Cell> EvaluateCell(const EvaluationInput& input, int32_t column,
                                                   const HeldOutSet& set,
                                                   const ClassIndex& index) {
  std::vector<int32_t> truth;
  truth.reserve(set.rows.size());
  for (const HeldOutSet::Row& row : set.rows) truth.push_back(index.Find(row.label));
  const auto& trained = input.tasks[column].classes();
  std::vector<int32_t> classes(trained.begin(), trained.end());
  if (classes.empty()) {
    classes = truth;
    std::sort(classes.begin(), classes.end());
    classes.erase(std::unique(classes.begin(), classes.end()), classes.end());
  }
  ENGRAM_ASSIGN_OR_RETURN(const Hits hits, CountHits(input.served, column, set, truth, classes));
  const double rows = static_cast<double>(set.rows.size());
  v1::AccuracyRow::Cell cell;
  cell.set_held_out_rows(static_cast<int64_t>(set.rows.size()));
  cell.set_accuracy(hits.overall / rows);
  cell.set_task_accuracy(hits.within_task / rows);
  return cell;
}

}  // namespace

absl::StatusOr<v1::AccuracyRow> EvaluateRow(const EvaluationInput& input) {
  const ClassIndex index(input.labels);
  v1::AccuracyRow row;
  for (size_t column = 0; column < input.tasks.size(); ++column) {
    v1::AccuracyRow::Cell* cell = row.add_cells();
    auto set = input.held_out.find(input.tasks[column].name());
    if (set == input.held_out.end() || set->second->rows.empty()) continue;
    ENGRAM_ASSIGN_OR_RETURN(
        *cell, EvaluateCell(input, static_cast<int32_t>(column), *set->second, index));
  }
  return row;
}

absl::StatusOr<std::vector<internal::ReportRow::Baseline>> EvaluateBaselines(
    const EvaluationInput& untrained, absl::Span<const int32_t> columns) {
  const ClassIndex index(untrained.labels);
  std::vector<internal::ReportRow::Baseline> baselines;
  for (int32_t column : columns) {
    auto set = untrained.held_out.find(untrained.tasks[column].name());
    if (set == untrained.held_out.end() || set->second->rows.empty()) continue;
    ENGRAM_ASSIGN_OR_RETURN(const auto cell, EvaluateCell(untrained, column, *set->second, index));
    internal::ReportRow::Baseline baseline;
    baseline.set_task(column);
    baseline.set_accuracy(cell.accuracy());
    baseline.set_task_accuracy(cell.task_accuracy());
    baselines.push_back(baseline);
  }
  return baselines;
}

absl::StatusOr<double> EvaluateExamples(const Served& served,
                                        absl::Span<const v1::Example* const> examples,
                                        int64_t feature_count) {
  const ClassIndex index(served.view->labels);
  const int64_t rows = static_cast<int64_t>(examples.size());
  std::vector<float> features(rows * feature_count);
  std::vector<int32_t> tasks(rows, -1);
  for (int64_t i = 0; i < rows; ++i) {
    CopyValues(examples[i]->features(), features.data() + i * feature_count);
    auto column = served.view->task_index.find(examples[i]->task());
    if (column != served.view->task_index.end()) tasks[i] = column->second;
  }
  std::vector<float> scores;
  ENGRAM_RETURN_IF_ERROR(served.snapshot->Predict(features, rows, tasks, &scores));
  const int64_t classes = served.snapshot->class_count();
  int64_t hits = 0;
  for (int64_t i = 0; i < rows && classes > 0; ++i) {
    const auto row = absl::MakeConstSpan(scores).subspan(i * classes, classes);
    hits += BestClass(row) == index.Find(examples[i]->label());
  }
  return static_cast<double>(hits) / static_cast<double>(rows);
}

absl::StatusOr<std::vector<Judgement>> JudgeExamples(const Served& served,
                                                     absl::Span<const v1::Example> examples,
                                                     absl::Span<const int32_t> columns,
                                                     int64_t feature_count) {
  std::vector<Judgement> judgements(examples.size());
  const int64_t rows = static_cast<int64_t>(examples.size());
  std::vector<float> features(rows * feature_count);
  for (int64_t i = 0; i < rows; ++i) {
    CopyValues(examples[i].features(), features.data() + i * feature_count);
  }
  std::vector<float> scores;
  const absl::Status predicted = served.snapshot->Predict(features, rows, columns, &scores);
  if (absl::IsNotFound(predicted) || absl::IsInvalidArgument(predicted)) {
    // One row's task has no output: the others are asked without it.
    for (int64_t i = 0; i < rows && rows > 1; ++i) {
      ENGRAM_ASSIGN_OR_RETURN(const auto alone,
                              JudgeExamples(served, examples.subspan(i, 1), columns.subspan(i, 1),
                                            feature_count));
      judgements[i] = alone[0];
    }
    return judgements;
  }
  ENGRAM_RETURN_IF_ERROR(predicted);
  const ClassIndex index(served.view->labels);
  const int64_t classes = served.snapshot->class_count();
  for (int64_t i = 0; i < rows && classes > 0; ++i) {
    const auto row = absl::MakeConstSpan(scores).subspan(i * classes, classes);
    const int32_t expected = index.Find(examples[i].label());
    judgements[i].judged = true;
    judgements[i].right = BestClass(row) == expected;
    if (expected >= 0 && expected < classes) judgements[i].label_score = row[expected];
  }
  return judgements;
}

}  // namespace engram::server
