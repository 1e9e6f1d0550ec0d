#include "strategies/memory/task_memory.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "storage/base/check.h"
#include "storage/base/status_macros.h"

namespace engram::strategies {

absl::StatusOr<std::unique_ptr<TaskMemory>> TaskMemory::Create(const TaskMemoryOptions& options) {
  ENGRAM_CHECK(options.places >= 2);
  ExemplarMemoryOptions one;
  one.capacity = options.capacity;
  one.feature_count = options.feature_count;
  one.seed = options.seed;
  one.memory = options.memory;
  one.max_sender_share = options.max_sender_share;
  std::unique_ptr<TaskMemory> made(new TaskMemory);
  for (int64_t place = 0; place < options.places; ++place) {
    ENGRAM_ASSIGN_OR_RETURN(std::unique_ptr<ExemplarMemory> memory, ExemplarMemory::Create(one));
    if (options.places > kExemplarBytesMax / memory->BytesMax()) {
      return absl::ResourceExhaustedError(
          absl::StrCat("memory: ", options.places, " tasks of ", options.capacity, " exemplars of ",
                       options.feature_count, " features exceed ", kExemplarBytesMax, " bytes"));
    }
    made->memories_.push_back(std::move(memory));
  }
  return made;
}

void TaskMemory::CloseTask() {
  if (memories_[past_]->size() == 0) return;
  if (past_ + 1 < memories_.size()) {
    ++past_;
    return;
  }
  // The two oldest share the first place; the second becomes that of the task that begins.
  ExemplarMemory& second = *memories_[1];
  for (int64_t slot = 0; slot < second.size(); ++slot) memories_[0]->Offer(second.At(slot));
  second.Clear();
  std::rotate(memories_.begin() + 1, memories_.begin() + 2, memories_.end());
}

void TaskMemory::DrawPast(int64_t count, absl::FunctionRef<uint64_t(uint64_t)> below,
                          std::vector<ExemplarView>* drawn) {
  drawn->clear();
  chosen_.clear();
  int64_t held = 0;
  for (size_t task = 0; task < past_; ++task) held += memories_[task]->size();
  // One number for each exemplar drawn (Floyd, in Bentley 1987, CACM 30(9)).
  for (int64_t last = held - std::min(count, held); last < held; ++last) {
    int64_t index = static_cast<int64_t>(below(static_cast<uint64_t>(last) + 1));
    if (!chosen_.insert(index).second) {
      index = last;
      chosen_.insert(index);
    }
    drawn->push_back(PastAt(index));
  }
}

ExemplarView TaskMemory::PastAt(int64_t index) const {
  size_t task = 0;
  while (index >= memories_[task]->size()) index -= memories_[task++]->size();
  return memories_[task]->At(index);
}

std::vector<int64_t> TaskMemory::Sizes() const {
  std::vector<int64_t> sizes;
  for (size_t task = 0; task <= past_; ++task) sizes.push_back(memories_[task]->size());
  return sizes;
}

std::vector<MemberKey> TaskMemory::Members() const {
  std::vector<MemberKey> members;
  for (size_t task = 0; task <= past_; ++task) {
    const std::vector<MemberKey> part = memories_[task]->Members();
    members.insert(members.end(), part.begin(), part.end());
  }
  return members;
}

std::string TaskMemory::Payload(int64_t index) const {
  size_t task = 0;
  while (index >= memories_[task]->size()) index -= memories_[task++]->size();
  return memories_[task]->Payload(index);
}

absl::Status TaskMemory::Restore(absl::Span<const MemberPayload> payloads,
                                 absl::Span<const int64_t> sizes) {
  if (sizes.empty() || sizes.size() > memories_.size()) {
    return absl::DataLossError(absl::StrCat("memory: ", sizes.size(),
                                            " tasks saved, expected 1 to ", memories_.size()));
  }
  for (const std::unique_ptr<ExemplarMemory>& memory : memories_) memory->Clear();
  past_ = sizes.size() - 1;
  for (size_t task = 0; task < sizes.size(); ++task) {
    const bool is_past = task < past_;
    if (sizes[task] < (is_past ? 1 : 0) || static_cast<size_t>(sizes[task]) > payloads.size()) {
      return absl::DataLossError(absl::StrCat("memory: task ", task, " has ", sizes[task],
                                              " exemplars, ", payloads.size(), " are left"));
    }
    const size_t count = static_cast<size_t>(sizes[task]);
    ENGRAM_RETURN_IF_ERROR(memories_[task]->Restore(payloads.first(count), {}));
    payloads.remove_prefix(count);
  }
  // A past task of which nothing is left gives its place back.
  for (size_t task = 0; task < past_;) {
    if (memories_[task]->size() > 0) {
      ++task;
      continue;
    }
    const auto place = memories_.begin() + static_cast<ptrdiff_t>(task);
    std::rotate(place, place + 1, memories_.end());
    --past_;
  }
  if (payloads.empty()) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("memory: ", payloads.size(), " exemplars of no task"));
}

void TaskMemory::AddGauges(LearnerGauges* gauges) const {
  for (size_t task = 0; task <= past_; ++task) {
    memories_[task]->CountByTask(&gauges->episodic_by_task);
    memories_[task]->CountByClass(&gauges->episodic_by_class);
    gauges->episodic_bytes += memories_[task]->Bytes();
  }
}

}  // namespace engram::strategies
