#include "strategies/models/task_heads.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "storage/base/check.h"
#include "storage/base/status_macros.h"
#include "strategies/models/initialise.h"

namespace engram::strategies {
namespace {

constexpr int64_t kHeadCapacity = 16;

}  // namespace

size_t TaskHeads::Find(int32_t task) const {
  const auto found = by_task_.find(task);
  return found == by_task_.end() ? heads_.size() : found->second;
}

void TaskHeads::Add(int32_t task, int64_t own, int64_t in) {
  const std::string name = absl::StrCat("head", heads_.size());
  Head head;
  head.weight = arena_->Add(name + ".weight", 0, in, kHeadCapacity);
  head.bias = arena_->Add(name + ".bias", 0, 1, kHeadCapacity);
  head.own = own;
  head.in = in;
  heads_.push_back(std::move(head));
  Name(heads_.size() - 1, task);
}

void TaskHeads::Name(size_t index, int32_t task) {
  ENGRAM_CHECK(heads_[index].task == kNoTask);
  heads_[index].task = task;
  if (task != kNoTask) by_task_[task] = index;
}

void TaskHeads::PlaceUnit(size_t index, Generator* generator) {
  Head& head = heads_[index];
  const int64_t row = static_cast<int64_t>(head.units.size());
  head.units.push_back(placed_++);
  arena_->GrowRows({head.weight, head.bias}, row + 1);
  if (generator == nullptr) return;
  InitialiseFrom(head, row, generator);
}

void TaskHeads::Reinitialise(size_t index, Generator* generator) {
  InitialiseFrom(heads_[index], 0, generator);
}

void TaskHeads::InitialiseFrom(const Head& head, int64_t row, Generator* generator) {
  InitialiseRows(arena_, head.weight, row, head.own, generator);
  InitialiseRows(arena_, head.bias, row, head.own, generator);
  const int64_t rows = static_cast<int64_t>(head.units.size()) - row;
  if (head.in == head.own) return;
  arena_->View(head.weight).narrow(0, row, rows).narrow(1, head.own, head.in - head.own).zero_();
}

void TaskHeads::SaveState(StateWriter* writer) const {
  std::vector<int64_t> tasks, head_of_unit(static_cast<size_t>(placed_));
  for (size_t i = 0; i < heads_.size(); ++i) {
    tasks.push_back(heads_[i].task);
    for (const int64_t unit : heads_[i].units) head_of_unit[unit] = static_cast<int64_t>(i);
  }
  writer->PutInts("heads", tasks);
  writer->PutInts("head_of_unit", head_of_unit);
}

absl::StatusOr<TaskHeads::Saved> TaskHeads::Read(const StateReader& reader) {
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<int64_t> tasks, reader.GetInts("heads"));
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<int64_t> units, reader.GetInts("head_of_unit"));
  const int64_t heads = static_cast<int64_t>(tasks.size());
  Saved saved;
  for (const int64_t task : tasks) {
    const bool twice = std::find(saved.tasks.begin(), saved.tasks.end(), task) != saved.tasks.end();
    if (twice || task < kNoTask || task > INT32_MAX) {
      return absl::DataLossError(absl::StrCat("heads: bad task ", task));
    }
    saved.tasks.push_back(static_cast<int32_t>(task));
  }
  for (const int64_t head : units) {
    if (head < 0 || head >= heads) {
      return absl::DataLossError(absl::StrCat("head_of_unit: ", head, " of ", heads, " heads"));
    }
    saved.head_of_unit.push_back(static_cast<size_t>(head));
  }
  return saved;
}

std::vector<int64_t> RowsOfUnits(absl::Span<const int64_t> own, absl::Span<const int64_t> units) {
  std::vector<int64_t> rows;
  for (const int64_t unit : units) {
    const auto found = std::find(own.begin(), own.end(), unit);
    ENGRAM_CHECK(found != own.end());
    rows.push_back(std::distance(own.begin(), found));
  }
  return rows;
}

void SpreadUnits(const float* outputs, int64_t rows, absl::Span<const int64_t> units, int64_t width,
                 float* logits) {
  std::fill(logits, logits + rows * width, 0.0f);
  for (int64_t row = 0; row < rows; ++row, logits += width) {
    for (const int64_t unit : units) logits[unit] = *outputs++;
  }
}

void CollectUnits(const float* logits, int64_t rows, absl::Span<const int64_t> units, int64_t width,
                  float* outputs) {
  for (int64_t row = 0; row < rows; ++row, logits += width) {
    for (const int64_t unit : units) *outputs++ = logits[unit];
  }
}

}  // namespace engram::strategies
