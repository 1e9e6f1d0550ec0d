// Finetune: the plain step and nothing else. The lower bound of every table: it learns the stream
// as it comes and forgets what no longer appears in it.
#include <memory>

#include "strategies/core/registry.h"
#include "strategies/core/strategy.h"

namespace engram::strategies {
namespace {

class Finetune : public Strategy {
 public:
  absl::string_view Name() const override { return "finetune"; }
  StrategyTraits Traits() const override { return {/*interleaved_tasks=*/true, false}; }

  absl::StatusOr<Observation> Observe(TrainingBatch& batch, StepContext& context,
                                      Next next) override {
    return next(batch, context);
  }
};

}  // namespace

namespace builtin {

StrategyEntry Finetune() {
  StrategyEntry entry;
  entry.help.name = "finetune";
  entry.help.family = "baseline";
  entry.help.paper = "none; \"naive\" or \"SGD\" in the literature";
  entry.help.idea = "Trains on the stream as it comes, with no protection of what it learned.";
  entry.help.memory = "0";
  entry.help.time = "1x";
  entry.help.when = "A stationary stream, or the lower bound to compare with.";
  entry.help.traits.interleaved_tasks = true;
  entry.make = [](const StrategyParameters&,
                  const StrategyEnvironment&) -> absl::StatusOr<std::unique_ptr<Strategy>> {
    return std::make_unique<strategies::Finetune>();
  };
  return entry;
}

}  // namespace builtin
}  // namespace engram::strategies
