#include "client/scenario/schedule.h"

#include <algorithm>
#include <cstddef>

#include "absl/strings/str_cat.h"
#include "client/datasets/seeded_random.h"
#include "storage/base/status_macros.h"

namespace engram::scenario {
namespace {

// Independent of the streams that MakeScenario draws from.
constexpr uint64_t kPassStream = 4'000'000;

int64_t RowsAPass(const Task& task, const Schedule& schedule) {
  const auto rows = static_cast<int64_t>(task.train.size());
  return schedule.drop_last ? rows - rows % schedule.batch_size : rows;
}

}  // namespace

absl::Status CheckSchedule(const Schedule& schedule) {
  ENGRAM_RETURN_IF_ERROR(CheckOption("batch_size", schedule.batch_size, 1, 1024));
  ENGRAM_RETURN_IF_ERROR(CheckOption("epochs", schedule.epochs, 1, 1000));
  return CheckOption("iterations", schedule.iterations, 0, 10'000'000);
}

absl::Status CheckBatchesFill(const Schedule& schedule, const Scenario& scenario) {
  for (const Task& task : scenario.tasks) {
    if (RowsAPass(task, schedule) > 0) continue;
    return absl::InvalidArgumentError(
        absl::StrCat("batch_size: with drop_last, task ", task.name, " of ", task.train.size(),
                     " examples fills no batch of ", schedule.batch_size));
  }
  return absl::OkStatus();
}

int64_t ScheduledExamples(const Task& task, const Schedule& schedule) {
  if (schedule.iterations > 0) return schedule.iterations * schedule.batch_size;
  return schedule.epochs * RowsAPass(task, schedule);
}

int64_t ScheduledExamples(const Scenario& scenario, const Schedule& schedule) {
  int64_t examples = 0;
  for (const Task& task : scenario.tasks) examples += ScheduledExamples(task, schedule);
  return examples;
}

std::vector<TaskRow> RowsOfPass(const Task& task, const Schedule& schedule, uint64_t seed,
                                int64_t pass) {
  const int64_t whole = RowsAPass(task, schedule);
  const int64_t left = ScheduledExamples(task, schedule) - pass * whole;
  if (left <= 0) return {};
  std::vector<TaskRow> rows = task.train;
  if (pass > 0) {
    datasets::SeededRandom(seed, kPassStream + static_cast<uint64_t>(pass)).Shuffle(&rows);
  }
  rows.resize(static_cast<size_t>(std::min(whole, left)));
  return rows;
}

}  // namespace engram::scenario
