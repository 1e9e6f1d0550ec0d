#include "client/scenario/scenario_verb.h"

#include <cstddef>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/types/optional.h"
#include "client/clients.h"
#include "client/flags.h"
#include "client/json.h"
#include "client/progress.h"
#include "client/report_text.h"
#include "client/scenario/run_options.h"
#include "client/scenario/run_report.h"
#include "client/scenario/scenario.h"
#include "client/scenario/scenario_runner.h"
#include "client/spec_flags.h"
#include "storage/base/status_macros.h"

namespace engram::scenario {
namespace {

using client::Json;
using client::VerbContext;

void PrintJson(const VerbContext& context, const Json& json) {
  *context.out << json.dump() << std::endl;
}

absl::Status SetIncremental(const std::string& text, RunOptions* options) {
  if (text.empty()) return absl::OkStatus();
  ENGRAM_ASSIGN_OR_RETURN(options->scenario.incremental, ParseIncremental(text));
  return absl::OkStatus();
}

// Wrong names are wrong usage, found before anything is sent.
absl::Status CheckStrategies(const std::vector<std::string>& strategies) {
  for (const std::string& strategy : strategies) {
    ENGRAM_RETURN_IF_ERROR(client::ParseStrategyList(strategy).status());
  }
  return absl::OkStatus();
}

absl::StatusOr<RunResult> RunOne(const VerbContext& context, const RunOptions& options,
                                 const datasets::RowSplit& source) {
  ENGRAM_ASSIGN_OR_RETURN(std::shared_ptr<client::Connection> connection, context.Connect());
  ENGRAM_ASSIGN_OR_RETURN(const Scenario scenario, MakeScenario(options.scenario, source));
  client::ProgressOptions progress_options;
  progress_options.title = options.strategy;
  progress_options.unit = "examples";
  progress_options.total = scenario.TrainExamples() * options.epochs;
  progress_options.terminal = context.terminal;
  progress_options.quiet = context.json;
  client::Progress progress(progress_options, context.err);
  RunEvents events;
  events.on_progress = [&progress](int64_t sent) { progress.Set(sent); };
  events.on_task = [&](const TaskOutcome& outcome) {
    if (context.json) {
      PrintJson(context, TaskJson(options.strategy, outcome));
    } else {
      progress.Line(TaskLine(outcome));
    }
  };
  auto result = RunScenario(std::move(connection), options, source, events);
  progress.Finish();
  return result;
}

int RunVerb(const VerbContext& context, const std::vector<std::string>& args) {
  RunOptions options;
  std::string incremental;
  std::vector<std::string> strategies;
  client::FlagSet flags("scenario run", "Streams a scenario through the server.");
  AddScenarioFlags(&options, &incremental, &flags);
  AddRunFlags(&options, &strategies, &flags);
  if (const auto exit = client::ParseOrExit(context, args, &flags)) return *exit;
  if (strategies.empty()) strategies.push_back(options.strategy);
  absl::Status usage = SetIncremental(incremental, &options);
  if (usage.ok()) usage = CheckRunOptions(options);
  if (usage.ok()) usage = CheckStrategies(strategies);
  if (!usage.ok()) return client::WrongUsage(context, usage, flags);

  const auto source = LoadRows(options);
  if (!source.ok()) return client::Fail(context, source.status());
  std::vector<RunResult> results;
  const std::string model = options.model;
  for (const std::string& strategy : strategies) {
    options.strategy = strategy;
    // Several runs cannot share one model.
    if (!model.empty() && strategies.size() > 1) {
      options.model = absl::StrCat(model, "-", StrategyStem(strategy));
    }
    auto result = RunOne(context, options, *source);
    if (!result.ok()) return client::Fail(context, result.status());
    if (context.json) {
      if (result->predictions.has_value()) PrintJson(context, PredictionsJson(*result));
      PrintJson(context, ResultJson(*result));
    } else {
      *context.out << RunTable(*result) << std::endl;
    }
    results.push_back(*std::move(result));
  }
  if (!context.json) {
    if (results.size() > 1) *context.out << ComparisonTable(results) << "\n";
    *context.out << client::DefinitionsText() << std::flush;
  }
  return client::kExitOk;
}

void PrintEvaluation(const VerbContext& context, const std::string& model, const Scenario& scenario,
                     const std::vector<double>& accuracies) {
  double sum = 0;
  for (const double accuracy : accuracies) sum += accuracy;
  const double mean = sum / static_cast<double>(accuracies.size());
  if (context.json) {
    Json json;
    json["event"] = "evaluation";
    json["model"] = model;
    json["tasks"] = Json::array();
    for (const Task& task : scenario.tasks) json["tasks"].push_back(task.name);
    json["accuracy"] = accuracies;
    json["mean"] = mean;
    PrintJson(context, json);
    return;
  }
  *context.out << model << ":";
  for (size_t task = 0; task < accuracies.size(); ++task) {
    *context.out << absl::StrFormat("  %s %.1f", scenario.tasks[task].name, 100 * accuracies[task]);
  }
  *context.out << absl::StrFormat("  mean %.1f per cent", 100 * mean) << std::endl;
}

int EvaluateVerb(const VerbContext& context, const std::vector<std::string>& args) {
  RunOptions options;
  std::string incremental;
  uint64_t version = 0;
  client::FlagSet flags("scenario evaluate",
                        "Accuracy of a model on each task, as it is now. Nothing is learned.");
  AddScenarioFlags(&options, &incremental, &flags);
  flags.String("model", &options.model, "the model; required")
      .Uint64("version", &version, "of the model; 0 = the live one");
  if (const auto exit = client::ParseOrExit(context, args, &flags)) return *exit;
  absl::Status usage = SetIncremental(incremental, &options);
  if (usage.ok() && options.model.empty()) {
    usage = absl::InvalidArgumentError("model: expected the name of a model");
  }
  if (!usage.ok()) return client::WrongUsage(context, usage, flags);

  const auto source = LoadRows(options);
  if (!source.ok()) return client::Fail(context, source.status());
  const auto scenario = MakeScenario(options.scenario, *source);
  if (!scenario.ok()) return client::Fail(context, scenario.status());
  if (scenario->prequential) {
    return client::Fail(context, absl::InvalidArgumentError(absl::StrCat(
                                     scenario->name, ": holds no rows out to evaluate")));
  }
  auto connection = context.Connect();
  if (!connection.ok()) return client::Fail(context, connection.status());
  const auto accuracies =
      EvaluateTasks(*std::move(connection), options.model, version, *scenario, *source);
  if (!accuracies.ok()) return client::Fail(context, accuracies.status());
  PrintEvaluation(context, options.model, *scenario, *accuracies);
  return client::kExitOk;
}

int ListVerb(const VerbContext& context, const std::vector<std::string>& args) {
  client::FlagSet flags("scenario list", "The scenarios there are, with their defaults.");
  if (const auto exit = client::ParseOrExit(context, args, &flags)) return *exit;
  for (const ScenarioHelp& help : ListScenarios()) {
    if (context.json) {
      Json json;
      json["name"] = help.name;
      json["tasks"] = help.tasks;
      json["examples_per_task"] = help.examples_per_task;
      json["scenario"] = std::string(IncrementalName(help.incremental));
      json["needs_data"] = help.source != RowSource::kDigits;
      json["about"] = help.about;
      PrintJson(context, json);
      continue;
    }
    const std::string examples =
        help.examples_per_task > 0 ? absl::StrCat(help.examples_per_task) : "all";
    const bool drawn = help.source == RowSource::kDigits;
    *context.out << absl::StrFormat("%-16s %3d tasks x %-6s examples, %-6s  %s%s\n", help.name,
                                    help.tasks, examples, IncrementalName(help.incremental),
                                    help.about, drawn ? "" : "; needs --data");
  }
  return client::kExitOk;
}

}  // namespace

int ScenarioVerb(const VerbContext& context, const std::vector<std::string>& args) {
  const std::vector<std::string> rest(args.empty() ? args.begin() : args.begin() + 1, args.end());
  const std::string verb = args.empty() ? "" : args.front();
  if (verb == "run") return RunVerb(context, rest);
  if (verb == "evaluate") return EvaluateVerb(context, rest);
  if (verb == "list") return ListVerb(context, rest);
  client::FlagSet flags("scenario run|evaluate|list", "Benchmark scenarios.");
  if (const auto exit = client::ParseOrExit(context, args, &flags)) return *exit;
  return client::WrongUsage(context,
                            absl::InvalidArgumentError(absl::StrCat(
                                "scenario: expected run, evaluate or list, got \"", verb, "\"")),
                            flags);
}

}  // namespace engram::scenario
