#include "client/scenario/run_report.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/types/optional.h"

namespace engram::scenario {
namespace {

using client::Json;

std::string Percent(const absl::optional<double>& ratio, bool sign = false) {
  if (!ratio.has_value()) return "-";
  return sign ? absl::StrFormat("%+.1f", 100 * *ratio) : absl::StrFormat("%.1f", 100 * *ratio);
}

Json Number(const absl::optional<double>& ratio) {
  return ratio.has_value() ? Json(*ratio) : Json(nullptr);
}

Json Row(const Accuracies& accuracies) {
  Json row = Json::array();
  for (const absl::optional<double>& accuracy : accuracies) row.push_back(Number(accuracy));
  return row;
}

// Presence in v1::Summary as optionals.
struct Figures {
  explicit Figures(const v1::Summary& summary) {
    if (summary.has_acc()) acc = summary.acc();
    if (summary.has_bwt()) bwt = summary.bwt();
    if (summary.has_fwt()) fwt = summary.fwt();
    if (summary.has_forgetting()) forgetting = summary.forgetting();
  }
  absl::optional<double> acc, bwt, fwt, forgetting;
};

size_t WidestTask(const RunResult& result) {
  size_t width = 0;
  for (const std::string& task : result.tasks) width = std::max(width, task.size());
  return width;
}

std::string Title(const RunResult& result) {
  return absl::StrFormat("%s, %s-incremental, strategy %s, seed %d, model %s",
                         result.options.scenario.name, IncrementalName(result.incremental),
                         result.options.strategy, result.options.scenario.seed, result.model);
}

std::string Matrix(const RunResult& result) {
  const auto name_width = static_cast<int>(WidestTask(result) + 6);
  std::string text = absl::StrFormat("  %-*s", name_width, "R, per cent");
  for (size_t task = 1; task <= result.tasks.size(); ++task) {
    absl::StrAppendFormat(&text, "%7s", absl::StrCat("t", task));
  }
  text += "\n";
  for (size_t row = 0; row < result.r.size(); ++row) {
    const std::string name = row < result.tasks.size() ? result.tasks[row] : "";
    absl::StrAppendFormat(&text, "  %-*s", name_width, absl::StrCat("after t", row + 1, " ", name));
    for (const absl::optional<double>& accuracy : result.r[row]) {
      absl::StrAppendFormat(&text, "%7s", Percent(accuracy));
    }
    text += "\n";
  }
  return text;
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
    absl::StrAppend(&text, " ", Percent(outcome.accuracy[static_cast<size_t>(task)]));
  }
  absl::StrAppend(&text, ", ACC ", Percent(Figures(outcome.summary).acc));
  return text;
}

std::string RunTable(const RunResult& result) {
  const Figures figures(result.summary);
  const Figures task_figures(result.task_summary);
  std::string text = absl::StrCat(Title(result), "\n", Matrix(result));
  absl::StrAppendFormat(&text, "ACC %s   BWT %s   FWT %s   forgetting %s\n", Percent(figures.acc),
                        Percent(figures.bwt, true), Percent(figures.fwt, true),
                        Percent(figures.forgetting));
  if (result.incremental == Incremental::kClass && task_figures.acc.has_value()) {
    absl::StrAppendFormat(&text, "with the task known: ACC %s   BWT %s   forgetting %s\n",
                          Percent(task_figures.acc), Percent(task_figures.bwt, true),
                          Percent(task_figures.forgetting));
  }
  absl::StrAppendFormat(&text, "%d examples learned, %.0f a second; %.1f s in all\n",
                        result.trained_examples, result.ExamplesPerSecond(), result.seconds);
  if (result.predictions.has_value()) text += PredictionsLine(*result.predictions);
  return text;
}

std::string ComparisonTable(const std::vector<RunResult>& results) {
  size_t width = 8;
  for (const RunResult& result : results) width = std::max(width, result.options.strategy.size());
  std::string text =
      absl::StrFormat("%-*s%8s%8s%8s%12s%14s%15s\n", static_cast<int>(width), "strategy", "ACC",
                      "BWT", "FWT", "forgetting", "examples/s", "predictions/s");
  for (const RunResult& result : results) {
    const Figures figures(result.summary);
    const std::string predictions =
        result.predictions.has_value()
            ? absl::StrFormat("%.0f", result.predictions->PredictionsPerSecond())
            : "-";
    absl::StrAppendFormat(&text, "%-*s%8s%8s%8s%12s%14.0f%15s\n", static_cast<int>(width),
                          result.options.strategy, Percent(figures.acc), Percent(figures.bwt, true),
                          Percent(figures.fwt, true), Percent(figures.forgetting),
                          result.ExamplesPerSecond(), predictions);
  }
  return text;
}

Json TaskJson(const std::string& strategy, const TaskOutcome& outcome) {
  Json json;
  json["event"] = "task";
  json["strategy"] = strategy;
  json["index"] = outcome.index;
  json["task"] = outcome.task;
  json["examples"] = outcome.examples;
  json["seconds"] = outcome.seconds;
  json["accuracy"] = Row(outcome.accuracy);
  json["acc"] = Number(Figures(outcome.summary).acc);
  return json;
}

Json PredictionsJson(const RunResult& result) {
  const PredictLoadReport& load = *result.predictions;
  Json json;
  json["event"] = "predictions";
  json["strategy"] = result.options.strategy;
  json["predictions"] = load.predictions;
  json["failures"] = load.failures;
  json["predictions_per_second"] = load.PredictionsPerSecond();
  json["p50_seconds"] = load.p50_seconds;
  json["p99_seconds"] = load.p99_seconds;
  return json;
}

Json ResultJson(const RunResult& result) {
  const Figures figures(result.summary);
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
  return json;
}

}  // namespace engram::scenario
