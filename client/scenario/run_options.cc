#include "client/scenario/run_options.h"

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"
#include "client/scenario/scenario_rows.h"
#include "client/spec_flags.h"
#include "storage/base/status_macros.h"

namespace engram::scenario {
namespace {

absl::Status CheckRange(absl::string_view name, int64_t value, int64_t min, int64_t max) {
  if (value >= min && value <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(name, ": expected ", min, " to ", max, ", got ", value));
}

}  // namespace

void AddScenarioFlags(RunOptions* options, std::string* incremental, client::FlagSet* flags) {
  flags->Positional("SCENARIO", &options->scenario.name, "see `engram scenario list`")
      .String("data", &options->data_path,
              "folder of the scenario's files, or its one file; without it digits are drawn")
      .Bool("previous_label", &options->previous_label,
            "streams: the label of the example before is a feature")
      .String("scenario", incremental, "class, task or domain; else the scenario's default")
      .Int64("tasks", &options->scenario.tasks, "number of tasks; 0 = the scenario's default")
      .Int64("examples_per_task", &options->scenario.examples_per_task,
             "TRAIN examples a task; 0 = the scenario's default")
      .Int64("held_out_per_task", &options->scenario.held_out_per_task,
             "HELD_OUT rows a task; 0 = the whole test set")
      .Uint64("seed", &options->scenario.seed, "of the order, the permutations and the model");
}

void AddRunFlags(RunOptions* options, std::vector<std::string>* strategies,
                 client::FlagSet* flags) {
  flags
      ->Strings("strategy", strategies,
                "e.g. finetune or experience_replay:memory_size=500+ewc; each one given is run")
      .String("protocol", &options->protocol, "online: one pass, batch by batch")
      .Int64s("hidden", &options->hidden, "units of each hidden layer")
      .String("optimizer", &options->optimizer, "sgd, adam or adamw, e.g. sgd:momentum=0.9")
      .Double("lr", &options->learning_rate, "learning rate")
      .Int64("batch_size", &options->batch_size, "examples a step; 0 = 10, of a stream 1")
      .Int64("epochs", &options->epochs, "passes over each task")
      .String("model", &options->model,
              "name of the model (with several strategies: its beginning); else made up")
      .Bool("keep_model", &options->keep_model, "do not delete the model at the end")
      .Bool("checkpoints", &options->checkpoints, "a checkpoint after-TASK after each task")
      .Bool("predict_load", &options->predict_load, "predict all the while, and measure it")
      .Int64("message_examples", &options->message_examples, "examples a message");
}

absl::Status CheckRunOptions(const RunOptions& options) {
  if (options.protocol != "online") {
    return absl::InvalidArgumentError(
        absl::StrCat("protocol: expected online, got \"", options.protocol, "\""));
  }
  ENGRAM_RETURN_IF_ERROR(CheckRange("epochs", options.epochs, 1, 1000));
  return CheckRange("message_examples", options.message_examples, 1, 1024);
}

absl::Status CheckFits(const RunOptions& options, const Scenario& scenario) {
  if (!scenario.prequential) return absl::OkStatus();
  ENGRAM_RETURN_IF_ERROR(CheckRange("epochs", options.epochs, 1, 1));
  if (!options.predict_load) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("predict_load: ", scenario.name, " holds no rows out to predict"));
}

absl::StatusOr<datasets::RowSplit> LoadRows(const RunOptions& options) {
  return LoadScenarioRows({options.scenario.name, options.data_path, options.previous_label});
}

absl::StatusOr<v1::ModelSpec> BuildSpec(const RunOptions& options, const Scenario& scenario) {
  v1::ModelSpec spec;
  spec.set_feature_count(scenario.feature_count);
  spec.mutable_mlp();  // without a hidden layer it is logistic regression
  for (const int64_t units : options.hidden) spec.mutable_mlp()->add_hidden(units);
  spec.mutable_head()->set_kind(scenario.incremental == Incremental::kTask ? v1::Head::PER_TASK
                                                                           : v1::Head::GROWING);
  ENGRAM_RETURN_IF_ERROR(client::SetOptimizer(options.optimizer, spec.mutable_optimizer()));
  spec.mutable_optimizer()->set_learning_rate(options.learning_rate);
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<v1::StrategySpec> strategies,
                          client::ParseStrategyList(options.strategy));
  for (const v1::StrategySpec& strategy : strategies) *spec.add_strategies() = strategy;
  const int64_t usual_batch = scenario.prequential ? 1 : 10;
  spec.set_batch_size(options.batch_size != 0 ? options.batch_size : usual_batch);
  spec.set_max_batch_wait_ms(0);
  spec.set_seed(options.scenario.seed);
  spec.set_held_out_fraction(0);
  if (!scenario.prequential) spec.set_held_out_max_per_task(scenario.HeldOutRowsMax());
  spec.set_evaluate_every_examples(0);
  spec.set_first_task(scenario.tasks.front().name);
  return spec;
}

std::string StrategyStem(absl::string_view strategy) {
  std::string stem;
  bool parameters = false;
  for (const char c : strategy) {
    if (c == ':') parameters = true;
    if (c == '+') parameters = false;
    if (parameters) continue;
    stem.push_back(std::isalnum(static_cast<unsigned char>(c)) ? c : '-');
  }
  return stem.substr(0, 64);
}

std::string ModelName(const RunOptions& options) {
  if (!options.model.empty()) return options.model;
  std::random_device device;
  return absl::StrFormat("%s-%s-s%d-%06x", options.scenario.name, StrategyStem(options.strategy),
                         options.scenario.seed, device() & 0xffffffu);
}

}  // namespace engram::scenario
