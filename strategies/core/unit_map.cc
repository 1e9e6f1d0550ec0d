#include "strategies/core/unit_map.h"

#include <algorithm>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"

namespace engram::strategies {

UnitMap::UnitMap(const HeadOptions& head) : head_(head) {
  if (head_.kind != HeadKind::kFixed) return;
  for (int64_t cls = 0; cls < head_.head_classes; ++cls) AddUnit(0, static_cast<int32_t>(cls));
}

absl::Status UnitMap::Admit(absl::Span<const int32_t> classes, absl::Span<const int32_t> tasks,
                            int64_t* added) {
  *added = 0;
  std::vector<Owner> wanted;
  absl::flat_hash_set<uint64_t> wanted_keys;
  for (size_t i = 0; i < classes.size(); ++i) {
    const Owner owner{per_task() ? tasks[i] : 0, classes[i]};
    if (owner.cls < 0 || owner.task < 0) {
      return absl::InvalidArgumentError(absl::StrCat(
          "row ", i, ": class and task must be >= 0, got ", owner.cls, " and ", owner.task));
    }
    if (Find(owner.task, owner.cls) != kNoUnit) continue;
    if (head_.kind == HeadKind::kFixed) {
      return absl::InvalidArgumentError(absl::StrCat("row ", i, ": class ", owner.cls,
                                                     " is outside the fixed head of ",
                                                     head_.head_classes, " classes"));
    }
    if (wanted_keys.insert(Key(owner.task, owner.cls)).second) wanted.push_back(owner);
  }
  const absl::Status room = CheckRoom(wanted);
  if (!room.ok()) return room;
  for (const Owner& owner : wanted) AddUnit(owner.task, owner.cls);
  *added = static_cast<int64_t>(wanted.size());
  return absl::OkStatus();
}

absl::Status UnitMap::CheckRoom(const std::vector<Owner>& wanted) const {
  if (head_.kind == HeadKind::kFixed || wanted.empty()) return absl::OkStatus();
  absl::flat_hash_set<int32_t> fresh;
  for (const Owner& owner : wanted) {
    if (!classes_.contains(owner.cls)) fresh.insert(owner.cls);
  }
  const auto exhausted = [](absl::string_view what, size_t more, size_t now, int64_t limit) {
    return absl::ResourceExhaustedError(
        absl::StrCat("head: ", more, " more ", what, " than ", now, " exceed ", limit));
  };
  if (static_cast<int64_t>(classes_.size() + fresh.size()) > head_.max_classes) {
    return exhausted("classes (max_classes)", fresh.size(), classes_.size(), head_.max_classes);
  }
  if (size() + static_cast<int64_t>(wanted.size()) > kUnitsMax) {
    return exhausted("outputs", wanted.size(), owners_.size(), kUnitsMax);
  }
  return absl::OkStatus();
}

int64_t UnitMap::Find(int32_t task, int32_t cls) const {
  // The common case by far: one head whose classes came in order.
  const size_t guess = static_cast<size_t>(cls);
  if (!per_task() && guess < owners_.size() && owners_[guess].cls == cls) {
    return static_cast<int64_t>(guess);
  }
  const auto it = units_.find(Key(per_task() ? task : 0, cls));
  return it == units_.end() ? kNoUnit : it->second;
}

absl::Span<const int64_t> UnitMap::UnitsOf(int32_t task) const {
  if (task < 0 || static_cast<size_t>(task) >= units_of_task_.size()) return {};
  return units_of_task_[static_cast<size_t>(task)];
}

absl::Status UnitMap::Load(const std::vector<Owner>& owners) {
  UnitMap loaded(head_);
  if (head_.kind == HeadKind::kFixed && owners.size() != owners_.size()) {
    return absl::InvalidArgumentError(
        absl::StrCat("unit map: saved ", owners.size(), " outputs, the fixed head has ", size()));
  }
  std::vector<int32_t> classes, tasks;
  for (const Owner& owner : owners) {
    classes.push_back(owner.cls);
    tasks.push_back(owner.task);
  }
  int64_t added = 0;
  const absl::Status admitted = loaded.Admit(classes, tasks, &added);
  if (!admitted.ok()) return absl::InvalidArgumentError(admitted.message());
  const bool in_order =
      std::equal(owners.begin(), owners.end(), loaded.owners_.begin(), loaded.owners_.end(),
                 [](const Owner& a, const Owner& b) { return a.task == b.task && a.cls == b.cls; });
  if (!in_order) return absl::InvalidArgumentError("unit map: an output is listed twice");
  *this = std::move(loaded);
  return absl::OkStatus();
}

uint64_t UnitMap::Key(int32_t task, int32_t cls) const {
  return static_cast<uint64_t>(static_cast<uint32_t>(task)) << 32 | static_cast<uint32_t>(cls);
}

void UnitMap::AddUnit(int32_t task, int32_t cls) {
  const int64_t unit = size();
  owners_.push_back({task, cls});
  classes_.insert(cls);
  units_.emplace(Key(task, cls), unit);
  class_count_ = std::max<int64_t>(class_count_, int64_t{cls} + 1);
  if (!per_task()) return;
  if (units_of_task_.size() <= static_cast<size_t>(task)) {
    units_of_task_.resize(static_cast<size_t>(task) + 1);
  }
  units_of_task_[static_cast<size_t>(task)].push_back(unit);
}

}  // namespace engram::strategies
