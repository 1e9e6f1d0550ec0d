#include "client/scenario/scenario.h"

#include <algorithm>
#include <cstddef>
#include <functional>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "client/datasets/seeded_random.h"
#include "storage/base/status_macros.h"

namespace engram::scenario {
namespace {

using datasets::RowSplit;
using datasets::RowSet;
using datasets::SeededRandom;

constexpr int64_t kDigits = 10;
constexpr int64_t kMaxTasks = 1000;

// Independent streams of one seed; tasks count upwards from each.
constexpr uint64_t kTrainStream = 1'000'000;
constexpr uint64_t kHeldOutStream = 2'000'000;
constexpr uint64_t kPermutationStream = 3'000'000;
constexpr uint64_t kPassStream = 4'000'000;

// What a scenario says about task `index`; rows are drawn from it by FillTask.
struct TaskPlan {
  std::string name;
  // First and last digit that the task shows.
  int64_t first_digit = 0;
  int64_t last_digit = kDigits - 1;
  // Whether tasks share out the digits rather than each showing all of them.
  bool split = false;
  PixelMap map;
};

using Planner =
    std::function<TaskPlan(const ScenarioOptions& options, const RowSet& images, int64_t index)>;

TaskPlan PlanSplit(const ScenarioOptions& options, const RowSet& /*images*/, int64_t index) {
  const int64_t digits = kDigits / options.tasks;
  TaskPlan plan;
  plan.split = true;
  plan.first_digit = index * digits;
  plan.last_digit = plan.first_digit + digits - 1;
  plan.name = "digits";
  for (int64_t digit = plan.first_digit; digit <= plan.last_digit; ++digit) {
    absl::StrAppend(&plan.name, "-", digit);
  }
  return plan;
}

TaskPlan PlanPermuted(const ScenarioOptions& options, const RowSet& images, int64_t index) {
  TaskPlan plan;
  plan.name = absl::StrCat("permutation-", index + 1);
  plan.map = PermutationMap(images.PixelsPerImage(), options.seed,
                            kPermutationStream + static_cast<uint64_t>(index));
  return plan;
}

TaskPlan PlanRotated(const ScenarioOptions& options, const RowSet& images, int64_t index) {
  const double degrees = 180.0 * static_cast<double>(index) / static_cast<double>(options.tasks);
  TaskPlan plan;
  plan.name = absl::StrCat("rotation-", degrees);
  plan.map = RotationMap(images.width, images.height, degrees);
  return plan;
}

struct ScenarioEntry {
  ScenarioHelp help;
  Planner plan;
};

const std::vector<ScenarioEntry>& Entries() {
  static const auto* const kEntries = new std::vector<ScenarioEntry>{
      {{"split-mnist", 5, 0, Incremental::kClass, "the ten digits, two a task"}, PlanSplit},
      {{"permuted-mnist", 10, 10000, Incremental::kDomain,
        "all digits, one permutation of the pixels a task"},
       PlanPermuted},
      {{"rotated-mnist", 20, 10000, Incremental::kDomain, "all digits, one rotation a task"},
       PlanRotated},
  };
  return *kEntries;
}

absl::StatusOr<const ScenarioEntry*> FindEntry(const std::string& name) {
  std::vector<std::string> known;
  for (const ScenarioEntry& entry : Entries()) {
    if (entry.help.name == name) return &entry;
    known.push_back(entry.help.name);
  }
  return absl::NotFoundError(
      absl::StrCat("scenario: expected ", absl::StrJoin(known, ", "), "; got \"", name, "\""));
}

absl::Status CheckOption(absl::string_view field, int64_t value, int64_t min, int64_t max) {
  if (value >= min && value <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(field, ": expected ", min, " to ", max, ", got ", value));
}

absl::Status CheckOptions(const ScenarioOptions& options, const ScenarioEntry& entry,
                          const RowSplit& source) {
  ENGRAM_RETURN_IF_ERROR(CheckOption("tasks", options.tasks, 1, kMaxTasks));
  ENGRAM_RETURN_IF_ERROR(
      CheckOption("examples_per_task", options.examples_per_task, 0, source.train.rows));
  ENGRAM_RETURN_IF_ERROR(
      CheckOption("held_out_per_task", options.held_out_per_task, 0, source.test.rows));
  if (entry.help.name == "split-mnist" && kDigits % options.tasks != 0) {
    return absl::InvalidArgumentError(absl::StrCat(
        "tasks: expected 1, 2, 5 or 10, which divide the ten digits, got ", options.tasks));
  }
  return absl::OkStatus();
}

int32_t LabelOf(int64_t digit, Incremental incremental, int64_t index, bool split) {
  if (incremental == Incremental::kDomain) return static_cast<int32_t>(split ? digit % 2 : digit);
  return static_cast<int32_t>(split ? digit : kDigits * index + digit);
}

// Rows of the planned digits, shuffled, at most `limit` of them (0 = all).
std::vector<TaskRow> DrawRows(const RowSet& images, const TaskPlan& plan, int64_t limit,
                              SeededRandom random,
                              const std::function<int32_t(int64_t)>& label_of) {
  std::vector<TaskRow> rows;
  for (int64_t row = 0; row < images.rows; ++row) {
    const int64_t digit = images.labels[static_cast<size_t>(row)];
    if (digit < plan.first_digit || digit > plan.last_digit) continue;
    rows.push_back({static_cast<int32_t>(row), label_of(digit)});
  }
  random.Shuffle(&rows);
  if (limit > 0 && limit < static_cast<int64_t>(rows.size())) {
    rows.resize(static_cast<size_t>(limit));
  }
  return rows;
}

absl::Status CheckRows(const Task& task, int64_t asked) {
  if (task.train.empty() || task.held_out.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("task ", task.name, ": the images hold no example of it"));
  }
  const auto rows = static_cast<int64_t>(task.train.size());
  if (asked <= rows) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("examples_per_task: task ", task.name, " has ", rows, " examples, got ", asked));
}

absl::StatusOr<Task> MakeTask(const ScenarioOptions& options, TaskPlan plan,
                              const RowSplit& source, int64_t index, int64_t train_limit) {
  const auto label_of = [&](int64_t digit) {
    return LabelOf(digit, *options.incremental, index, plan.split);
  };
  const auto stream = static_cast<uint64_t>(index);
  Task task;
  task.train = DrawRows(source.train, plan, train_limit,
                        SeededRandom(options.seed, kTrainStream + stream), label_of);
  task.held_out = DrawRows(source.test, plan, options.held_out_per_task,
                           SeededRandom(options.seed, kHeldOutStream + stream), label_of);
  task.name = std::move(plan.name);
  task.map = std::move(plan.map);
  ENGRAM_RETURN_IF_ERROR(CheckRows(task, options.examples_per_task));
  return task;
}

}  // namespace

absl::string_view IncrementalName(Incremental incremental) {
  switch (incremental) {
    case Incremental::kClass:
      return "class";
    case Incremental::kTask:
      return "task";
    case Incremental::kDomain:
      return "domain";
  }
  return "";
}

absl::StatusOr<Incremental> ParseIncremental(absl::string_view name) {
  for (const Incremental kind : {Incremental::kClass, Incremental::kTask, Incremental::kDomain}) {
    if (IncrementalName(kind) == name) return kind;
  }
  return absl::InvalidArgumentError(
      absl::StrCat("scenario: expected class, task or domain, got \"", name, "\""));
}

int64_t Scenario::TrainExamples() const {
  int64_t examples = 0;
  for (const Task& task : tasks) examples += static_cast<int64_t>(task.train.size());
  return examples;
}

int64_t Scenario::HeldOutRowsMax() const {
  size_t most = 0;
  for (const Task& task : tasks) most = std::max(most, task.held_out.size());
  return static_cast<int64_t>(most);
}

absl::StatusOr<Scenario> MakeScenario(const ScenarioOptions& asked, const RowSplit& source) {
  ENGRAM_ASSIGN_OR_RETURN(const ScenarioEntry* entry, FindEntry(asked.name));
  ScenarioOptions options = asked;
  if (options.tasks == 0) options.tasks = entry->help.tasks;
  if (!options.incremental.has_value()) options.incremental = entry->help.incremental;
  ENGRAM_RETURN_IF_ERROR(CheckOptions(options, *entry, source));
  const int64_t train_limit =
      options.examples_per_task > 0 ? options.examples_per_task : entry->help.examples_per_task;

  Scenario scenario;
  scenario.name = options.name;
  scenario.incremental = *options.incremental;
  scenario.feature_count = source.train.FeatureCount();
  for (int64_t index = 0; index < options.tasks; ++index) {
    ENGRAM_ASSIGN_OR_RETURN(Task task, MakeTask(options, entry->plan(options, source.train, index),
                                                source, index, train_limit));
    scenario.tasks.push_back(std::move(task));
  }
  return scenario;
}

std::vector<TaskRow> RowsOfPass(const Task& task, uint64_t seed, int64_t pass) {
  std::vector<TaskRow> rows = task.train;
  if (pass > 0) SeededRandom(seed, kPassStream + static_cast<uint64_t>(pass)).Shuffle(&rows);
  return rows;
}

const std::vector<ScenarioHelp>& ListScenarios() {
  static const auto* const kHelp = [] {
    auto* help = new std::vector<ScenarioHelp>;
    for (const ScenarioEntry& entry : Entries()) help->push_back(entry.help);
    return help;
  }();
  return *kHelp;
}

}  // namespace engram::scenario
