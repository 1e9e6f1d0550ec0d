#include "client/scenario/run_report.h"

#include <cstddef>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/types/optional.h"
#include "client/report_text.h"
#include "client/table.h"

namespace engram::scenario {
namespace {

using client::Json;

constexpr double kAbsent = std::numeric_limits<double>::quiet_NaN();

std::string PercentOf(const absl::optional<double>& ratio) {
  return client::Percent(ratio.value_or(kAbsent));
}

Json Number(const absl::optional<double>& ratio) {
  return ratio.has_value() ? Json(*ratio) : Json(nullptr);
}

Json Row(const Accuracies& accuracies) {
  Json row = Json::array();
  for (const absl::optional<double>& accuracy : accuracies) row.push_back(Number(accuracy));
  return row;
}

std::string Title(const RunResult& result) {
  return absl::StrFormat("%s, %s-incremental, strategy %s, seed %d, model %s",
                         result.options.scenario.name, IncrementalName(result.incremental),
                         result.options.strategy, result.options.scenario.seed, result.model);
}

// Columns by number, so that twenty tasks fit on a line; the rows say which task is which.
std::string Matrix(const RunResult& result) {
  std::vector<std::string> header = {"R, % after"};
  for (size_t task = 1; task <= result.tasks.size(); ++task)
    header.push_back(absl::StrCat("t", task));
  client::Table table(std::move(header));
  for (size_t row = 0; row < result.r.size(); ++row) {
    std::vector<std::string> cells = {absl::StrCat("t", row + 1, " ", result.tasks[row])};
    for (const absl::optional<double>& accuracy : result.r[row]) {
      cells.push_back(PercentOf(accuracy));
    }
    table.Add(std::move(cells));
  }
  return table.Text();
}

std::string StreamLine(const RunResult& result) {
  return absl::StrFormat("prequential accuracy %s %% over the whole stream, no-change %s %%\n",
                         PercentOf(result.prequential_accuracy), PercentOf(result.no_change));
}

std::string PredictionsLine(const PredictLoadReport& load) {
  std::string text = absl::StrFormat(
      "predictions meanwhile: %d, %.0f a second from one client, p50 %.2f ms, p99 %.2f ms\n",
      load.predictions, load.PredictionsPerSecond(), 1e3 * load.p50_seconds,
      1e3 * load.p99_seconds);
  if (load.failures > 0) {
    absl::StrAppendFormat(&text, "predictions failed: %d, last with %s\n", load.failures,
                          load.last_failure.ToString());
  }
  return text;
}

}  // namespace

std::string TaskLine(const TaskOutcome& outcome) {
  std::string text = absl::StrFormat(
      "task %d/%d %s: %d examples in %.2f s (%.0f/s), accuracy", outcome.index + 1,
      outcome.accuracy.size(), outcome.task, outcome.examples, outcome.seconds,
      outcome.seconds > 0 ? static_cast<double>(outcome.examples) / outcome.seconds : 0.0);
  for (int64_t task = 0; task <= outcome.index; ++task) {
    absl::StrAppend(&text, " ", PercentOf(outcome.accuracy[static_cast<size_t>(task)]));
  }
  absl::StrAppend(&text, ", ACC ",
                  outcome.summary.has_acc() ? client::Percent(outcome.summary.acc()) : "-");
  return text;
}

std::string RunTable(const RunResult& result) {
  std::string text =
      absl::StrCat(Title(result), "\n", Matrix(result), client::SummaryText(result.summary), "\n");
  if (result.prequential_accuracy.has_value()) text += StreamLine(result);
  if (result.incremental == Incremental::kClass) {
    absl::StrAppend(&text, "with the task known: ", client::SummaryText(result.task_summary), "\n");
  }
  absl::StrAppendFormat(&text, "%d examples learned, %.0f a second; %.1f s in all\n",
                        result.trained_examples, result.ExamplesPerSecond(), result.seconds);
  if (result.predictions.has_value()) text += PredictionsLine(*result.predictions);
  return text;
}

std::string ComparisonTable(const std::vector<RunFigures>& runs) {
  client::Table table(
      {"strategy", "ACC", "BWT", "FWT", "forgetting", "examples/s", "predictions/s"});
  for (const RunFigures& run : runs) {
    table.Add({run.strategy, PercentOf(run.acc), PercentOf(run.bwt), PercentOf(run.fwt),
               PercentOf(run.forgetting), absl::StrFormat("%.0f", run.examples_per_second),
               run.predictions_per_second.has_value()
                   ? absl::StrFormat("%.0f", *run.predictions_per_second)
                   : "-"});
  }
  return table.Text();
}

Json TaskJson(const RunOptions& options, const TaskOutcome& outcome) {
  Json json;
  json["event"] = "task";
  json["strategy"] = options.strategy;
  json["seed"] = options.scenario.seed;
  json["index"] = outcome.index;
  json["task"] = outcome.task;
  json["examples"] = outcome.examples;
  json["seconds"] = outcome.seconds;
  json["accuracy"] = Row(outcome.accuracy);
  json["acc"] = outcome.summary.has_acc() ? Json(outcome.summary.acc()) : Json(nullptr);
  return json;
}

Json PredictionsJson(const RunResult& result) {
  const PredictLoadReport& load = *result.predictions;
  Json json;
  json["event"] = "predictions";
  json["strategy"] = result.options.strategy;
  json["seed"] = result.options.scenario.seed;
  json["predictions"] = load.predictions;
  json["failures"] = load.failures;
  json["predictions_per_second"] = load.PredictionsPerSecond();
  json["p50_seconds"] = load.p50_seconds;
  json["p99_seconds"] = load.p99_seconds;
  return json;
}

Json ResultJson(const RunResult& result) {
  const RunFigures figures = FiguresOf(result);
  Json json;
  json["event"] = "result";
  json["scenario"] = result.options.scenario.name;
  json["protocol"] = result.options.protocol;
  json["strategy"] = result.options.strategy;
  json["seed"] = result.options.scenario.seed;
  json["acc"] = Number(figures.acc);
  json["bwt"] = Number(figures.bwt);
  json["fwt"] = Number(figures.fwt);
  json["forgetting"] = Number(figures.forgetting);
  json["r"] = Json::array();
  for (const Accuracies& row : result.r) json["r"].push_back(Row(row));
  json["examples_per_second"] = result.ExamplesPerSecond();
  json["seconds"] = result.seconds;
  if (result.prequential_accuracy.has_value()) {
    json["prequential_accuracy"] = *result.prequential_accuracy;
    json["no_change"] = Number(result.no_change);
  }
  return json;
}

}  // namespace engram::scenario
