#include "client/scenario/run_options.h"

#include <algorithm>
#include <cctype>
#include <cstddef>
#include <random>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/scenario/scenario_rows.h"
#include "client/spec_flags.h"
#include "storage/base/status_macros.h"

namespace engram::scenario {
namespace {

absl::Status SetSharedHead(const RunOptions& options, const Scenario& scenario,
                           v1::ModelSpec* spec) {
  if (options.head != "growing" && options.head != "fixed") {
    return absl::InvalidArgumentError(
        absl::StrCat("head: expected growing or fixed, got \"", options.head, "\""));
  }
  ENGRAM_RETURN_IF_ERROR(client::SetHead(options.head, spec->mutable_head()));
  if (spec->head().kind() != v1::Head::FIXED) return absl::OkStatus();
  for (const int32_t label : scenario.Labels()) spec->add_labels()->set_number(label);
  return absl::OkStatus();
}

// A stream is learned once, and has no rows to ask for meanwhile.
absl::Status CheckStream(const RunOptions& options, const Scenario& scenario) {
  if (!scenario.prequential) return absl::OkStatus();
  ENGRAM_RETURN_IF_ERROR(CheckOption("epochs", options.schedule.epochs, 1, 1));
  ENGRAM_RETURN_IF_ERROR(CheckOption("iterations", options.schedule.iterations, 0, 0));
  if (!options.predict_load) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("predict_load: ", scenario.name, " holds no rows out to predict"));
}

}  // namespace

absl::Status CheckRunOptions(const RunOptions& options) {
  ENGRAM_RETURN_IF_ERROR(CheckSchedule(options.schedule));
  return CheckOption("message_examples", options.message_examples, 1, 1024);
}

absl::StatusOr<datasets::RowSplit> LoadRows(const RunOptions& options) {
  return LoadScenarioRows({options.scenario.name, options.data_path, options.previous_label});
}

absl::StatusOr<Scenario> MakeRunScenario(const RunOptions& options,
                                         const datasets::RowSplit& source) {
  ENGRAM_RETURN_IF_ERROR(CheckRunOptions(options));
  ENGRAM_ASSIGN_OR_RETURN(Scenario scenario, MakeScenario(options.scenario, source));
  ENGRAM_RETURN_IF_ERROR(CheckBatchesFill(options.schedule, scenario));
  ENGRAM_RETURN_IF_ERROR(CheckStream(options, scenario));
  return scenario;
}

absl::StatusOr<v1::ModelSpec> BuildSpec(const RunOptions& options, const Scenario& scenario) {
  v1::ModelSpec spec;
  spec.set_feature_count(scenario.feature_count);
  // Without a hidden layer it is logistic regression.
  spec.mutable_mlp()->mutable_hidden()->Add(options.hidden.begin(), options.hidden.end());
  if (scenario.incremental == Incremental::kTask) {
    spec.mutable_head()->set_kind(v1::Head::PER_TASK);
  } else {
    ENGRAM_RETURN_IF_ERROR(SetSharedHead(options, scenario, &spec));
  }
  ENGRAM_RETURN_IF_ERROR(client::SetOptimizer(options.optimizer, spec.mutable_optimizer()));
  spec.mutable_optimizer()->set_learning_rate(options.learning_rate);
  if (!options.penalty_schedule.empty()) {
    ENGRAM_RETURN_IF_ERROR(
        client::SetPenaltySchedule(options.penalty_schedule, spec.mutable_penalty_schedule()));
  }
  if (!options.augmentation.empty()) {
    ENGRAM_RETURN_IF_ERROR(
        client::SetAugmentation(options.augmentation, spec.mutable_augmentation()));
  }
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<v1::StrategySpec> strategies,
                          client::ParseStrategyList(options.strategy));
  for (const v1::StrategySpec& strategy : strategies) *spec.add_strategies() = strategy;
  spec.set_batch_size(options.schedule.batch_size);
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
