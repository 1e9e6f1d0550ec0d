#include "strategies/core/parameter_arena.h"

#include <algorithm>
#include <utility>

#include "storage/base/check.h"

namespace engram::strategies {
namespace {

constexpr int64_t kAlignFloats = 16;

int64_t RoundUp(int64_t value) { return (value + kAlignFloats - 1) / kAlignFloats * kAlignFloats; }

at::Tensor ZeroFlat(int64_t size) { return at::zeros({size}, at::kFloat); }

}  // namespace

ParameterId ParameterArena::Add(absl::string_view name, int64_t rows, int64_t columns,
                                int64_t capacity) {
  ENGRAM_CHECK(rows >= 0 && columns > 0 && capacity >= rows);
  for (const Slot& other : slots_) ENGRAM_CHECK(other.name != name);
  Slot slot;
  slot.name = std::string(name);
  slot.rows = rows;
  slot.columns = columns;
  slot.capacity = capacity;
  slots_.push_back(std::move(slot));
  return static_cast<ParameterId>(slots_.size()) - 1;
}

void ParameterArena::Allocate() {
  ENGRAM_CHECK(!allocated_);
  size_ = AssignOffsets();
  flat_ = ZeroFlat(size_);
  placed_ = slots_.size();
  allocated_ = true;
  FindTrainedRanges();
  ++generation_;
}

void ParameterArena::Extend() {
  ENGRAM_CHECK(allocated_);
  std::vector<Slot> old_slots = slots_;
  for (size_t i = placed_; i < old_slots.size(); ++i) old_slots[i].rows = 0;  // nothing to move
  Layout(old_slots);
}

CompanionId ParameterArena::AddCompanion(absl::string_view name, Persistence persistence) {
  ENGRAM_CHECK(allocated_);
  for (const CompanionEntry& entry : companions_) ENGRAM_CHECK(entry.name != name);
  companions_.push_back({std::string(name), persistence, ZeroFlat(size_)});
  return static_cast<CompanionId>(companions_.size()) - 1;
}

void ParameterArena::GrowRows(const std::vector<ParameterId>& ids, int64_t rows) {
  const std::vector<Slot> old_slots = slots_;
  bool room = true;
  for (ParameterId id : ids) {
    Slot& slot = slots_[static_cast<size_t>(id)];
    ENGRAM_CHECK(rows >= slot.rows);
    slot.rows = rows;
    if (rows <= slot.capacity) continue;
    room = false;
    // A function of the row count alone: a restored arena lays out as the saved one did.
    int64_t capacity = std::max<int64_t>(slot.capacity, 1);
    while (capacity < rows) capacity *= 2;
    slot.capacity = capacity;
  }
  if (room) return;
  Layout(old_slots);
}

void ParameterArena::Layout(const std::vector<Slot>& old_slots) {
  size_ = AssignOffsets();
  flat_ = Moved(flat_, old_slots);
  for (CompanionEntry& entry : companions_) entry.values = Moved(entry.values, old_slots);
  placed_ = slots_.size();
  FindTrainedRanges();
  ++generation_;
}

void ParameterArena::SetTrained(std::vector<ParameterId> ids) {
  std::sort(ids.begin(), ids.end());
  if (!all_trained_ && ids == trained_) return;
  trained_ = std::move(ids);
  all_trained_ = false;
  FindTrainedRanges();
  ++generation_;
}

void ParameterArena::SetRateFactor(double factor, absl::Span<const ParameterId> ids) {
  if (factor == 1 && rate_factor_ == 1) return;  // each step of most models
  std::vector<ParameterId> sorted(ids.begin(), ids.end());
  std::sort(sorted.begin(), sorted.end());
  if (factor == rate_factor_ && sorted == full_rate_) return;
  rate_factor_ = factor;
  full_rate_ = std::move(sorted);
  FindTrainedRanges();
  ++generation_;
}

double ParameterArena::rate_factor(ParameterId id) const {
  return std::binary_search(full_rate_.begin(), full_rate_.end(), id) ? 1 : rate_factor_;
}

void ParameterArena::FindTrainedRanges() {
  trained_ranges_.clear();
  for (size_t i = 0; i < placed_; ++i) {
    const ParameterId id = static_cast<ParameterId>(i);
    if (!all_trained_ && !std::binary_search(trained_.begin(), trained_.end(), id)) continue;
    const int64_t begin = slots_[i].offset;
    const int64_t end = begin + RoundUp(slots_[i].capacity * slots_[i].columns);
    const double factor = rate_factor(id);
    const bool joins = !trained_ranges_.empty() && trained_ranges_.back().end == begin &&
                       trained_ranges_.back().rate_factor == factor;
    if (joins) {
      trained_ranges_.back().end = end;
    } else {
      trained_ranges_.push_back({begin, end, factor});
    }
  }
}

int64_t ParameterArena::parameter_count() const {
  int64_t count = 0;
  for (const Slot& slot : slots_) count += slot.count();
  return count;
}

const at::Tensor& ParameterArena::Companion(CompanionId id) const {
  ENGRAM_CHECK(id >= 0 && static_cast<size_t>(id) < companions_.size());
  return companions_[static_cast<size_t>(id)].values;
}

int64_t ParameterArena::companion_bytes() const {
  return static_cast<int64_t>(companions_.size()) * size_ * static_cast<int64_t>(sizeof(float));
}

const ParameterArena::Slot& ParameterArena::slot(ParameterId id) const {
  ENGRAM_CHECK(id >= 0 && static_cast<size_t>(id) < slots_.size());
  return slots_[static_cast<size_t>(id)];
}

at::Tensor ParameterArena::View(const at::Tensor& flat, ParameterId id) const {
  const Slot& place = slot(id);
  return flat.narrow(0, place.offset, place.count()).view({place.rows, place.columns});
}

int64_t ParameterArena::AssignOffsets() {
  int64_t offset = 0;
  for (Slot& slot : slots_) {
    slot.offset = offset;
    offset += RoundUp(slot.capacity * slot.columns);
  }
  return offset;
}

at::Tensor ParameterArena::Moved(const at::Tensor& from, const std::vector<Slot>& old_slots) const {
  at::Tensor to = ZeroFlat(size_);
  for (size_t i = 0; i < slots_.size(); ++i) {
    const int64_t count = old_slots[i].count();
    to.narrow(0, slots_[i].offset, count).copy_(from.narrow(0, old_slots[i].offset, count));
  }
  return to;
}

}  // namespace engram::strategies
