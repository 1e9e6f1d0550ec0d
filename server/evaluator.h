// Accuracy of a snapshot on held-out sets: one row of R, off the trainer's strand.
//
// Class-incremental accuracy takes the best of all classes; task accuracy the best of the task's
// own (those trained in it, or, before any training, those of its held-out rows). A class without
// an output counts as wrong.
//
// Threading: pure functions; a snapshot may be read by many threads.
// Failure: INTERNAL when the snapshot gives a non-finite output.
// Bounds: one chunk of 256 rows of scores in memory.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engram/internal/records.pb.h"
#include "server/held_out_sets.h"
#include "server/model_runtime.h"

namespace engram::server {

struct EvaluationInput {
  Served served;
  // By column.
  std::vector<internal::StreamState::Task> tasks;
  HeldOutSets::View held_out;
  // By class index, as of the snapshot.
  std::vector<v1::Label> labels;
};

// One cell a task; sequence and ended task are the caller's to fill in.
absl::StatusOr<v1::AccuracyRow> EvaluateRow(const EvaluationInput& input);

// R0 of `columns`: the input's snapshot is that of a learner which has seen nothing. Columns
// without held-out rows are left out.
absl::StatusOr<std::vector<internal::ReportRow::Baseline>> EvaluateBaselines(
    const EvaluationInput& untrained, absl::Span<const int32_t> columns);

// Share of the examples whose label scores best. Their features are checked.
absl::StatusOr<double> EvaluateExamples(const Served& served,
                                        absl::Span<const v1::Example* const> examples,
                                        int64_t feature_count);

// How a snapshot sees one example.
struct Judgement {
  bool judged = false;  // false: its task is missing or has no output
  bool right = false;   // its label scores best
  float label_score = 0;
};

// One a row; `columns` has its task's column, -1 for none. Their features are checked.
absl::StatusOr<std::vector<Judgement>> JudgeExamples(const Served& served,
                                                     absl::Span<const v1::Example> examples,
                                                     absl::Span<const int32_t> columns,
                                                     int64_t feature_count);

}  // namespace engram::server
