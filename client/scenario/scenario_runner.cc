#include "client/scenario/scenario_runner.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "absl/base/thread_annotations.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "absl/time/time.h"
#include "client/clients.h"
#include "client/learn_stream.h"
#include "client/scenario/row_messages.h"
#include "client/status.h"
#include "storage/base/status_macros.h"

namespace engram::scenario {
namespace {

constexpr absl::Duration kWaitStep = absl::Seconds(5);
constexpr absl::Duration kStandstillMax = absl::Minutes(2);
constexpr int64_t kEvaluateRows = 500;

double SecondsSince(absl::Time start) { return absl::ToDoubleSeconds(absl::Now() - start); }

// Keeps the first rejection, which arrives on a gRPC thread.
class FirstRejection {
 public:
  void Note(const v1::Rejection& rejection) {
    absl::MutexLock lock(&mu_);
    if (status_.ok()) status_ = client::FromRpcStatus(rejection.status());
  }
  absl::Status status() const {
    absl::MutexLock lock(&mu_);
    return status_;
  }

 private:
  mutable absl::Mutex mu_;
  absl::Status status_ ABSL_GUARDED_BY(mu_);
};

class Run {
 public:
  Run(std::shared_ptr<client::Connection> connection, const RunOptions& options,
      const datasets::RowSplit& source, const RunEvents& events)
      : connection_(std::move(connection)),
        models_(connection_),
        learning_(connection_),
        evaluation_(connection_),
        checkpoints_(connection_),
        options_(options),
        source_(source),
        events_(events) {}

  absl::StatusOr<RunResult> Go() {
    ENGRAM_ASSIGN_OR_RETURN(scenario_, MakeRunScenario(options_, source_));
    ENGRAM_ASSIGN_OR_RETURN(const v1::ModelSpec spec, BuildSpec(options_, scenario_));
    result_.options = options_;
    result_.incremental = scenario_.incremental;
    result_.model = ModelName(options_);
    for (const Task& task : scenario_.tasks) result_.tasks.push_back(task.name);
    ENGRAM_RETURN_IF_ERROR(models_.Create(result_.model, spec).status());
    absl::Status status = Stream();
    load_.reset();
    stream_.reset();
    if (!options_.keep_model) {
      const absl::Status deleted = models_.Delete(result_.model);
      if (status.ok()) status = deleted;
    }
    ENGRAM_RETURN_IF_ERROR(status);
    return std::move(result_);
  }

 private:
  absl::Status Stream() {
    const absl::Time start = absl::Now();
    client::LearnStreamOptions stream_options;
    stream_options.model = result_.model;
    stream_options.producer = "scenario";
    stream_options.on_rejection = [this](const v1::Rejection& rejection) {
      rejection_.Note(rejection);
    };
    ENGRAM_ASSIGN_OR_RETURN(stream_,
                            client::LearnStream::Open(connection_, std::move(stream_options)));
    if (options_.predict_load) {
      load_ = std::make_unique<PredictLoad>(connection_, result_.model, scenario_, source_);
    }
    for (const Task& task : scenario_.tasks) {
      ENGRAM_RETURN_IF_ERROR(SendRows(task, task.held_out, source_.test, v1::HELD_OUT));
    }
    ENGRAM_RETURN_IF_ERROR(Settle());
    for (size_t index = 0; index < scenario_.tasks.size(); ++index) {
      ENGRAM_RETURN_IF_ERROR(LearnTask(index));
    }
    if (load_ != nullptr) result_.predictions = load_->Stop();
    ENGRAM_RETURN_IF_ERROR(stream_->Finish().status());
    result_.seconds = SecondsSince(start);
    return CheckTrained();
  }

  absl::Status LearnTask(size_t index) {
    const Task& task = scenario_.tasks[index];
    // A head of its own exists from a task's first example on, so it is asked one task later.
    const bool head_exists = index > 0 || scenario_.incremental != Incremental::kTask;
    if (load_ != nullptr && head_exists) {
      load_->UseTasks(
          static_cast<int64_t>(scenario_.incremental == Incremental::kTask ? index : index + 1));
    }
    const absl::Time start = absl::Now();
    for (int64_t pass = 0;; ++pass) {
      const std::vector<TaskRow> rows =
          RowsOfPass(task, options_.schedule, options_.scenario.seed, pass);
      if (rows.empty()) break;
      ENGRAM_RETURN_IF_ERROR(SendRows(task, rows, source_.train, v1::TRAIN));
    }
    const bool last = index + 1 == scenario_.tasks.size();
    ENGRAM_RETURN_IF_ERROR(
        stream_->SendBoundary(last ? "" : scenario_.tasks[index + 1].name).status());
    ENGRAM_RETURN_IF_ERROR(Settle());
    TaskOutcome outcome;
    outcome.index = static_cast<int64_t>(index);
    outcome.task = task.name;
    outcome.examples = ScheduledExamples(task, options_.schedule);
    outcome.seconds = SecondsSince(start);
    result_.training_seconds += outcome.seconds;
    result_.trained_examples += outcome.examples;
    return Measure(std::move(outcome));
  }

  // The row of R that the boundary led to.
  absl::Status Measure(TaskOutcome outcome) {
    ENGRAM_RETURN_IF_ERROR(WaitApplied(/*evaluated=*/true));
    if (options_.checkpoints) {
      v1::CreateCheckpointRequest request;
      request.set_model(result_.model);
      request.set_label(absl::StrCat("after-", outcome.task));
      ENGRAM_RETURN_IF_ERROR(checkpoints_.Create(request, kStandstillMax).status());
    }
    ENGRAM_ASSIGN_OR_RETURN(const v1::Report report, evaluation_.GetReport(result_.model));
    const bool task_reading = scenario_.incremental == Incremental::kTask;
    result_.r = StandingRows(report, scenario_, task_reading);
    if (result_.r.size() != static_cast<size_t>(outcome.index) + 1) {
      return absl::InternalError(absl::StrCat("report of model \"", result_.model, "\": expected ",
                                              outcome.index + 1, " rows of R, got ",
                                              result_.r.size()));
    }
    result_.summary = task_reading ? report.task_summary() : report.summary();
    result_.task_summary = report.task_summary();
    if (scenario_.prequential) ScoreStream(report);
    server_examples_ = report.train_examples();
    outcome.accuracy = result_.r.back();
    outcome.summary = result_.summary;
    if (events_.on_task) events_.on_task(outcome);
    return absl::OkStatus();
  }

  // A skipped batch was never predicted: its examples count as wrong.
  void ScoreStream(const v1::Report& report) {
    result_.prequential_accuracy = static_cast<double>(report.prequential_hits()) /
                                   static_cast<double>(result_.trained_examples);
    result_.no_change = NoChangeAccuracy(scenario_.tasks.front());
  }

  absl::Status SendRows(const Task& task, const std::vector<TaskRow>& rows,
                        const datasets::RowSet& source, v1::Split split) {
    v1::LearnMessage message;
    for (size_t at = 0; at < rows.size(); ++at) {
      v1::Example* example = message.add_examples();
      SetRowFeatures(source, rows[at].index, task.map, example->mutable_features());
      example->mutable_label()->set_number(rows[at].label);
      if (split == v1::HELD_OUT) {
        example->set_split(split);
        example->set_task(task.name);
      }
      if (message.examples_size() < options_.message_examples && at + 1 < rows.size()) continue;
      ENGRAM_RETURN_IF_ERROR(stream_->Send(&message).status());
      ENGRAM_RETURN_IF_ERROR(rejection_.status());
      if (split == v1::TRAIN) Advance(message.examples_size());
      message.Clear();
    }
    return absl::OkStatus();
  }

  void Advance(int64_t examples) {
    sent_ += examples;
    if (events_.on_progress) events_.on_progress(sent_);
  }

  // Everything sent is durable, accepted and applied.
  absl::Status Settle() {
    ENGRAM_RETURN_IF_ERROR(stream_->Flush());
    ENGRAM_RETURN_IF_ERROR(rejection_.status());
    return WaitApplied(/*evaluated=*/false);
  }

  // Learning may take long: goes on waiting as long as the model moves.
  absl::Status WaitApplied(bool evaluated) {
    const uint64_t sequence = stream_->progress().durable_sequence;
    uint64_t version = 0;
    absl::Time moved = absl::Now();
    while (true) {
      const absl::Status status =
          learning_.WaitApplied(result_.model, sequence, evaluated, kWaitStep).status();
      if (!absl::IsDeadlineExceeded(status)) return status;
      ENGRAM_ASSIGN_OR_RETURN(const v1::Model model, models_.Get(result_.model));
      if (model.version() != version) moved = absl::Now();
      version = model.version();
      if (absl::Now() - moved > kStandstillMax) return status;
    }
  }

  absl::Status CheckTrained() const {
    if (server_examples_ == result_.trained_examples) return absl::OkStatus();
    return absl::InternalError(
        absl::StrCat("model \"", result_.model, "\": expected ", result_.trained_examples,
                     " examples learned, the report says ", server_examples_));
  }

  const std::shared_ptr<client::Connection> connection_;
  const client::ModelsClient models_;
  const client::LearningClient learning_;
  const client::EvaluationClient evaluation_;
  const client::CheckpointsClient checkpoints_;
  const RunOptions& options_;
  const datasets::RowSplit& source_;
  const RunEvents& events_;
  Scenario scenario_;
  RunResult result_;
  FirstRejection rejection_;
  int64_t sent_ = 0;
  int64_t server_examples_ = 0;
  // After what their threads use.
  std::unique_ptr<client::LearnStream> stream_;
  std::unique_ptr<PredictLoad> load_;
};

}  // namespace

absl::StatusOr<RunResult> RunScenario(std::shared_ptr<client::Connection> connection,
                                      const RunOptions& options, const datasets::RowSplit& source,
                                      const RunEvents& events) {
  return Run(std::move(connection), options, source, events).Go();
}

absl::StatusOr<std::vector<double>> EvaluateTasks(std::shared_ptr<client::Connection> connection,
                                                  const std::string& model, uint64_t version,
                                                  const Scenario& scenario,
                                                  const datasets::RowSplit& source) {
  const client::EvaluationClient evaluation(std::move(connection));
  std::vector<double> accuracies;
  for (const Task& task : scenario.tasks) {
    const auto rows = static_cast<int64_t>(task.held_out.size());
    double right = 0;
    for (int64_t first = 0; first < rows; first += kEvaluateRows) {
      v1::EvaluateRequest request;
      request.set_model(model);
      request.set_version(version);
      for (int64_t at = first; at < std::min(rows, first + kEvaluateRows); ++at) {
        const TaskRow row = task.held_out[static_cast<size_t>(at)];
        v1::Example* example = request.add_examples();
        SetRowFeatures(source.test, row.index, task.map, example->mutable_features());
        example->mutable_label()->set_number(row.label);
        if (scenario.incremental == Incremental::kTask) example->set_task(task.name);
      }
      ENGRAM_ASSIGN_OR_RETURN(const v1::EvaluateResponse response, evaluation.Evaluate(request));
      right += response.accuracy() * static_cast<double>(response.examples());
    }
    accuracies.push_back(right / static_cast<double>(rows));
  }
  return accuracies;
}

std::vector<Accuracies> StandingRows(const v1::Report& report, const Scenario& scenario,
                                     bool task_reading) {
  std::vector<Accuracies> rows;
  for (const v1::AccuracyRow& row : report.rows()) {
    if (row.undone_by() != 0) continue;
    Accuracies accuracies(scenario.tasks.size());
    const int columns = std::min(row.cells_size(), report.tasks_size());
    for (int column = 0; column < columns; ++column) {
      const auto task = std::find_if(
          scenario.tasks.begin(), scenario.tasks.end(),
          [&](const Task& candidate) { return candidate.name == report.tasks(column).task(); });
      if (task == scenario.tasks.end()) continue;
      const v1::AccuracyRow::Cell& cell = row.cells(column);
      absl::optional<double>& value =
          accuracies[static_cast<size_t>(task - scenario.tasks.begin())];
      if (task_reading && cell.has_task_accuracy()) {
        value = cell.task_accuracy();
      } else if (!task_reading && cell.has_accuracy()) {
        value = cell.accuracy();
      }
    }
    rows.push_back(std::move(accuracies));
  }
  return rows;
}

}  // namespace engram::scenario
