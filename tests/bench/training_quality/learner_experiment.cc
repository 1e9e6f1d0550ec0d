// What the learner itself reaches on a scenario, without a server around it: the same images, tasks
// and order as `engram scenario run`, trained in process, one JSON object at the end.
//
//   learner_experiment --images DIR --scenario split-mnist --strategy experience_replay,ewc
//     --parameters ewc.lambda=3,experience_replay.memory_size=1000 --seed 1
//
// Not part of ctest: it needs images and minutes. Without --images it draws digit-like ones.
#include <algorithm>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/flags/flag.h"
#include "absl/flags/parse.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "client/datasets/row_set.h"
#include "client/scenario/row_features.h"
#include "client/scenario/scenario.h"
#include "client/scenario/scenario_rows.h"
#include "nlohmann/json.hpp"
#include "storage/base/status_macros.h"
#include "strategies/api/compute.h"
#include "strategies/api/forgetting.h"
#include "strategies/api/learner.h"

ABSL_FLAG(std::string, images, "", "the scenario's files; empty: generated digits");
ABSL_FLAG(std::string, scenario, "split-mnist", "as `engram scenario list` names them");
ABSL_FLAG(bool, previous_label, false, "streams: the label of the example before is a feature");
ABSL_FLAG(std::string, incremental, "", "class, task or domain; empty: the scenario's own");
ABSL_FLAG(std::vector<std::string>, strategy, {"finetune"}, "strategies, outermost first");
ABSL_FLAG(std::vector<std::string>, parameters, {}, "STRATEGY.NAME=VALUE, comma-separated");
ABSL_FLAG(int64_t, tasks, 0, "0: the scenario's default");
ABSL_FLAG(int64_t, examples_per_task, 0, "0: the scenario's default");
ABSL_FLAG(int64_t, batch_size, 10, "stream rows a step");
ABSL_FLAG(double, learning_rate, 0.05, "of the optimizer");
ABSL_FLAG(std::string, optimizer, "sgd", "sgd, adam or adamw");
ABSL_FLAG(uint64_t, seed, 1, "of the scenario and of the learner");

namespace engram::strategies {
namespace {

using scenario::Incremental;
using scenario::Scenario;
using scenario::Task;
using scenario::TaskRow;

double SecondsSince(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Classes in first-seen order, as the server numbers labels.
class ClassNumbers {
 public:
  int32_t Number(int32_t label) {
    return numbers_.try_emplace(label, static_cast<int32_t>(numbers_.size())).first->second;
  }

 private:
  absl::flat_hash_map<int32_t, int32_t> numbers_;
};

// A value of the kind that the strategy's help states.
absl::StatusOr<ParameterValue> ParseValue(absl::string_view strategy, absl::string_view name,
                                          const std::string& text) {
  for (const StrategyHelp& help : ListStrategies()) {
    if (help.name != strategy) continue;
    for (const ParameterHelp& parameter : help.parameters) {
      if (parameter.name != name) continue;
      int64_t integer = 0;
      double number = 0;
      if (parameter.kind == ParameterKind::kInteger && absl::SimpleAtoi(text, &integer)) {
        return ParameterValue(integer);
      }
      if (parameter.kind == ParameterKind::kNumber && absl::SimpleAtod(text, &number)) {
        return ParameterValue(number);
      }
      return ParameterValue(text);
    }
  }
  return absl::InvalidArgumentError(absl::StrCat(strategy, ".", name, ": no such parameter"));
}

absl::StatusOr<ModelOptions> OptionsFromFlags(const Scenario& scenario) {
  ModelOptions options;
  options.feature_count = scenario.feature_count;
  options.hidden = {256, 256};
  options.head.kind =
      scenario.incremental == Incremental::kTask ? HeadKind::kPerTask : HeadKind::kGrowing;
  const std::string optimizer = absl::GetFlag(FLAGS_optimizer);
  options.optimizer.kind = optimizer == "adam"    ? OptimizerKind::kAdam
                           : optimizer == "adamw" ? OptimizerKind::kAdamW
                                                  : OptimizerKind::kSgd;
  options.optimizer.learning_rate = absl::GetFlag(FLAGS_learning_rate);
  options.batch_size = absl::GetFlag(FLAGS_batch_size);
  options.seed = absl::GetFlag(FLAGS_seed);
  for (const std::string& name : absl::GetFlag(FLAGS_strategy)) {
    options.strategies.push_back({name, {}});
  }
  for (const std::string& assignment : absl::GetFlag(FLAGS_parameters)) {
    const std::pair<std::string, std::string> sides =
        absl::StrSplit(assignment, absl::MaxSplits('=', 1));
    const std::pair<std::string, std::string> path =
        absl::StrSplit(sides.first, absl::MaxSplits('.', 1));
    for (StrategySpec& spec : options.strategies) {
      if (spec.name != path.first) continue;
      ENGRAM_ASSIGN_OR_RETURN(spec.parameters[path.second],
                              ParseValue(path.first, path.second, sides.second));
    }
  }
  return options;
}

// Drives one learner through one scenario.
class Experiment {
 public:
  Experiment(const Scenario* scenario, const datasets::RowSplit* source,
             std::unique_ptr<Learner> learner)
      : scenario_(scenario), source_(source), learner_(std::move(learner)) {}

  absl::Status Run() {
    const int32_t tasks = static_cast<int32_t>(scenario_->tasks.size());
    baseline_.resize(tasks);
    for (int32_t task = 0; task < tasks; ++task) {
      const auto start = std::chrono::steady_clock::now();
      ENGRAM_RETURN_IF_ERROR(LearnTask(task));
      seconds_ += SecondsSince(start);
      if (!scenario_->prequential) ENGRAM_RETURN_IF_ERROR(EvaluateRow(task));
    }
    return absl::OkStatus();
  }

  nlohmann::json Result() const {
    const ForgettingReport report = Summarize(rows_, baseline_);
    nlohmann::json result = {
        {"event", "result"},
        {"scenario", scenario_->name},
        {"protocol", IncrementalName(scenario_->incremental).data()},
        {"strategy", absl::GetFlag(FLAGS_strategy)},
        {"parameters", absl::GetFlag(FLAGS_parameters)},
        {"seed", absl::GetFlag(FLAGS_seed)},
        {"skipped_batches", skipped_},
        {"examples_per_second", static_cast<double>(examples_) / (seconds_ - boundary_seconds_)},
        {"boundary_seconds", boundary_seconds_},
        {"seconds", seconds_}};
    result["acc"] = report.acc.value_or(0);
    if (scenario_->prequential) {
      result["prequential_accuracy"] = static_cast<double>(hits_) / static_cast<double>(examples_);
      result["no_change"] = scenario::NoChangeAccuracy(scenario_->tasks.front());
    }
    if (report.bwt.has_value()) result["bwt"] = *report.bwt;
    if (report.average_forgetting.has_value()) result["forgetting"] = *report.average_forgetting;
    for (const AccuracyRow& row : rows_) {
      nlohmann::json cells = nlohmann::json::array();
      for (const absl::optional<double>& cell : row.accuracy) cells.push_back(cell.value_or(-1));
      result["r"].push_back(std::move(cells));
    }
    return result;
  }

 private:
  struct Rows {
    std::vector<float> features;
    std::vector<int32_t> classes;
    std::vector<int32_t> tasks;
    std::vector<uint64_t> sequences;
  };

  void Fill(const datasets::RowSet& images, const std::vector<TaskRow>& source, int32_t task,
            size_t begin, size_t end, Rows* rows) {
    const scenario::PixelMap& map = scenario_->tasks[task].map;
    rows->features.resize((end - begin) * scenario_->feature_count);
    rows->classes.clear();
    rows->sequences.clear();
    rows->tasks.assign(end - begin, task);
    for (size_t i = begin; i < end; ++i) {
      scenario::FillFeatures(
          images, source[i].index, map,
          absl::MakeSpan(rows->features)
              .subspan((i - begin) * scenario_->feature_count, scenario_->feature_count));
      rows->classes.push_back(classes_.Number(source[i].label));
      rows->sequences.push_back(++sequence_);
    }
  }

  absl::Status LearnTask(int32_t task) {
    const std::vector<TaskRow>& source = scenario_->tasks[task].train;
    const size_t batch_size = static_cast<size_t>(absl::GetFlag(FLAGS_batch_size));
    Rows rows;
    for (size_t begin = 0; begin < source.size(); begin += batch_size) {
      const size_t end = std::min(begin + batch_size, source.size());
      Fill(source_->train, source, task, begin, end, &rows);
      BatchView view;
      view.rows = static_cast<int64_t>(end - begin);
      view.feature_count = scenario_->feature_count;
      view.features = rows.features;
      view.classes = rows.classes;
      view.tasks = rows.tasks;
      view.sequences = rows.sequences;
      ENGRAM_ASSIGN_OR_RETURN(const StepReport report, learner_->Train(view));
      skipped_ += report.skipped ? 1 : 0;
      examples_ += report.rows;
      hits_ += report.correct;
    }
    const auto start = std::chrono::steady_clock::now();
    const absl::Status status = learner_->MarkBoundary({task, task + 1, ++sequence_}).status();
    boundary_seconds_ += SecondsSince(start);
    return status;
  }

  absl::Status EvaluateRow(int32_t ended_task) {
    AccuracyRow row;
    row.ended_task = ended_task;
    ENGRAM_ASSIGN_OR_RETURN(const std::shared_ptr<const Snapshot> snapshot,
                            learner_->TakeSnapshot(sequence_));
    for (int32_t task = 0; task <= ended_task; ++task) {
      ENGRAM_ASSIGN_OR_RETURN(const double accuracy, Accuracy(*snapshot, task));
      row.accuracy.emplace_back(accuracy);
    }
    rows_.push_back(std::move(row));
    return absl::OkStatus();
  }

  absl::StatusOr<double> Accuracy(const Snapshot& snapshot, int32_t task) {
    const std::vector<TaskRow>& source = scenario_->tasks[task].held_out;
    const int64_t columns = snapshot.class_count();
    int64_t correct = 0;
    Rows rows;
    std::vector<float> scores;
    for (size_t begin = 0; begin < source.size(); begin += 500) {
      const size_t end = std::min(begin + 500, source.size());
      Fill(source_->test, source, task, begin, end, &rows);
      ENGRAM_RETURN_IF_ERROR(
          snapshot.Predict(rows.features, static_cast<int64_t>(end - begin), rows.tasks, &scores));
      for (size_t i = 0; i < end - begin; ++i) {
        const float* first = scores.data() + i * columns;
        correct += std::max_element(first, first + columns) - first == rows.classes[i] ? 1 : 0;
      }
    }
    return static_cast<double>(correct) / static_cast<double>(source.size());
  }

  const Scenario* scenario_;
  const datasets::RowSplit* source_;
  std::unique_ptr<Learner> learner_;
  ClassNumbers classes_;
  uint64_t sequence_ = 0;
  int64_t examples_ = 0;
  int64_t skipped_ = 0;
  int64_t hits_ = 0;  // predicted right before they were learned
  double seconds_ = 0;  // learning, boundaries included
  double boundary_seconds_ = 0;
  std::vector<AccuracyRow> rows_;
  std::vector<absl::optional<double>> baseline_;
};

absl::Status RunFromFlags() {
  SetComputeThreads(1);
  EnterComputeThread();
  ENGRAM_ASSIGN_OR_RETURN(
      const datasets::RowSplit source,
      scenario::LoadScenarioRows({absl::GetFlag(FLAGS_scenario), absl::GetFlag(FLAGS_images),
                                  absl::GetFlag(FLAGS_previous_label)}));
  scenario::ScenarioOptions options;
  options.name = absl::GetFlag(FLAGS_scenario);
  options.tasks = absl::GetFlag(FLAGS_tasks);
  options.examples_per_task = absl::GetFlag(FLAGS_examples_per_task);
  options.seed = absl::GetFlag(FLAGS_seed);
  if (!absl::GetFlag(FLAGS_incremental).empty()) {
    ENGRAM_ASSIGN_OR_RETURN(options.incremental,
                            scenario::ParseIncremental(absl::GetFlag(FLAGS_incremental)));
  }
  ENGRAM_ASSIGN_OR_RETURN(const Scenario scenario, scenario::MakeScenario(options, source));
  ENGRAM_ASSIGN_OR_RETURN(const ModelOptions model, OptionsFromFlags(scenario));
  ENGRAM_ASSIGN_OR_RETURN(std::unique_ptr<Learner> learner, MakeLearner(model));
  Experiment experiment(&scenario, &source, std::move(learner));
  ENGRAM_RETURN_IF_ERROR(experiment.Run());
  std::printf("%s\n", experiment.Result().dump().c_str());
  return absl::OkStatus();
}

}  // namespace
}  // namespace engram::strategies

int main(int argc, char** argv) {
  absl::ParseCommandLine(argc, argv);
  const absl::Status status = engram::strategies::RunFromFlags();
  if (status.ok()) return 0;
  std::fprintf(stderr, "%s\n", status.ToString().c_str());
  return 1;
}
