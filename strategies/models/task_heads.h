// One output layer a task, for networks that answer each task by a part of their own (a column, a
// path): which unit of the model is which row of which task's head.
//
// A network hears of new units before it can know whose they are (Network::AddUnits); its strategy
// places them (Place) at the step that follows.
//
// Threading: one thread. Ownership: parameters live in the arena given, which outlives it.
// Failure: Read as StateReader; DATA_LOSS when a unit names no head or a task comes twice.
// Bounds: two parameters a task.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "strategies/core/generator.h"
#include "strategies/core/parameter_arena.h"
#include "strategies/core/state_archive.h"

namespace engram::strategies {

class TaskHeads {
 public:
  static constexpr int32_t kNoTask = -1;

  struct Head {
    int32_t task = kNoTask;
    ParameterId weight = 0;  // [units, in]
    ParameterId bias = 0;    // [units, 1]
    int64_t own = 0;  // leading inputs, whose weights are drawn
    int64_t in = 0;   // all; the weights of the others start at zero
    std::vector<int64_t> units;  // of the model, by row
  };

  explicit TaskHeads(ParameterArena* arena) : arena_(arena) {}

  size_t size() const { return heads_.size(); }
  const Head& operator[](size_t index) const { return heads_[index]; }
  // The index of the task's head; size() when there is none.
  size_t Find(int32_t task) const;
  const absl::flat_hash_map<int32_t, size_t>& by_task() const { return by_task_; }
  // Units that have a head; those from here on are still to be placed.
  int64_t placed() const { return placed_; }

  // Adds a head without units to the arena; its place comes with ParameterArena::Extend.
  void Add(int32_t task, int64_t own, int64_t in);
  // Gives the head that was added for no task to this one.
  void Name(size_t index, int32_t task);
  // Appends unit placed() to the head. Null `generator`: zeros, for values that are loaded next.
  void PlaceUnit(size_t index, Generator* generator);
  void Reinitialise(size_t index, Generator* generator);

  // What LoadState of a network needs to add the same heads and units again.
  struct Saved {
    std::vector<int32_t> tasks;        // by head
    std::vector<size_t> head_of_unit;  // by unit
  };
  void SaveState(StateWriter* writer) const;
  static absl::StatusOr<Saved> Read(const StateReader& reader);

 private:
  void InitialiseFrom(const Head& head, int64_t row, Generator* generator);

  ParameterArena* arena_;
  std::vector<Head> heads_;
  absl::flat_hash_map<int32_t, size_t> by_task_;
  int64_t placed_ = 0;
};

// Where in a head with `own` units those of `units` are; all of them are the head's.
std::vector<int64_t> RowsOfUnits(absl::Span<const int64_t> own, absl::Span<const int64_t> units);

// Outputs of one head, [rows, units.size()], to their places in [rows, width]; the others are 0.
void SpreadUnits(const float* outputs, int64_t rows, absl::Span<const int64_t> units, int64_t width,
                 float* logits);
// The way back: the head's columns of [rows, width].
void CollectUnits(const float* logits, int64_t rows, absl::Span<const int64_t> units, int64_t width,
                  float* outputs);

}  // namespace engram::strategies
