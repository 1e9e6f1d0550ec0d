#include <algorithm>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "client/clients.h"
#include "client/json.h"
#include "client/table.h"
#include "client/verbs/verbs.h"

namespace engram::client {
namespace {

std::string ExplainText(const v1::StrategyDescription& strategy) {
  std::string text = absl::StrCat(strategy.name(), " (", strategy.family(), ")\n  ",
                                  absl::StrReplaceAll(strategy.idea(), {{"\n", "\n  "}}), "\n");
  const std::pair<const char*, const std::string&> lines[] = {{"paper", strategy.paper()},
                                                              {"memory", strategy.memory()},
                                                              {"time", strategy.time()},
                                                              {"when", strategy.when()}};
  for (const auto& [name, value] : lines) {
    if (!value.empty()) absl::StrAppend(&text, "  ", name, ": ", value, "\n");
  }
  if (strategy.parameters_size() == 0) return absl::StrCat(text, "  no parameters\n");
  Table table({"parameter", "kind", "default", "range", "live", "meaning"});
  for (const v1::StrategyParameter& one : strategy.parameters()) {
    table.Add({one.name(), one.kind(), one.default_value(), one.range(), one.live() ? "yes" : "no",
               one.help()});
  }
  return absl::StrCat(text, "\n", table.Text());
}

absl::Status UnknownStrategy(const std::string& name,
                             const std::vector<v1::StrategyDescription>& strategies) {
  std::vector<std::string> names;
  for (const auto& one : strategies) names.push_back(one.name());
  return absl::NotFoundError(
      absl::StrCat("strategy \"", name, "\" is not one of ", absl::StrJoin(names, ", ")));
}

}  // namespace

int StrategyList(const VerbContext& context, const Arguments& args) {
  FlagSet flags("strategy list", "Lists the strategies that the server knows.");
  if (const auto exit = ParseOrExit(context, args, &flags)) return *exit;
  const auto connection = context.Connect();
  if (!connection.ok()) return Fail(context, connection.status());
  const auto strategies = AdminClient(*connection).ListStrategies();
  if (!strategies.ok()) return Fail(context, strategies.status());
  Table table({"strategy", "family", "memory", "time", "paper"});
  for (const auto& one : *strategies) {
    if (context.json) {
      *context.out << Json({{"name", one.name()},
                            {"family", one.family()},
                            {"paper", one.paper()},
                            {"memory", one.memory()},
                            {"time", one.time()}})
                          .dump()
                   << "\n";
    } else {
      table.Add({one.name(), one.family(), one.memory(), one.time(), one.paper()});
    }
  }
  if (!context.json) *context.out << table.Text();
  return kExitOk;
}

int StrategyExplain(const VerbContext& context, const Arguments& args) {
  std::string name;
  FlagSet flags("strategy explain", "Explains a strategy: idea, paper, cost and parameters.");
  flags.Positional("STRATEGY", &name, "its name");
  if (const auto exit = ParseOrExit(context, args, &flags)) return *exit;
  const auto connection = context.Connect();
  if (!connection.ok()) return Fail(context, connection.status());
  const auto strategies = AdminClient(*connection).ListStrategies();
  if (!strategies.ok()) return Fail(context, strategies.status());
  const auto found = std::find_if(strategies->begin(), strategies->end(),
                                  [&name](const auto& one) { return one.name() == name; });
  if (found == strategies->end()) return Fail(context, UnknownStrategy(name, *strategies));
  if (context.json) {
    *context.out << ToJson(*found).dump() << "\n";
  } else {
    *context.out << ExplainText(*found);
  }
  return kExitOk;
}

}  // namespace engram::client
