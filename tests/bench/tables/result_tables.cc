#include "tests/bench/tables/result_tables.h"

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "client/scenario/protocols.h"

namespace engram::bench {
namespace {

using client::Json;
using scenario::RunFigures;
using scenario::Spread;
using scenario::SpreadOf;

constexpr char kPreamble[] =
    "# Results\n\n"
    "Written by `engram_tables` (tests/bench/tables) from rows.json: edit neither table nor "
    "figures here.\n\n"
    "Ours: mean accuracy over the tasks after the last one (of a stream: prequential accuracy), "
    "in per cent, +-\nstandard deviation over the seeds (their number). A row marked **misses** "
    "does not reach its target. Seeds run in\nprocess; \"served\" says whether the first seed "
    "gave the same R through a server.\n";

absl::optional<double> FigureOf(const TableRow& row, const RunFigures& run) {
  return row.figure == "acc" ? run.acc : run.prequential_accuracy;
}

absl::optional<Spread> FigureOf(const RowOutcome& outcome) {
  std::vector<absl::optional<double>> values;
  for (const RunFigures& run : outcome.runs) values.push_back(FigureOf(outcome.row, run));
  return SpreadOf(values);
}

const RowOutcome* Find(const std::string& id, const std::vector<RowOutcome>& all) {
  const auto found = std::find_if(all.begin(), all.end(),
                                  [&](const RowOutcome& other) { return other.row.id == id; });
  return found == all.end() ? nullptr : &*found;
}

// Mean difference over the seeds that both have, in points; absent without one.
absl::optional<double> Lead(const RowOutcome& outcome, const RowOutcome& other) {
  std::map<uint64_t, double> by_seed;
  for (const RunFigures& run : other.runs) {
    const auto figure = FigureOf(other.row, run);
    if (figure.has_value()) by_seed[run.seed] = *figure;
  }
  std::vector<absl::optional<double>> leads;
  for (const RunFigures& run : outcome.runs) {
    const auto same = by_seed.find(run.seed);
    const auto figure = FigureOf(outcome.row, run);
    if (same != by_seed.end() && figure.has_value()) leads.push_back(*figure - same->second);
  }
  const auto spread = SpreadOf(leads);
  return spread.has_value() ? absl::make_optional(100 * spread->mean) : absl::nullopt;
}

// In whole hundredths, as it is printed: 98.499 is no 98.5, and neither is it printed so.
double Shown(double per_cent) { return std::stod(absl::StrFormat("%.2f", per_cent)); }

std::string Target(const TableRow& row) {
  std::vector<std::string> parts;
  if (row.at_least.has_value()) parts.push_back(absl::StrCat(">= ", *row.at_least));
  if (row.at_most.has_value()) parts.push_back(absl::StrCat("<= ", *row.at_most));
  for (const Comparison& other : row.above) {
    parts.push_back(absl::StrCat(">= ", other.id, other.by < 0 ? " - " : " + ",
                                 other.by < 0 ? -other.by : other.by));
  }
  return parts.empty() ? "-" : absl::StrJoin(parts, ", ");
}

std::string VerdictText(Verdict verdict) {
  switch (verdict) {
    case Verdict::kNone:
      return "-";
    case Verdict::kOpen:
      return "open";
    case Verdict::kHolds:
      return "holds";
    case Verdict::kMisses:
      return "**misses**";
  }
  return "";
}

std::string Ours(const RowOutcome& outcome) {
  const auto spread = FigureOf(outcome);
  if (!spread.has_value()) return "not run";
  std::string text = absl::StrFormat("%.2f", 100 * spread->mean);
  if (spread->sd.has_value()) absl::StrAppendFormat(&text, " +- %.2f", 100 * *spread->sd);
  return absl::StrCat(text, " (", spread->count, ")");
}

std::string Published(const TableRow& row) {
  if (!row.published.has_value()) return "-";
  const std::string spread = row.spread.empty() ? "" : absl::StrCat(" +- ", row.spread);
  return absl::StrCat(*row.published, spread, row.source.empty() ? "" : ", ", row.source);
}

std::string Served(const RowOutcome& outcome) {
  if (!outcome.served_equal.has_value()) return "-";
  return *outcome.served_equal ? "equal" : "**differs**";
}

std::string Command(const TableRow& row) {
  return absl::StrCat("engram scenario run ", absl::StrJoin(row.Arguments("DIR"), " "));
}

// What the protocol is, and what of its source is not taken over.
std::string Protocol(const TableRow& row) {
  std::string text;
  for (const scenario::Protocol& protocol : scenario::ListProtocols()) {
    if (protocol.name != row.protocol) continue;
    absl::StrAppend(&text, protocol.source, ".\n");
    for (const scenario::ProtocolSetting& setting : protocol.settings) {
      if (setting.scenario != row.scenario) continue;
      absl::StrAppend(&text, "`", absl::StrJoin(setting.flags, " "), "`\n");
      if (setting.initialisation.empty()) continue;
      absl::StrAppend(&text, "Not taken over: ", setting.initialisation, ".\n");
    }
  }
  return text;
}

std::string Line(const RowOutcome& outcome, const std::vector<RowOutcome>& all) {
  const std::string& strategy = outcome.strategy.empty() ? outcome.row.strategy : outcome.strategy;
  return absl::StrCat("| ", outcome.row.id, " | ", outcome.row.incremental, " | `", strategy,
                      "` | ", Ours(outcome), " | ", Published(outcome.row), " | ",
                      Target(outcome.row), " | ", VerdictText(VerdictOf(outcome, all)), " | ",
                      Served(outcome), " |\n");
}

std::string Remarks(const RowOutcome& outcome) {
  std::string text = absl::StrCat("- ", outcome.row.id, ": `", Command(outcome.row), "`\n");
  if (!outcome.skipped.empty()) absl::StrAppend(&text, "  - not run: ", outcome.skipped, "\n");
  if (!outcome.row.note.empty()) absl::StrAppend(&text, "  - ", outcome.row.note, "\n");
  return text;
}

Json OrNull(const absl::optional<double>& value) {
  return value.has_value() ? Json(*value) : Json(nullptr);
}

Json RunsJson(const RowOutcome& outcome) {
  Json runs = Json::array();
  for (const RunFigures& run : outcome.runs) {
    runs.push_back({{"seed", run.seed},
                    {"acc", OrNull(run.acc)},
                    {"bwt", OrNull(run.bwt)},
                    {"fwt", OrNull(run.fwt)},
                    {"forgetting", OrNull(run.forgetting)},
                    {"prequential_accuracy", OrNull(run.prequential_accuracy)}});
  }
  return runs;
}

}  // namespace

Verdict VerdictOf(const RowOutcome& outcome, const std::vector<RowOutcome>& all) {
  const TableRow& row = outcome.row;
  const auto figure = FigureOf(outcome);
  if (!row.at_least && !row.at_most && row.above.empty()) return Verdict::kNone;
  if (!figure.has_value() || figure->count < row.seeds) return Verdict::kOpen;
  const double mean = Shown(100 * figure->mean);
  if (row.at_least.has_value() && mean < *row.at_least) return Verdict::kMisses;
  if (row.at_most.has_value() && mean > *row.at_most) return Verdict::kMisses;
  for (const Comparison& comparison : row.above) {
    const RowOutcome* other = Find(comparison.id, all);
    const auto lead = other == nullptr ? absl::nullopt : Lead(outcome, *other);
    if (!lead.has_value()) return Verdict::kOpen;
    if (Shown(*lead) < comparison.by) return Verdict::kMisses;
  }
  return Verdict::kHolds;
}

std::string ResultsText(const std::vector<RowOutcome>& outcomes) {
  std::vector<std::pair<std::string, std::vector<const RowOutcome*>>> tables;
  for (const RowOutcome& outcome : outcomes) {
    const std::string title =
        absl::StrCat(outcome.row.scenario, ", protocol ", outcome.row.protocol);
    const auto same = std::find_if(tables.begin(), tables.end(),
                                   [&](const auto& table) { return table.first == title; });
    if (same == tables.end()) {
      tables.push_back({title, {&outcome}});
    } else {
      same->second.push_back(&outcome);
    }
  }
  std::string text = kPreamble;
  for (const auto& [title, rows] : tables) {
    absl::StrAppend(&text, "\n## ", title, "\n\n", Protocol(rows.front()->row),
                    "\n| row | scenario | strategy | ours | published | target | | served |\n"
                    "|---|---|---|---|---|---|---|---|\n");
    for (const RowOutcome* outcome : rows) absl::StrAppend(&text, Line(*outcome, outcomes));
    absl::StrAppend(&text, "\n");
    for (const RowOutcome* outcome : rows) absl::StrAppend(&text, Remarks(*outcome));
  }
  return text;
}

Json ResultsJson(const std::vector<RowOutcome>& outcomes) {
  Json rows = Json::array();
  for (const RowOutcome& outcome : outcomes) {
    const auto figure = FigureOf(outcome);
    Json json;
    json["id"] = outcome.row.id;
    json["scenario"] = outcome.row.scenario;
    json["protocol"] = outcome.row.protocol;
    json["incremental"] = outcome.row.incremental;
    json["strategy"] = outcome.strategy.empty() ? outcome.row.strategy : outcome.strategy;
    json["figure"] = outcome.row.figure;
    json["mean"] = figure.has_value() ? Json(figure->mean) : Json(nullptr);
    json["sd"] = figure.has_value() ? OrNull(figure->sd) : Json(nullptr);
    json["sem"] = figure.has_value() ? OrNull(figure->sem) : Json(nullptr);
    json["runs"] = RunsJson(outcome);
    json["published"] = OrNull(outcome.row.published);
    json["source"] = outcome.row.source;
    json["target"] = Target(outcome.row);
    const Verdict verdict = VerdictOf(outcome, outcomes);
    json["verdict"] = verdict == Verdict::kMisses ? "misses" : VerdictText(verdict);
    json["served_equal"] =
        outcome.served_equal.has_value() ? Json(*outcome.served_equal) : Json(nullptr);
    json["skipped"] = outcome.skipped;
    json["note"] = outcome.row.note;
    json["command"] = Command(outcome.row);
    rows.push_back(std::move(json));
  }
  return rows;
}

void TakeKept(const Json& kept, RowOutcome* outcome) {
  if (!kept.is_array()) return;
  for (const Json& row : kept) {
    const bool same_run =
        row.value("id", "") == outcome->row.id &&
        row.value("command", "") == Command(outcome->row) &&
        (outcome->strategy.empty() || row.value("strategy", "") == outcome->strategy);
    if (!same_run || row["runs"].size() <= outcome->runs.size()) continue;
    outcome->strategy = row["strategy"];
    outcome->skipped.clear();
    outcome->runs.clear();
    outcome->served_equal.reset();  // of those runs, too
    for (const Json& run : row["runs"]) outcome->runs.push_back(scenario::FiguresOf(run));
    if (row["served_equal"].is_boolean()) outcome->served_equal = row["served_equal"].get<bool>();
  }
}

}  // namespace engram::bench
