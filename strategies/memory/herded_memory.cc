#include "strategies/memory/herded_memory.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/str_cat.h"
#include "storage/base/check.h"
#include "storage/base/status_macros.h"
#include "strategies/memory/exemplar_payload.h"
#include "strategies/memory/priority_key.h"

namespace engram::strategies {
namespace {

constexpr size_t kGroupNumbers = 4;  // task, class, herded, exemplars

}  // namespace

absl::StatusOr<std::unique_ptr<HerdedMemory>> HerdedMemory::Create(
    const HerdedMemoryOptions& options) {
  ENGRAM_CHECK(options.capacity >= 1 && options.feature_count >= 1);
  const int64_t bytes_each = 4 * options.feature_count + kHerdedOverheadBytes;
  if (options.capacity > kExemplarBytesMax / bytes_each) {
    return absl::ResourceExhaustedError(absl::StrCat("memory: ", options.capacity, " exemplars of ",
                                                     options.feature_count, " features exceed ",
                                                     kExemplarBytesMax, " bytes"));
  }
  return std::unique_ptr<HerdedMemory>(new HerdedMemory(options));
}

int64_t HerdedMemory::Find(int32_t task, int32_t class_index) const {
  for (size_t i = 0; i < groups_.size(); ++i) {
    if (groups_[i].class_index == class_index && (!options_.by_task || groups_[i].task == task)) {
      return static_cast<int64_t>(i);
    }
  }
  return -1;
}

int64_t HerdedMemory::Quota(int64_t group) const {
  const int64_t groups = static_cast<int64_t>(groups_.size());
  const int64_t share = options_.capacity / groups + (group < options_.capacity % groups ? 1 : 0);
  return options_.per_group > 0 ? std::min(options_.per_group, share) : share;
}

bool HerdedMemory::Outranks(uint64_t sequence_a, uint64_t sequence_b) const {
  const auto rank = [this](uint64_t sequence) {
    return std::make_pair(PriorityKey(options_.seed, options_.memory, sequence), sequence);
  };
  return rank(sequence_a) > rank(sequence_b);
}

HerdedExemplar HerdedMemory::Copy(const ExemplarView& example) const {
  std::shared_ptr<float[]> features(new float[example.features.size()]);
  std::copy(example.features.begin(), example.features.end(), features.get());
  return {std::move(features), example.class_index, example.task, example.sequence};
}

void HerdedMemory::Offer(const ExemplarView& example) {
  int64_t index = Find(example.task, example.class_index);
  if (index < 0) {
    index = static_cast<int64_t>(groups_.size());
    groups_.push_back({example.task, example.class_index, false, {}});
    for (size_t i = 0; i < groups_.size(); ++i) {
      std::vector<HerdedExemplar>& kept = groups_[i].exemplars;
      const size_t quota = static_cast<size_t>(Quota(static_cast<int64_t>(i)));
      if (kept.size() > quota) kept.resize(quota);
    }
  }
  Group& group = groups_[static_cast<size_t>(index)];
  const size_t quota = static_cast<size_t>(Quota(index));
  if (group.herded || quota == 0) return;
  const auto place = std::upper_bound(group.exemplars.begin(), group.exemplars.end(), example,
                                      [this](const ExemplarView& a, const HerdedExemplar& b) {
                                        return Outranks(a.sequence, b.sequence);
                                      });
  if (place == group.exemplars.begin() + static_cast<std::ptrdiff_t>(quota)) return;
  group.exemplars.insert(place, Copy(example));
  if (group.exemplars.size() > quota) group.exemplars.pop_back();
}

void HerdedMemory::Replace(int64_t group, std::vector<HerdedExemplar> ranked) {
  const size_t quota = static_cast<size_t>(Quota(group));
  if (ranked.size() > quota) ranked.resize(quota);
  groups_[static_cast<size_t>(group)].exemplars = std::move(ranked);
  groups_[static_cast<size_t>(group)].herded = true;
}

int64_t HerdedMemory::size() const {
  size_t count = 0;
  for (const Group& group : groups_) count += group.exemplars.size();
  return static_cast<int64_t>(count);
}

const HerdedExemplar& HerdedMemory::At(int64_t index) const {
  size_t left = static_cast<size_t>(index);
  for (const Group& group : groups_) {
    if (left < group.exemplars.size()) return group.exemplars[left];
    left -= group.exemplars.size();
  }
  ENGRAM_CHECK(false);
}

void HerdedMemory::CountByTask(std::vector<int64_t>* counts) const {
  for (const Group& group : groups_) {
    for (const HerdedExemplar& exemplar : group.exemplars) {
      const size_t task = static_cast<size_t>(exemplar.task);
      if (task >= counts->size()) counts->resize(task + 1);
      ++(*counts)[task];
    }
  }
}

std::vector<int64_t> HerdedMemory::GroupState() const {
  std::vector<int64_t> numbers;
  for (const Group& group : groups_) {
    const int64_t count = static_cast<int64_t>(group.exemplars.size());
    numbers.insert(numbers.end(), {group.task, group.class_index, group.herded ? 1 : 0, count});
  }
  return numbers;
}

std::vector<MemberKey> HerdedMemory::Members() const {
  std::vector<MemberKey> members;
  for (const Group& group : groups_) {
    for (const HerdedExemplar& exemplar : group.exemplars) {
      members.push_back(MemberKey{options_.memory, exemplar.sequence, 0});
    }
  }
  return members;
}

std::string HerdedMemory::Payload(int64_t index) const {
  const HerdedExemplar& exemplar = At(index);
  const size_t width = static_cast<size_t>(options_.feature_count);
  return EncodeExemplar({absl::MakeConstSpan(exemplar.features.get(), width), exemplar.class_index,
                         exemplar.task, exemplar.sequence});
}

absl::StatusOr<HerdedExemplar> HerdedMemory::Parse(const MemberPayload& payload,
                                                   const Group& group) const {
  ENGRAM_ASSIGN_OR_RETURN(const ExemplarPayload exemplar,
                          DecodeExemplar(payload.bytes, options_.feature_count));
  const bool belongs = exemplar.class_index == group.class_index &&
                       (!options_.by_task || exemplar.task == group.task);
  if (payload.key.memory != options_.memory || payload.key.revision != 0 || !belongs) {
    return absl::DataLossError(absl::StrCat("memory ", options_.memory, ": sequence ",
                                            payload.key.sequence, " of memory ",
                                            payload.key.memory, ", class ", exemplar.class_index,
                                            ", is not of class ", group.class_index));
  }
  return Copy({exemplar.features, exemplar.class_index, exemplar.task, payload.key.sequence});
}

absl::Status HerdedMemory::Restore(absl::Span<const MemberPayload> payloads,
                                   absl::Span<const int64_t> group_state) {
  HerdedMemory restored(options_);
  absl::flat_hash_set<uint64_t> sequences;
  size_t next = 0;
  const auto damaged = [&] {
    return absl::DataLossError(absl::StrCat("memory ", options_.memory, ": group ",
                                            restored.groups_.size(), " of ",
                                            group_state.size() / kGroupNumbers,
                                            " does not fit its members"));
  };
  if (group_state.size() % kGroupNumbers != 0) return damaged();
  for (size_t i = 0; i < group_state.size(); i += kGroupNumbers) {
    const int64_t task = group_state[i], class_index = group_state[i + 1];
    const int64_t count = group_state[i + 3];
    const int64_t indices_max = std::numeric_limits<int32_t>::max();
    if (task < 0 || task > indices_max || class_index < 0 || class_index > indices_max ||
        restored.Find(static_cast<int32_t>(task), static_cast<int32_t>(class_index)) >= 0 ||
        count < 0 || static_cast<size_t>(count) > payloads.size() - next) {
      return damaged();
    }
    Group group{static_cast<int32_t>(task), static_cast<int32_t>(class_index),
                group_state[i + 2] != 0, {}};
    for (const size_t end = next + static_cast<size_t>(count); next < end; ++next) {
      if (payloads[next].bytes.empty()) continue;  // forgotten
      ENGRAM_ASSIGN_OR_RETURN(HerdedExemplar exemplar, Parse(payloads[next], group));
      if (!sequences.insert(exemplar.sequence).second) return damaged();
      group.exemplars.push_back(std::move(exemplar));
    }
    restored.groups_.push_back(std::move(group));
  }
  if (next != payloads.size()) return damaged();
  for (size_t i = 0; i < restored.groups_.size(); ++i) {
    const int64_t quota = restored.Quota(static_cast<int64_t>(i));
    if (static_cast<int64_t>(restored.groups_[i].exemplars.size()) > quota) return damaged();
  }
  *this = std::move(restored);
  return absl::OkStatus();
}

}  // namespace engram::strategies
