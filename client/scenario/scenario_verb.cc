#include "client/scenario/scenario_verb.h"

#include <cstddef>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/flags.h"
#include "client/json.h"
#include "client/scenario/protocols.h"
#include "client/scenario/run_options.h"
#include "client/scenario/run_plan.h"
#include "client/scenario/run_verb.h"
#include "client/scenario/scenario.h"
#include "client/scenario/scenario_runner.h"
#include "storage/base/status_macros.h"

namespace engram::scenario {
namespace {

using client::Json;
using client::VerbContext;

// Each run has a connection of its own.
Runner ThroughServer(const VerbContext& context) {
  return [&context](const RunOptions& options, const datasets::RowSplit& source,
                    const RunEvents& events) -> absl::StatusOr<RunResult> {
    ENGRAM_ASSIGN_OR_RETURN(std::shared_ptr<client::Connection> connection, context.Connect());
    return RunScenario(std::move(connection), options, source, events);
  };
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
  RunFlags run;
  client::FlagSet flags("scenario evaluate",
                        "Accuracy of --model on each task, as it is now. Nothing is learned. Takes "
                        "the flags of the run.");
  AddEvaluateFlags(&run, &flags);
  if (const auto exit = client::ParseOrExit(context, args, &flags)) return *exit;
  const auto options = ResolveOptions(args, run, "finetune");
  absl::Status usage = options.status();
  if (usage.ok() && options->model.empty()) {
    usage = absl::InvalidArgumentError("model: expected the name of a model");
  }
  if (!usage.ok()) return client::WrongUsage(context, usage, flags);

  const auto source = LoadRows(*options);
  if (!source.ok()) return client::Fail(context, source.status());
  const auto scenario = MakeScenario(options->scenario, *source);
  if (!scenario.ok()) return client::Fail(context, scenario.status());
  if (scenario->prequential) {
    return client::Fail(context, absl::InvalidArgumentError(absl::StrCat(
                                     scenario->name, ": holds no rows out to evaluate")));
  }
  auto connection = context.Connect();
  if (!connection.ok()) return client::Fail(context, connection.status());
  const auto accuracies =
      EvaluateTasks(*std::move(connection), options->model, run.version, *scenario, *source);
  if (!accuracies.ok()) return client::Fail(context, accuracies.status());
  PrintEvaluation(context, options->model, *scenario, *accuracies);
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

Json OverrideJson(const ProtocolOverride& line) {
  Json json;
  json["scenario"] = line.scenario;
  json["incremental"] = line.incremental;
  json["strategy"] = line.strategy;
  json["flags"] = line.flags;
  return json;
}

Json ProtocolJson(const Protocol& protocol) {
  Json json;
  json["name"] = protocol.name;
  json["source"] = protocol.source;
  json["settings"] = Json::array();
  for (const ProtocolSetting& setting : protocol.settings) {
    json["settings"].push_back({{"scenario", setting.scenario},
                                {"flags", setting.flags},
                                {"initialisation", setting.initialisation}});
  }
  json["overrides"] = Json::array();
  for (const ProtocolOverride& line : protocol.overrides) {
    json["overrides"].push_back(OverrideJson(line));
  }
  return json;
}

std::string ProtocolText(const Protocol& protocol) {
  std::string text = absl::StrCat(protocol.name, ": ", protocol.source, "\n");
  for (const ProtocolSetting& setting : protocol.settings) {
    absl::StrAppend(&text, "  ", setting.scenario, "  ", absl::StrJoin(setting.flags, " "), "\n");
    if (!setting.initialisation.empty()) {
      absl::StrAppend(&text, "    not taken over: ", setting.initialisation, "\n");
    }
  }
  for (const ProtocolOverride& line : protocol.overrides) {
    absl::StrAppend(&text, "  ", line.scenario, line.incremental.empty() ? "" : " ",
                    line.incremental, "  --strategy ", line.strategy,
                    line.flags.empty() ? "" : " ", absl::StrJoin(line.flags, " "), "\n");
  }
  return text;
}

int ProtocolsVerb(const VerbContext& context, const std::vector<std::string>& args) {
  client::FlagSet flags("scenario protocols", "The protocols there are, as flags of a run.");
  if (const auto exit = client::ParseOrExit(context, args, &flags)) return *exit;
  for (const Protocol& protocol : ListProtocols()) {
    if (context.json) {
      PrintJson(context, ProtocolJson(protocol));
    } else {
      *context.out << ProtocolText(protocol);
    }
  }
  return client::kExitOk;
}

}  // namespace

int ScenarioVerb(const VerbContext& context, const std::vector<std::string>& args) {
  const std::vector<std::string> rest(args.empty() ? args.begin() : args.begin() + 1, args.end());
  const std::string verb = args.empty() ? "" : args.front();
  if (verb == "run") return RunVerb(context, rest, ThroughServer(context));
  if (verb == "evaluate") return EvaluateVerb(context, rest);
  if (verb == "list") return ListVerb(context, rest);
  if (verb == "protocols") return ProtocolsVerb(context, rest);
  client::FlagSet flags("scenario run|evaluate|list|protocols", "Benchmark scenarios.");
  if (const auto exit = client::ParseOrExit(context, args, &flags)) return *exit;
  return client::WrongUsage(
      context,
      absl::InvalidArgumentError(absl::StrCat(
          "scenario: expected run, evaluate, list or protocols, got \"", verb, "\"")),
      flags);
}

}  // namespace engram::scenario
