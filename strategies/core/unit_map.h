// Which output unit of the head stands for which (task, class), and which units a row's softmax
// runs over.
//
// kGrowing: one unit a class, in the order of training. kFixed: unit = class, all there from the
// start. kPerTask: one unit a (task, class); a row sees its own task's units only.
//
// Threading: const methods from any thread while nobody adds. Value type, copied into snapshots.
// Failure: Admit answers INVALID_ARGUMENT (class outside a fixed head, negative index) or
//   RESOURCE_EXHAUSTED (a bound) and changes nothing.
// Bounds: max_classes different classes, kUnitsMax units.
#pragma once

#include <cstdint>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "absl/types/span.h"
#include "strategies/api/options.h"

namespace engram::strategies {

class UnitMap {
 public:
  static constexpr int64_t kNoUnit = -1;
  static constexpr int64_t kUnitsMax = 100000;

  struct Owner {
    int32_t task = 0;  // 0 unless kPerTask
    int32_t cls = 0;
  };

  explicit UnitMap(const HeadOptions& head);

  // Adds the units that these rows need; all or nothing. Returns how many were added.
  absl::Status Admit(absl::Span<const int32_t> classes, absl::Span<const int32_t> tasks,
                     int64_t* added);

  int64_t size() const { return static_cast<int64_t>(owners_.size()); }
  // 1 + the highest class with a unit.
  int64_t class_count() const { return class_count_; }
  bool per_task() const { return head_.kind == HeadKind::kPerTask; }

  // kNoUnit when there is none. `task` matters only per task.
  int64_t Find(int32_t task, int32_t cls) const;

  // Units of a task in ascending order, empty for a task without a head. Only where per_task();
  // elsewhere a row sees all units 0..size()-1.
  absl::Span<const int64_t> UnitsOf(int32_t task) const;

  // 1 + the highest task with a head. Only where per_task().
  int32_t task_count() const { return static_cast<int32_t>(units_of_task_.size()); }

  // By unit.
  const std::vector<Owner>& owners() const { return owners_; }

  // Takes over saved owners; INVALID_ARGUMENT when they contradict the head's kind.
  absl::Status Load(const std::vector<Owner>& owners);

 private:
  uint64_t Key(int32_t task, int32_t cls) const;
  absl::Status CheckRoom(const std::vector<Owner>& wanted) const;
  void AddUnit(int32_t task, int32_t cls);

  HeadOptions head_;
  std::vector<Owner> owners_;
  absl::flat_hash_map<uint64_t, int64_t> units_;
  absl::flat_hash_set<int32_t> classes_;
  std::vector<std::vector<int64_t>> units_of_task_;
  int64_t class_count_ = 0;
};

}  // namespace engram::strategies
