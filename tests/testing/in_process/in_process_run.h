// A run of a scenario without a server around its learner: the same rows, spec, numbering of
// classes, tasks and records, evaluation and figures as `engram scenario run`, so that equal
// options give equal weights. What is left out is what a server adds: log, publishing, checkpoints.
//
// Threading: one thread, which enters compute; callbacks are made on it.
// Ownership: nothing is kept. Failure: statuses of the scenario, the spec and the learner.
// Bounds: the held-out rows of every task in memory, 4 bytes a feature.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "client/datasets/row_set.h"
#include "client/scenario/run_options.h"
#include "client/scenario/scenario_runner.h"

namespace engram::testing {

// `saved`, when given, receives the state at the end as a checkpoint would hold it.
absl::StatusOr<scenario::RunResult> RunInProcess(const scenario::RunOptions& options,
                                                 const datasets::RowSplit& source,
                                                 const scenario::RunEvents& events,
                                                 std::string* saved = nullptr);

}  // namespace engram::testing
