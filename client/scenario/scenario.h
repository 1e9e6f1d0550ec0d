// Benchmark scenarios: a set of rows cut into an ordered stream of tasks.
//
//   split-mnist     the ten digits, two a task: 0 1 | 2 3 | ...
//   permuted-mnist  all digits in every task, under one fixed permutation of the pixels a task
//   rotated-mnist   all digits in every task, turned by an angle a task
//   split-cifar10   ten classes of photos, two a task
//   imdb-ratings    reviews, from those of the plainest ratings (1, 10) to the mildest (4, 7)
//   imdb-films      reviews of film after film, by the film's number at IMDb
//   electricity     a stream in the order of time, one task, scored as it is learned
//   weather         the same
//
// What a task's labels are depends on how the model is to learn (van de Ven et al. 2022):
//   class   classes are told apart across tasks: split: the class; else classes x task + class
//   task    as class, and the task is named at prediction (one head a task)
//   domain  tasks share their classes: split: the class's place in their order, odd or even; else
//           the class
//
// Threading: plain values and free functions without state.
// Ownership: a Scenario refers to rows of the set it was made from, which the caller keeps.
// Failure: MakeScenario answers NOT_FOUND for an unknown name, INVALID_ARGUMENT for options that do
//   not fit the rows, naming the option and what there is.
// Bounds: 1 to 1 000 tasks; 8 bytes a row and 4 a pixel and task.
//
// Same rows, options and seed: same tasks, rows and order, on any machine.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "client/datasets/row_set.h"
#include "client/scenario/pixel_map.h"

namespace engram::scenario {

enum class Incremental { kClass, kTask, kDomain };

// "class", "task", "domain".
absl::string_view IncrementalName(Incremental incremental);
absl::StatusOr<Incremental> ParseIncremental(absl::string_view name);

// How rotated-mnist chooses the angle of task t of T.
enum class Angles {
  kEven,     // t x 180 / T degrees
  kSlices,   // uniform in the task's own T-th part of [0, 180)
  kUniform,  // uniform in [0, 180)
};

// "even", "slices", "uniform".
absl::StatusOr<Angles> ParseAngles(absl::string_view name);

struct ScenarioOptions {
  std::string name;
  // Absent: what the scenario is known for.
  absl::optional<Incremental> incremental;
  // 0 = the scenario's default.
  int64_t tasks = 0;
  // 0 = the scenario's default, or what there is when that is less.
  int64_t examples_per_task = 0;
  // 0 = the whole test set.
  int64_t held_out_per_task = 0;
  // So many rows from the front of the training set are in no task.
  int64_t validation_rows = 0;
  // Side of the square that grey pictures are padded to with background; 0 = as they are.
  int64_t side = 0;
  // Split scenarios: the seed decides which classes share a task, rather than 0 1 | 2 3 | ...
  bool shuffle_classes = false;
  Angles angles = Angles::kEven;
  uint64_t seed = 1;
};

// INVALID_ARGUMENT naming the option, the range and the value.
absl::Status CheckOption(absl::string_view option, int64_t value, int64_t min, int64_t max);

struct TaskRow {
  int32_t index = 0;  // of the row in the train or test set
  int32_t label = 0;
};

struct Task {
  // [A-Za-z0-9._-]+
  std::string name;
  // In the order of the stream.
  std::vector<TaskRow> train;
  std::vector<TaskRow> held_out;
  PixelMap map;
};

struct Scenario {
  std::string name;
  Incremental incremental = Incremental::kClass;
  // One task in the order of time, learned once, scored by the predictions made before each step.
  bool prequential = false;
  int64_t feature_count = 0;
  std::vector<Task> tasks;

  int64_t HeldOutRowsMax() const;
  // Every label of a TRAIN example, once, ascending.
  std::vector<int32_t> Labels() const;
};

absl::StatusOr<Scenario> MakeScenario(const ScenarioOptions& options,
                                      const datasets::RowSplit& source);

// The share of a stream's labels that are the same as the one before: what a model must beat that
// claims to predict it. 0 for a stream of one example.
double NoChangeAccuracy(const Task& stream);

// Which rows a scenario is made of.
enum class RowSource { kDigits, kPhotos, kReviewsByRating, kReviewsByFilm, kElectricity, kWeather };

// One line of the table behind `engram scenario list`.
struct ScenarioHelp {
  std::string name;
  int64_t tasks = 0;
  // 0 = all there are.
  int64_t examples_per_task = 0;
  Incremental incremental = Incremental::kClass;
  RowSource source = RowSource::kDigits;
  std::string about;
};

const std::vector<ScenarioHelp>& ListScenarios();

// NOT_FOUND lists the names there are.
absl::StatusOr<ScenarioHelp> FindScenario(absl::string_view name);

}  // namespace engram::scenario
