// Multi-task learning (Caruana 1997): one trunk learns several tasks that are interleaved in the
// stream, and every task in a step counts alike, however many of its rows the step holds:
//   L = 1 / |T| sum_{t in T} 1 / |B_t| sum_{(x, y) in B_t} weight CE(f_t(x), y)
// With one head a task the trunk is shared and each row's loss runs over its own head. Behind a
// replay strategy, replayed tasks count as much as the stream's own.
//
// Memory: none. Time: one pass over the rows' task numbers.
#include <memory>

#include "absl/container/flat_hash_map.h"
#include "strategies/core/registry.h"

namespace engram::strategies {
namespace {

class MultiTask final : public Strategy {
 public:
  absl::string_view Name() const override { return "multi_task"; }
  StrategyTraits Traits() const override { return {/*interleaved_tasks=*/true, false}; }

  absl::StatusOr<Observation> Observe(TrainingBatch& batch, StepContext& context,
                                      Next next) override {
    absl::flat_hash_map<int32_t, int64_t> rows_of_task;
    for (const int32_t task : batch.tasks()) ++rows_of_task[task];
    if (rows_of_task.size() > 1) {
      const double each = 1.0 / static_cast<double>(rows_of_task.size());
      for (int64_t row = 0; row < batch.rows(); ++row) {
        const int64_t rows = rows_of_task[batch.tasks()[static_cast<size_t>(row)]];
        batch.SetShare(row, row + 1, each / static_cast<double>(rows));
      }
    }
    return next(batch, context);
  }
};

}  // namespace

namespace builtin {

StrategyEntry MultiTask() {
  StrategyEntry entry;
  entry.help.name = "multi_task";
  entry.help.family = "transfer";
  entry.help.paper = "Caruana 1997, Machine Learning 28";
  entry.help.idea =
      "One trunk learns tasks that come interleaved; in every step each task counts alike,\n"
      "however many of its rows are there.";
  entry.help.memory = "0";
  entry.help.time = "1x";
  entry.help.when = "Several tasks stream at once, some with far more examples than others.";
  entry.help.traits.interleaved_tasks = true;
  entry.make = [](const StrategyParameters&,
                  const StrategyEnvironment&) -> absl::StatusOr<std::unique_ptr<Strategy>> {
    return std::make_unique<strategies::MultiTask>();
  };
  return entry;
}

}  // namespace builtin
}  // namespace engram::strategies
