#include "client/scenario/scenario.h"

#include <algorithm>
#include <cstddef>
#include <functional>
#include <limits>
#include <numeric>
#include <set>
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

constexpr int64_t kMaxTasks = 1000;
constexpr int64_t kSideMax = 256;
// Ratings come in four strengths: 1 and 10, 2 and 9, 3 and 8, 4 and 7.
constexpr int64_t kStrengths = 4;

// Independent streams of one seed; tasks count upwards from each.
constexpr uint64_t kTrainStream = 1'000'000;
constexpr uint64_t kHeldOutStream = 2'000'000;
constexpr uint64_t kPermutationStream = 3'000'000;
constexpr uint64_t kClassStream = 5'000'000;
constexpr uint64_t kAngleStream = 6'000'000;

// What a scenario says about task `index`; rows are drawn from it by DrawRows.
struct TaskPlan {
  std::string name;
  // Whether row `row` of `set` belongs to the task; absent: every row does.
  std::function<bool(const RowSet& set, size_t row)> has;
  PixelMap map;
};

// How tasks divide the rows.
enum class Kind {
  kShared,   // each shows all classes
  kSplit,    // they share the classes out
  kGrouped,  // by the rows' groups
  kStream,   // one task of all rows, in their order
};

struct ScenarioEntry;
using Planner = std::function<TaskPlan(const ScenarioEntry& entry, const ScenarioOptions& options,
                                       const RowSet& train, int64_t index)>;

struct ScenarioEntry {
  ScenarioHelp help;
  Planner plan;
  int64_t classes = 10;
  // What --tasks may be; empty: any number.
  std::vector<int64_t> task_counts;
  Kind kind = Kind::kShared;

  bool split() const { return kind == Kind::kSplit; }
  bool prequential() const { return kind == Kind::kStream; }
};

// Which class stands at each place of a split; tasks take neighbouring places.
std::vector<int64_t> ClassOrder(const ScenarioEntry& entry, const ScenarioOptions& options) {
  std::vector<int64_t> order(static_cast<size_t>(entry.classes));
  std::iota(order.begin(), order.end(), 0);
  if (options.shuffle_classes) SeededRandom(options.seed, kClassStream).Shuffle(&order);
  return order;
}

// "STEM-2-3" and the rows of classes 2 and 3.
TaskPlan PlanClasses(const std::string& stem, const std::vector<int64_t>& classes) {
  TaskPlan plan;
  plan.name = absl::StrCat(stem, "-", absl::StrJoin(classes, "-"));
  plan.has = [classes](const RowSet& set, size_t row) {
    return std::find(classes.begin(), classes.end(), set.labels[row]) != classes.end();
  };
  return plan;
}

Planner SplitPlanner(const std::string& stem) {
  return [stem](const ScenarioEntry& entry, const ScenarioOptions& options, const RowSet&,
                int64_t index) {
    const std::vector<int64_t> order = ClassOrder(entry, options);
    const int64_t count = entry.classes / options.tasks;
    const auto first = order.begin() + index * count;
    return PlanClasses(stem, {first, first + count});
  };
}

// Of the pictures that a model sees.
int64_t WidthOf(const ScenarioOptions& options, const RowSet& set) {
  return options.side > 0 ? options.side : set.width;
}
int64_t HeightOf(const ScenarioOptions& options, const RowSet& set) {
  return options.side > 0 ? options.side : set.height;
}

TaskPlan PlanPermuted(const ScenarioEntry& /*entry*/, const ScenarioOptions& options,
                      const RowSet& train, int64_t index) {
  TaskPlan plan;
  plan.name = absl::StrCat("permutation-", index + 1);
  plan.map = PermutationMap(WidthOf(options, train) * HeightOf(options, train), options.seed,
                            kPermutationStream + static_cast<uint64_t>(index));
  return plan;
}

double AngleOf(const ScenarioOptions& options, int64_t index) {
  SeededRandom random(options.seed, kAngleStream + static_cast<uint64_t>(index));
  const auto tasks = static_cast<double>(options.tasks);
  auto slice = static_cast<double>(index);
  if (options.angles == Angles::kSlices) slice += random.Uniform();
  if (options.angles == Angles::kUniform) slice = random.Uniform(0, tasks);
  return 180.0 * slice / tasks;
}

TaskPlan PlanRotated(const ScenarioEntry& /*entry*/, const ScenarioOptions& options,
                     const RowSet& train, int64_t index) {
  const double degrees = AngleOf(options, index);
  TaskPlan plan;
  plan.name = absl::StrCat("rotation-", degrees);
  plan.map = RotationMap(WidthOf(options, train), HeightOf(options, train), degrees);
  return plan;
}

// Ratings at the same distance from the ends of the scale, the ends first.
TaskPlan PlanRatings(const ScenarioEntry& /*entry*/, const ScenarioOptions& options,
                     const RowSet& /*train*/, int64_t index) {
  const int64_t count = kStrengths / options.tasks;
  const int64_t first = 1 + index * count;
  TaskPlan plan;
  plan.name = "ratings";
  for (int64_t rating = first; rating < first + count; ++rating) {
    absl::StrAppend(&plan.name, "-", rating, "-", 11 - rating);
  }
  plan.has = [first, count](const RowSet& set, size_t row) {
    const int64_t rating = std::min(set.groups[row], 11 - set.groups[row]);
    return rating >= first && rating < first + count;
  };
  return plan;
}

// Films by their numbers, cut so that tasks have about as many training reviews each.
TaskPlan PlanFilms(const ScenarioEntry& /*entry*/, const ScenarioOptions& options,
                   const RowSet& train, int64_t index) {
  std::vector<int32_t> films = train.groups;
  std::sort(films.begin(), films.end());
  const auto cut = [&](int64_t task) {
    return films[films.size() * static_cast<size_t>(task) / static_cast<size_t>(options.tasks)];
  };
  // The first and the last task take what held-out films lie beyond the training films.
  const int32_t first = index == 0 ? std::numeric_limits<int32_t>::min() : cut(index);
  const absl::optional<int32_t> end =
      index + 1 == options.tasks ? absl::nullopt : absl::make_optional(cut(index + 1));
  TaskPlan plan;
  plan.name = absl::StrCat("films-", index + 1);
  plan.has = [first, end](const RowSet& set, size_t row) {
    return set.groups[row] >= first && (!end.has_value() || set.groups[row] < *end);
  };
  return plan;
}

TaskPlan PlanStream(const ScenarioEntry& /*entry*/, const ScenarioOptions& /*options*/,
                    const RowSet& /*train*/, int64_t /*index*/) {
  TaskPlan plan;
  plan.name = "stream";
  return plan;
}

const std::vector<ScenarioEntry>& Entries() {
  using I = Incremental;
  using S = RowSource;
  static const auto* const kEntries = new std::vector<ScenarioEntry>{
      {{"split-mnist", 5, 0, I::kClass, S::kDigits, "the ten digits, two a task"},
       SplitPlanner("digits"), 10, {1, 2, 5, 10}, Kind::kSplit},
      {{"permuted-mnist", 10, 10000, I::kDomain, S::kDigits,
        "all digits, one permutation of the pixels a task"},
       PlanPermuted, 10, {}, Kind::kShared},
      {{"rotated-mnist", 20, 10000, I::kDomain, S::kDigits, "all digits, one rotation a task"},
       PlanRotated, 10, {}, Kind::kShared},
      {{"split-cifar10", 5, 0, I::kClass, S::kPhotos, "ten classes of photos, two a task"},
       SplitPlanner("classes"), 10, {1, 2, 5, 10}, Kind::kSplit},
      {{"imdb-ratings", 4, 0, I::kDomain, S::kReviewsByRating,
        "positive or negative, from the plainest ratings to the mildest"},
       PlanRatings, 2, {1, 2, 4}, Kind::kGrouped},
      {{"imdb-films", 5, 0, I::kDomain, S::kReviewsByFilm,
        "positive or negative, from the films first entered to the last"},
       PlanFilms, 2, {}, Kind::kGrouped},
      {{"electricity", 1, 0, I::kDomain, S::kElectricity,
        "a price goes up or down; in the order of time, scored as it is learned"},
       PlanStream, 2, {1}, Kind::kStream},
      {{"weather", 1, 0, I::kDomain, S::kWeather,
        "rain or not; in the order of time, scored as it is learned"},
       PlanStream, 2, {1}, Kind::kStream},
  };
  return *kEntries;
}

absl::StatusOr<const ScenarioEntry*> FindEntry(absl::string_view name) {
  std::vector<std::string> known;
  for (const ScenarioEntry& entry : Entries()) {
    if (entry.help.name == name) return &entry;
    known.push_back(entry.help.name);
  }
  return absl::NotFoundError(
      absl::StrCat("scenario: expected ", absl::StrJoin(known, ", "), "; got \"", name, "\""));
}

// Only a grey picture is one square of pixels.
absl::Status CheckSide(const ScenarioOptions& options, const RowSet& set) {
  if (options.side == 0) return absl::OkStatus();
  if (set.columns > 0 || set.planes != 1) {
    return absl::InvalidArgumentError(
        absl::StrCat("side: the rows of ", options.name, " are no grey pictures"));
  }
  return CheckOption("side", options.side, std::max(set.width, set.height), kSideMax);
}

absl::Status CheckOptions(const ScenarioOptions& options, const ScenarioEntry& entry,
                          const RowSplit& source) {
  ENGRAM_RETURN_IF_ERROR(CheckOption("tasks", options.tasks, 1, kMaxTasks));
  ENGRAM_RETURN_IF_ERROR(
      CheckOption("examples_per_task", options.examples_per_task, 0, source.train.rows));
  ENGRAM_RETURN_IF_ERROR(
      CheckOption("held_out_per_task", options.held_out_per_task, 0, source.test.rows));
  ENGRAM_RETURN_IF_ERROR(
      CheckOption("validation_rows", options.validation_rows, 0, source.train.rows - 1));
  ENGRAM_RETURN_IF_ERROR(CheckSide(options, source.train));
  const std::vector<int64_t>& counts = entry.task_counts;
  if (counts.empty() || std::find(counts.begin(), counts.end(), options.tasks) != counts.end()) {
    return absl::OkStatus();
  }
  return absl::InvalidArgumentError(absl::StrCat("tasks: expected ", absl::StrJoin(counts, " or "),
                                                 ", got ", options.tasks));
}

// Rows of another scenario would be read as what they are not.
absl::Status CheckSource(const ScenarioEntry& entry, const RowSet& set) {
  if (entry.kind == Kind::kGrouped && static_cast<int64_t>(set.groups.size()) != set.rows) {
    return absl::InvalidArgumentError(absl::StrCat(entry.help.name, ": expected ", set.rows,
                                                   " groups, one a row, got ", set.groups.size()));
  }
  for (const int64_t label : set.labels) {
    if (label < entry.classes) continue;
    return absl::InvalidArgumentError(absl::StrCat(
        entry.help.name, ": expected labels below ", entry.classes, ", got ", label));
  }
  return absl::OkStatus();
}

// The label of each class in task `index`.
std::vector<int32_t> LabelsOf(const ScenarioEntry& entry, const ScenarioOptions& options,
                              int64_t index) {
  const bool shared = *options.incremental == Incremental::kDomain;
  std::vector<int32_t> labels(static_cast<size_t>(entry.classes));
  std::iota(labels.begin(), labels.end(),
            static_cast<int32_t>(shared || entry.split() ? 0 : entry.classes * index));
  if (!shared || !entry.split()) return labels;
  const std::vector<int64_t> order = ClassOrder(entry, options);
  for (size_t place = 0; place < order.size(); ++place) {
    labels[static_cast<size_t>(order[place])] = static_cast<int32_t>(place % 2);
  }
  return labels;
}

// Rows of the plan from `first` on, at most `limit` of them (0 = all): shuffled, or the first ones
// of a stream.
std::vector<TaskRow> DrawRows(const RowSet& set, const TaskPlan& plan, bool shuffled,
                              int64_t first, int64_t limit, SeededRandom random,
                              const std::vector<int32_t>& labels) {
  std::vector<TaskRow> rows;
  for (auto row = static_cast<size_t>(first); row < set.labels.size(); ++row) {
    if (plan.has && !plan.has(set, row)) continue;
    rows.push_back({static_cast<int32_t>(row), labels[set.labels[row]]});
  }
  if (shuffled) random.Shuffle(&rows);
  if (limit > 0 && limit < static_cast<int64_t>(rows.size())) {
    rows.resize(static_cast<size_t>(limit));
  }
  return rows;
}

absl::Status CheckRows(const Task& task, int64_t asked, bool prequential) {
  if (task.train.empty() || (task.held_out.empty() && !prequential)) {
    return absl::InvalidArgumentError(
        absl::StrCat("task ", task.name, ": the rows hold no example of it"));
  }
  const auto rows = static_cast<int64_t>(task.train.size());
  if (asked <= rows) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat("examples_per_task: task ", task.name, " has ", rows, " examples, got ", asked));
}

absl::StatusOr<Task> MakeTask(const ScenarioOptions& options, const ScenarioEntry& entry,
                              const RowSplit& source, int64_t index, int64_t train_limit) {
  const std::vector<int32_t> labels = LabelsOf(entry, options, index);
  const auto stream = static_cast<uint64_t>(index);
  TaskPlan plan = entry.plan(entry, options, source.train, index);
  Task task;
  task.train = DrawRows(source.train, plan, !entry.prequential(), options.validation_rows,
                        train_limit, SeededRandom(options.seed, kTrainStream + stream), labels);
  task.held_out = DrawRows(source.test, plan, !entry.prequential(), 0, options.held_out_per_task,
                           SeededRandom(options.seed, kHeldOutStream + stream), labels);
  task.name = std::move(plan.name);
  task.map = std::move(plan.map);
  if (options.side > 0) {
    task.map = Composed(PaddedMap(source.train.width, source.train.height, options.side), task.map);
  }
  ENGRAM_RETURN_IF_ERROR(CheckRows(task, options.examples_per_task, entry.prequential()));
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

absl::StatusOr<Angles> ParseAngles(absl::string_view name) {
  if (name == "even") return Angles::kEven;
  if (name == "slices") return Angles::kSlices;
  if (name == "uniform") return Angles::kUniform;
  return absl::InvalidArgumentError(
      absl::StrCat("angles: expected even, slices or uniform, got \"", name, "\""));
}

absl::Status CheckOption(absl::string_view option, int64_t value, int64_t min, int64_t max) {
  if (value >= min && value <= max) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(option, ": expected ", min, " to ", max, ", got ", value));
}

int64_t Scenario::HeldOutRowsMax() const {
  size_t most = 0;
  for (const Task& task : tasks) most = std::max(most, task.held_out.size());
  return static_cast<int64_t>(most);
}

std::vector<int32_t> Scenario::Labels() const {
  std::set<int32_t> labels;
  for (const Task& task : tasks) {
    for (const TaskRow& row : task.train) labels.insert(row.label);
  }
  return {labels.begin(), labels.end()};
}

absl::StatusOr<Scenario> MakeScenario(const ScenarioOptions& asked, const RowSplit& source) {
  ENGRAM_ASSIGN_OR_RETURN(const ScenarioEntry* entry, FindEntry(asked.name));
  ScenarioOptions options = asked;
  if (options.tasks == 0) options.tasks = entry->help.tasks;
  if (!options.incremental.has_value()) options.incremental = entry->help.incremental;
  ENGRAM_RETURN_IF_ERROR(CheckOptions(options, *entry, source));
  ENGRAM_RETURN_IF_ERROR(CheckSource(*entry, source.train));
  ENGRAM_RETURN_IF_ERROR(CheckSource(*entry, source.test));
  const int64_t train_limit =
      options.examples_per_task > 0 ? options.examples_per_task : entry->help.examples_per_task;

  Scenario scenario;
  scenario.name = options.name;
  scenario.incremental = *options.incremental;
  scenario.prequential = entry->prequential();
  scenario.feature_count =
      options.side > 0 ? options.side * options.side : source.train.FeatureCount();
  for (int64_t index = 0; index < options.tasks; ++index) {
    ENGRAM_ASSIGN_OR_RETURN(Task task, MakeTask(options, *entry, source, index, train_limit));
    scenario.tasks.push_back(std::move(task));
  }
  return scenario;
}

double NoChangeAccuracy(const Task& stream) {
  int64_t same = 0;
  for (size_t row = 1; row < stream.train.size(); ++row) {
    same += stream.train[row].label == stream.train[row - 1].label ? 1 : 0;
  }
  return static_cast<double>(same) / static_cast<double>(stream.train.size());
}

const std::vector<ScenarioHelp>& ListScenarios() {
  static const auto* const kHelp = [] {
    auto* help = new std::vector<ScenarioHelp>;
    for (const ScenarioEntry& entry : Entries()) help->push_back(entry.help);
    return help;
  }();
  return *kHelp;
}

absl::StatusOr<ScenarioHelp> FindScenario(absl::string_view name) {
  ENGRAM_ASSIGN_OR_RETURN(const ScenarioEntry* entry, FindEntry(name));
  return entry->help;
}

}  // namespace engram::scenario
