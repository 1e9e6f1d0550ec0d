#include "strategies/core/registry.h"

#include <string>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

// One line a strategy: the function in strategies/builtin that returns its entry.
#define ENGRAM_STRATEGIES(ENTRY) \
  ENTRY(Finetune)                \
  ENTRY(MultiTask)               \
  ENTRY(Joint)                   \
  ENTRY(Ewc)                     \
  ENTRY(OnlineEwc)               \
  ENTRY(Mas)                     \
  ENTRY(Si)                      \
  ENTRY(Rwalk)                   \
  ENTRY(Lwf)                     \
  ENTRY(ExperienceReplay)        \
  ENTRY(Der)                     \
  ENTRY(DerPlusPlus)             \
  ENTRY(ErAce)                   \
  ENTRY(Gdumb)                   \
  ENTRY(Gem)                     \
  ENTRY(AGem)                    \
  ENTRY(Gpm)                     \
  ENTRY(GenerativeReplay)        \
  ENTRY(GenerativeClassifier)    \
  ENTRY(Progressive)             \
  ENTRY(PackNet)                 \
  ENTRY(PathNet)                 \
  ENTRY(Ncm)                     \
  ENTRY(Icarl)                   \
  ENTRY(Slda)                    \
  ENTRY(Ridge)                   \
  ENTRY(Mer)                     \
  ENTRY(Reptile)                 \
  ENTRY(FeatureExtraction)       \
  ENTRY(FineTuning)              \
  ENTRY(TransferKernel)          \
  ENTRY(Plasticity)

namespace engram::strategies {

namespace builtin {
#define ENGRAM_DECLARE(name) StrategyEntry name();
ENGRAM_STRATEGIES(ENGRAM_DECLARE)
#undef ENGRAM_DECLARE
}  // namespace builtin

const std::vector<StrategyEntry>& StrategyTable() {
#define ENGRAM_CALL(name) builtin::name(),
  static const auto* const table = new std::vector<StrategyEntry>{ENGRAM_STRATEGIES(ENGRAM_CALL)};
#undef ENGRAM_CALL
  return *table;
}

const std::vector<StrategyHelp>& ListStrategies() {
  static const auto* const list = [] {
    auto* result = new std::vector<StrategyHelp>;
    for (const StrategyEntry& entry : StrategyTable()) result->push_back(entry.help);
    return result;
  }();
  return *list;
}

absl::StatusOr<const StrategyEntry*> FindStrategy(absl::string_view name) {
  std::vector<std::string> known;
  for (const StrategyEntry& entry : StrategyTable()) {
    if (entry.help.name == name) return &entry;
    known.push_back(entry.help.name);
  }
  return absl::NotFoundError(
      absl::StrCat("strategy \"", name, "\" is unknown; there are ", absl::StrJoin(known, ", ")));
}

}  // namespace engram::strategies
