// Streams a scenario through a server and reads back what was learned and forgotten.
//
// The order is: create the model; every HELD_OUT row of every task, so that forward transfer is
// defined; then each task's TRAIN examples and its boundary. After a boundary it waits until the
// model has applied it and its row of R is there, before the next task begins.
//
// Threading: one thread; callbacks are made on it. A predict load has its own thread.
// Ownership: borrows the rows. The model is deleted at the end, also after a failure, unless it is
//   to be kept.
// Failure: the status of the call that failed. A rejected message fails the run, and so does a
//   model that learned another number of examples than were sent. DEADLINE_EXCEEDED when the model
//   does not move for two minutes.
// Bounds: one message in memory beside the stream's window.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/optional.h"
#include "client/connection.h"
#include "client/datasets/row_set.h"
#include "client/scenario/predict_load.h"
#include "client/scenario/run_options.h"
#include "client/scenario/scenario.h"
#include "engram/v1/evaluation.pb.h"

namespace engram::scenario {

using Accuracies = std::vector<absl::optional<double>>;

struct TaskOutcome {
  int64_t index = 0;
  std::string task;
  int64_t examples = 0;
  // From the first example sent to the boundary applied.
  double seconds = 0;
  // Row of R: one value a task of the scenario.
  Accuracies accuracy;
  v1::Summary summary;
};

struct RunResult {
  RunOptions options;
  Incremental incremental = Incremental::kClass;
  std::string model;
  std::vector<std::string> tasks;
  std::vector<Accuracies> r;
  v1::Summary summary;
  // The same run read with the task known; equal to `summary` where heads are per task.
  v1::Summary task_summary;
  int64_t trained_examples = 0;
  // Of a stream scored as it is learned: over all of it, unfaded; and its no-change baseline.
  absl::optional<double> prequential_accuracy;
  absl::optional<double> no_change;
  // Sum over the tasks.
  double training_seconds = 0;
  double seconds = 0;
  absl::optional<PredictLoadReport> predictions;

  double ExamplesPerSecond() const {
    return training_seconds > 0 ? static_cast<double>(trained_examples) / training_seconds : 0.0;
  }
};

struct RunEvents {
  // TRAIN examples sent so far.
  std::function<void(int64_t sent)> on_progress;
  std::function<void(const TaskOutcome&)> on_task;
};

absl::StatusOr<RunResult> RunScenario(std::shared_ptr<client::Connection> connection,
                                      const RunOptions& options, const datasets::RowSplit& source,
                                      const RunEvents& events);

// Accuracy of a model now on the held-out rows of each task, through Evaluate.
absl::StatusOr<std::vector<double>> EvaluateTasks(std::shared_ptr<client::Connection> connection,
                                                  const std::string& model, uint64_t version,
                                                  const Scenario& scenario,
                                                  const datasets::RowSplit& source);

// The rows of R that stand, one value a task of the scenario; `task_reading`: with the task known.
std::vector<Accuracies> StandingRows(const v1::Report& report, const Scenario& scenario,
                                     bool task_reading);

}  // namespace engram::scenario
