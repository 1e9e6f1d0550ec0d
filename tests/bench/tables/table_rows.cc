#include "tests/bench/tables/table_rows.h"

#include <set>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "storage/base/status_macros.h"

namespace engram::bench {
namespace {

using Json = nlohmann::json;

absl::optional<double> Number(const Json& row, const char* key) {
  return row.contains(key) ? absl::make_optional(row[key].get<double>()) : absl::nullopt;
}

// Keys that a row may have; a misspelt one would silently hold nothing.
const std::set<std::string>& Keys() {
  static const auto* const kKeys = new std::set<std::string>{
      "id",     "scenario", "protocol",  "incremental", "strategy", "flags",    "files",
      "seeds",  "served",   "figure",    "published",   "spread",   "source",   "at_least",
      "at_most", "above",   "note",      "blocked"};
  return *kKeys;
}

// Throws what the JSON library throws on a value of another kind.
TableRow ReadRow(const Json& json) {
  TableRow row;
  row.id = json.at("id").get<std::string>();
  row.scenario = json.at("scenario").get<std::string>();
  row.protocol = json.at("protocol").get<std::string>();
  row.incremental = json.at("incremental").get<std::string>();
  row.strategy = json.at("strategy").get<std::string>();
  row.seeds = json.at("seeds").get<int64_t>();
  row.flags = json.value("flags", std::vector<std::string>{});
  row.files = json.value("files", "mnist");
  row.figure = json.value("figure", "acc");
  row.served = json.value("served", false);
  row.spread = json.value("spread", "");
  row.source = json.value("source", "");
  row.note = json.value("note", "");
  row.blocked = json.value("blocked", "");
  row.published = Number(json, "published");
  row.at_least = Number(json, "at_least");
  row.at_most = Number(json, "at_most");
  for (const Json& other : json.value("above", Json::array())) {
    row.above.push_back({other.at("id").get<std::string>(), other.at("by").get<double>()});
  }
  return row;
}

absl::Status CheckKeys(const Json& json, const std::string& name) {
  if (!json.is_object()) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": expected an object"));
  }
  for (const auto& item : json.items()) {
    if (Keys().count(item.key()) > 0) continue;
    return absl::InvalidArgumentError(absl::StrCat(name, ": no such key \"", item.key(), "\""));
  }
  return absl::OkStatus();
}

// Its id, or where it stands.
std::string NameOf(const Json& json, size_t at) {
  const bool named = json.is_object() && json.contains("id") && json["id"].is_string();
  return named ? json["id"].get<std::string>() : absl::StrCat("row ", at + 1);
}

absl::StatusOr<TableRow> ParseRow(const Json& json, const std::string& name) {
  ENGRAM_RETURN_IF_ERROR(CheckKeys(json, name));
  try {
    TableRow row = ReadRow(json);
    if (row.seeds < 1) {
      return absl::InvalidArgumentError(absl::StrCat(name, ": seeds must be at least 1"));
    }
    if (row.figure == "acc" || row.figure == "prequential_accuracy") return row;
    return absl::InvalidArgumentError(
        absl::StrCat(name, ": figure: expected acc or prequential_accuracy, got ", row.figure));
  } catch (const Json::exception& error) {
    return absl::InvalidArgumentError(absl::StrCat(name, ": ", error.what()));
  }
}

}  // namespace

std::vector<std::string> TableRow::Arguments(const std::string& path) const {
  std::vector<std::string> args = {scenario,   "--scenario", incremental, "--protocol",
                                   protocol,   "--strategy", strategy};
  args.insert(args.end(), flags.begin(), flags.end());
  args.insert(args.end(), {"--seeds", absl::StrCat(seeds), "--data", path});
  return args;
}

absl::StatusOr<std::vector<TableRow>> ParseRows(absl::string_view text) {
  const Json json = Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
  if (!json.is_array()) return absl::InvalidArgumentError("rows: expected a JSON array");
  std::vector<TableRow> rows;
  std::set<std::string> ids;
  for (size_t at = 0; at < json.size(); ++at) {
    ENGRAM_ASSIGN_OR_RETURN(TableRow row, ParseRow(json[at], NameOf(json[at], at)));
    if (!ids.insert(row.id).second) {
      return absl::InvalidArgumentError(absl::StrCat(row.id, ": two rows have this id"));
    }
    rows.push_back(std::move(row));
  }
  for (const TableRow& row : rows) {
    for (const Comparison& other : row.above) {
      if (ids.count(other.id) > 0) continue;
      return absl::InvalidArgumentError(absl::StrCat(row.id, ": above names no row: ", other.id));
    }
  }
  return rows;
}

}  // namespace engram::bench
