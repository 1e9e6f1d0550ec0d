// strategies/api/options.h without the registry behind it, for tests that must not load LibTorch.
// One strategy of each kind that the server tells apart.
#include "absl/strings/str_cat.h"
#include "strategies/api/options.h"

namespace engram::strategies {
namespace {

StrategyHelp MakeStrategy(std::string name, bool interleaved) {
  StrategyHelp help;
  help.name = std::move(name);
  help.family = "fake";
  help.traits.interleaved_tasks = interleaved;
  return help;
}

bool Interleaves(const StrategySpec& spec) {
  for (const StrategyHelp& help : ListStrategies()) {
    if (help.name == spec.name) return help.traits.interleaved_tasks;
  }
  return false;
}

}  // namespace

const std::vector<StrategyHelp>& ListStrategies() {
  static const auto* const strategies =
      new std::vector<StrategyHelp>{MakeStrategy("finetune", false),
                                    MakeStrategy("experience_replay", true),
                                    MakeStrategy("ewc", false), MakeStrategy("online_ewc", false)};
  return *strategies;
}

absl::Status ValidateOptions(const ModelOptions& options) {
  if (options.optimizer.learning_rate > 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("optimizer.learning_rate: must be above 0, got ",
                                                 options.optimizer.learning_rate));
}

absl::Status ValidateLiveChange(const ModelOptions& current, const ModelOptions& next) {
  if (current.batch_size == next.batch_size && current.hidden == next.hidden) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError("batch_size: cannot change on a running model");
}

bool InterleavedTasks(const ModelOptions& options) {
  for (const StrategySpec& spec : options.strategies) {
    if (!Interleaves(spec)) return false;
  }
  return !options.strategies.empty();
}

}  // namespace engram::strategies
