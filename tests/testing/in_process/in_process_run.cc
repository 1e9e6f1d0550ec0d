#include "tests/testing/in_process/in_process_run.h"

#include <algorithm>
#include <cstddef>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "absl/types/span.h"
#include "client/scenario/row_features.h"
#include "server/evaluator.h"
#include "server/held_out_sets.h"
#include "server/spec_options.h"
#include "server/stream_state.h"
#include "storage/base/status_macros.h"
#include "strategies/api/compute.h"
#include "strategies/api/forgetting.h"
#include "strategies/api/learner.h"

namespace engram::testing {
namespace {

using scenario::Accuracies;
using scenario::TaskRow;

double SecondsSince(absl::Time start) { return absl::ToDoubleSeconds(absl::Now() - start); }

v1::Label LabelOf(const TaskRow& row) {
  v1::Label label;
  label.set_number(row.label);
  return label;
}

// The rows of the batch that is being filled.
struct Batch {
  std::vector<float> features;
  std::vector<int32_t> classes;
  std::vector<int32_t> tasks;
  std::vector<uint64_t> sequences;

  void Clear() {
    features.clear();
    classes.clear();
    tasks.clear();
    sequences.clear();
  }
  strategies::BatchView View() const {
    strategies::BatchView view;
    view.rows = static_cast<int64_t>(classes.size());
    view.feature_count = static_cast<int64_t>(features.size() / classes.size());
    view.features = features;
    view.classes = classes;
    view.tasks = tasks;
    view.sequences = sequences;
    return view;
  }
};

// R and R0 in one of their two readings: among all classes, or with the task known.
struct Reading {
  std::vector<strategies::AccuracyRow> rows;
  std::vector<absl::optional<double>> baseline;

  v1::Summary Summary() const {
    const strategies::ForgettingReport report = strategies::Summarize(rows, baseline);
    v1::Summary summary;
    if (report.acc) summary.set_acc(*report.acc);
    if (report.bwt) summary.set_bwt(*report.bwt);
    if (report.fwt) summary.set_fwt(*report.fwt);
    if (report.average_forgetting) summary.set_forgetting(*report.average_forgetting);
    return summary;
  }
};

class Run {
 public:
  Run(const scenario::RunOptions& options, const datasets::RowSplit& source,
      const scenario::RunEvents& events)
      : options_(options), source_(source), events_(events) {}

  absl::StatusOr<scenario::RunResult> Go() {
    const absl::Time start = absl::Now();
    ENGRAM_RETURN_IF_ERROR(Begin());
    for (const scenario::Task& task : scenario_.tasks) HoldOut(task);
    for (size_t index = 0; index < scenario_.tasks.size(); ++index) {
      ENGRAM_RETURN_IF_ERROR(LearnTask(index));
    }
    result_.seconds = SecondsSince(start);
    return std::move(result_);
  }

  absl::StatusOr<std::string> Saved() const {
    ENGRAM_ASSIGN_OR_RETURN(strategies::SavedLearner saved,
                            learner_->Save([](const strategies::MemberKey&) { return true; }));
    return std::move(saved.tensors);
  }

 private:
  absl::Status Begin() {
    ENGRAM_ASSIGN_OR_RETURN(scenario_, scenario::MakeRunScenario(options_, source_));
    ENGRAM_ASSIGN_OR_RETURN(v1::ModelSpec spec, scenario::BuildSpec(options_, scenario_));
    ENGRAM_ASSIGN_OR_RETURN(spec, server::CompleteSpec(std::move(spec)));
    ENGRAM_ASSIGN_OR_RETURN(learner_, strategies::MakeLearner(server::ToModelOptions(spec)));
    ENGRAM_ASSIGN_OR_RETURN(untrained_, learner_->TakeSnapshot(0));
    state_ = server::StreamState::Fresh(spec);
    result_.options = options_;
    result_.incremental = scenario_.incremental;
    result_.model = "in process";
    for (const scenario::Task& task : scenario_.tasks) result_.tasks.push_back(task.name);
    return absl::OkStatus();
  }

  // Held-out rows are records of the log as well: they take sequences and name their tasks.
  void HoldOut(const scenario::Task& task) {
    auto set = std::make_shared<server::HeldOutSet>();
    for (const TaskRow& row : task.held_out) {
      state_.ApplyExample(LabelOf(row), task.name, /*held_out=*/true);
      set->rows.push_back({++sequence_, 0, LabelOf(row)});
      Append(source_.test, task, row, &set->features);
    }
    held_out_[task.name] = std::move(set);
  }

  absl::Status LearnTask(size_t index) {
    const scenario::Task& task = scenario_.tasks[index];
    const absl::Time start = absl::Now();
    scenario::TaskOutcome outcome;
    for (int64_t pass = 0;; ++pass) {
      const std::vector<TaskRow> rows =
          scenario::RowsOfPass(task, options_.schedule, options_.scenario.seed, pass);
      if (rows.empty()) break;
      for (const TaskRow& row : rows) ENGRAM_RETURN_IF_ERROR(Learn(task, row));
    }
    ENGRAM_RETURN_IF_ERROR(Cut());
    const bool last = index + 1 == scenario_.tasks.size();
    internal::BoundaryRecord boundary;
    boundary.set_next_task(last ? state_.DefaultNextTask() : scenario_.tasks[index + 1].name);
    const server::StreamState::BoundaryRole role = state_.ApplyBoundary(boundary);
    ENGRAM_RETURN_IF_ERROR(
        learner_->MarkBoundary({role.ended_task, role.next_task, ++sequence_}).status());
    outcome.index = static_cast<int64_t>(index);
    outcome.task = task.name;
    outcome.examples = scenario::ScheduledExamples(task, options_.schedule);
    outcome.seconds = SecondsSince(start);
    result_.training_seconds += outcome.seconds;
    result_.trained_examples += outcome.examples;
    return Measure(role.ended_task, std::move(outcome));
  }

  absl::Status Learn(const scenario::Task& task, const TaskRow& row) {
    const server::StreamState::ExampleRole role = state_.ApplyExample(LabelOf(row), "", false);
    Append(source_.train, task, row, &batch_.features);
    batch_.classes.push_back(role.class_index);
    batch_.tasks.push_back(role.task);
    batch_.sequences.push_back(++sequence_);
    const auto rows = static_cast<int64_t>(batch_.classes.size());
    return rows < options_.schedule.batch_size ? absl::OkStatus() : Cut();
  }

  absl::Status Cut() {
    if (batch_.classes.empty()) return absl::OkStatus();
    ENGRAM_ASSIGN_OR_RETURN(const strategies::StepReport report, learner_->Train(batch_.View()));
    // A skipped batch was never predicted: its examples count as wrong.
    if (!report.skipped) hits_ += report.correct;
    learned_ += static_cast<int64_t>(batch_.classes.size());
    batch_.Clear();
    if (events_.on_progress) events_.on_progress(learned_);
    return absl::OkStatus();
  }

  absl::Status Measure(int32_t ended_task, scenario::TaskOutcome outcome) {
    server::EvaluationInput input;
    input.tasks.assign(state_.proto().tasks().begin(), state_.proto().tasks().end());
    input.held_out = held_out_;
    input.served.view = state_.View();
    input.labels = input.served.view->labels;
    if (outcome.index == 0) ENGRAM_RETURN_IF_ERROR(MeasureBaseline(input));
    ENGRAM_ASSIGN_OR_RETURN(input.served.snapshot, learner_->TakeSnapshot(sequence_));
    ENGRAM_ASSIGN_OR_RETURN(const v1::AccuracyRow row, server::EvaluateRow(input));
    AddRow(ended_task, row);
    const bool task_reading = scenario_.incremental == scenario::Incremental::kTask;
    const std::vector<absl::optional<double>>& standing =
        (task_reading ? with_task_ : overall_).rows.back().accuracy;
    // The column after the last task's is that of a task which never begins.
    outcome.accuracy.assign(standing.begin(), standing.begin() + scenario_.tasks.size());
    result_.r.push_back(outcome.accuracy);
    result_.task_summary = with_task_.Summary();
    result_.summary = task_reading ? result_.task_summary : overall_.Summary();
    if (scenario_.prequential) {
      result_.prequential_accuracy = static_cast<double>(hits_) / static_cast<double>(learned_);
      result_.no_change = scenario::NoChangeAccuracy(scenario_.tasks.front());
    }
    outcome.summary = result_.summary;
    if (events_.on_task) events_.on_task(outcome);
    return absl::OkStatus();
  }

  // R0, read with the labels that the first boundary knows, as the server does.
  absl::Status MeasureBaseline(server::EvaluationInput input) {
    input.served.snapshot = untrained_;
    for (auto& task : input.tasks) task.clear_classes();
    std::vector<int32_t> columns(scenario_.tasks.size());
    for (size_t column = 0; column < columns.size(); ++column) {
      columns[column] = static_cast<int32_t>(column);
    }
    ENGRAM_ASSIGN_OR_RETURN(const auto baselines, server::EvaluateBaselines(input, columns));
    overall_.baseline.resize(columns.size());
    with_task_.baseline.resize(columns.size());
    for (const auto& baseline : baselines) {
      overall_.baseline[static_cast<size_t>(baseline.task())] = baseline.accuracy();
      with_task_.baseline[static_cast<size_t>(baseline.task())] = baseline.task_accuracy();
    }
    return absl::OkStatus();
  }

  void AddRow(int32_t ended_task, const v1::AccuracyRow& row) {
    overall_.rows.push_back({ended_task, {}});
    with_task_.rows.push_back({ended_task, {}});
    for (const v1::AccuracyRow::Cell& cell : row.cells()) {
      overall_.rows.back().accuracy.push_back(
          cell.has_accuracy() ? absl::make_optional(cell.accuracy()) : absl::nullopt);
      with_task_.rows.back().accuracy.push_back(
          cell.has_task_accuracy() ? absl::make_optional(cell.task_accuracy()) : absl::nullopt);
    }
    overall_.baseline.resize(overall_.rows.back().accuracy.size());
    with_task_.baseline.resize(overall_.rows.back().accuracy.size());
  }

  void Append(const datasets::RowSet& source, const scenario::Task& task, const TaskRow& row,
              std::vector<float>* features) {
    const size_t begin = features->size();
    features->resize(begin + static_cast<size_t>(scenario_.feature_count));
    scenario::FillFeatures(source, row.index, task.map, absl::MakeSpan(*features).subspan(begin));
  }

  const scenario::RunOptions& options_;
  const datasets::RowSplit& source_;
  const scenario::RunEvents& events_;
  scenario::Scenario scenario_;
  std::unique_ptr<strategies::Learner> learner_;
  std::shared_ptr<const strategies::Snapshot> untrained_;
  server::StreamState state_;
  server::HeldOutSets::View held_out_;
  Batch batch_;
  uint64_t sequence_ = 0;
  int64_t learned_ = 0;
  int64_t hits_ = 0;
  Reading overall_;
  Reading with_task_;
  scenario::RunResult result_;
};

}  // namespace

absl::StatusOr<scenario::RunResult> RunInProcess(const scenario::RunOptions& options,
                                                 const datasets::RowSplit& source,
                                                 const scenario::RunEvents& events,
                                                 std::string* saved) {
  strategies::SetComputeThreads(1);
  strategies::EnterComputeThread();
  Run run(options, source, events);
  ENGRAM_ASSIGN_OR_RETURN(scenario::RunResult result, run.Go());
  if (saved != nullptr) {
    ENGRAM_ASSIGN_OR_RETURN(*saved, run.Saved());
  }
  return result;
}

}  // namespace engram::testing
