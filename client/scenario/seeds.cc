#include "client/scenario/seeds.h"

#include <array>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "client/table.h"

namespace engram::scenario {
namespace {

using client::Json;
using Figure = absl::optional<double> RunFigures::*;

constexpr std::array<std::pair<const char*, Figure>, 5> kFigures = {{
    {"acc", &RunFigures::acc},
    {"bwt", &RunFigures::bwt},
    {"fwt", &RunFigures::fwt},
    {"forgetting", &RunFigures::forgetting},
    {"prequential_accuracy", &RunFigures::prequential_accuracy},
}};

absl::optional<double> NumberIn(const Json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || !found->is_number()) return absl::nullopt;
  return found->get<double>();
}

Json OrNull(const absl::optional<double>& value) {
  return value.has_value() ? Json(*value) : Json(nullptr);
}

// In per cent: "91.20 +- 0.35 (0.16)".
std::string Cell(const absl::optional<Spread>& spread) {
  if (!spread.has_value()) return "-";
  std::string text = absl::StrFormat("%.2f", 100 * spread->mean);
  if (spread->sd.has_value()) {
    absl::StrAppendFormat(&text, " +- %.2f (%.2f)", 100 * *spread->sd, 100 * *spread->sem);
  }
  return text;
}

}  // namespace

RunFigures FiguresOf(const RunResult& result) {
  RunFigures figures;
  figures.scenario = result.options.scenario.name;
  figures.protocol = result.options.protocol;
  figures.strategy = result.options.strategy;
  figures.seed = result.options.scenario.seed;
  const v1::Summary& summary = result.summary;
  if (summary.has_acc()) figures.acc = summary.acc();
  if (summary.has_bwt()) figures.bwt = summary.bwt();
  if (summary.has_fwt()) figures.fwt = summary.fwt();
  if (summary.has_forgetting()) figures.forgetting = summary.forgetting();
  figures.prequential_accuracy = result.prequential_accuracy;
  figures.examples_per_second = result.ExamplesPerSecond();
  if (result.predictions.has_value()) {
    figures.predictions_per_second = result.predictions->PredictionsPerSecond();
  }
  return figures;
}

RunFigures FiguresOf(const Json& result) {
  RunFigures figures;
  figures.scenario = result.value("scenario", "");
  figures.protocol = result.value("protocol", "");
  figures.strategy = result.value("strategy", "");
  figures.seed = result.value("seed", uint64_t{0});
  for (const auto& [name, figure] : kFigures) figures.*figure = NumberIn(result, name);
  figures.examples_per_second = NumberIn(result, "examples_per_second").value_or(0);
  return figures;
}

absl::optional<Spread> SpreadOf(const std::vector<absl::optional<double>>& values) {
  Spread spread;
  double sum = 0;
  for (const absl::optional<double>& value : values) {
    if (!value.has_value()) continue;
    ++spread.count;
    sum += *value;
  }
  if (spread.count == 0) return absl::nullopt;
  const auto count = static_cast<double>(spread.count);
  spread.mean = sum / count;
  if (spread.count == 1) return spread;
  double squares = 0;
  for (const absl::optional<double>& value : values) {
    if (value.has_value()) squares += (*value - spread.mean) * (*value - spread.mean);
  }
  spread.sd = std::sqrt(squares / (count - 1));
  spread.sem = *spread.sd / std::sqrt(count);
  return spread;
}

absl::optional<Spread> SpreadOf(const std::vector<RunFigures>& runs, Figure figure) {
  std::vector<absl::optional<double>> values;
  for (const RunFigures& run : runs) values.push_back(run.*figure);
  return SpreadOf(values);
}

std::string SeedsTable(const std::vector<std::vector<RunFigures>>& strategies) {
  client::Table table(
      {"mean +- SD (SEM), %", "seeds", "ACC", "BWT", "FWT", "forgetting", "prequential"});
  for (const std::vector<RunFigures>& runs : strategies) {
    std::vector<std::string> cells = {runs.front().strategy, absl::StrCat(runs.size())};
    for (const auto& [name, figure] : kFigures) cells.push_back(Cell(SpreadOf(runs, figure)));
    table.Add(std::move(cells));
  }
  return table.Text();
}

Json SummaryJson(const std::vector<RunFigures>& runs) {
  Json json;
  json["event"] = "summary";
  json["scenario"] = runs.front().scenario;
  json["protocol"] = runs.front().protocol;
  json["strategy"] = runs.front().strategy;
  json["seeds"] = Json::array();
  for (const RunFigures& run : runs) json["seeds"].push_back(run.seed);
  for (const auto& [name, figure] : kFigures) {
    const absl::optional<Spread> spread = SpreadOf(runs, figure);
    if (figure != &RunFigures::prequential_accuracy) json[name] = nullptr;
    if (!spread.has_value()) continue;
    json[name] = Json({{"mean", spread->mean}});
    json[name]["sd"] = OrNull(spread->sd);
    json[name]["sem"] = OrNull(spread->sem);
  }
  return json;
}

}  // namespace engram::scenario
