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
  ENGRAM_CHECK(options.max_sender_share > 0 && options.max_sender_share <= 1);
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
  const int64_t share = EqualPart(options_.capacity, groups, group);
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
  return {std::move(features), example.class_index, example.task, example.sequence,
          example.sender};
}

void HerdedMemory::Offer(const ExemplarView& example) {
  int64_t index = Find(example.task, example.class_index);
  if (index < 0) {
    index = static_cast<int64_t>(groups_.size());
    groups_.push_back({example.task, example.class_index, false, {}});
    for (int64_t i = 0; i < index; ++i) DropTail(i, Quota(i));
  }
  Group& group = groups_[static_cast<size_t>(index)];
  const size_t quota = static_cast<size_t>(Quota(index));
  if (group.herded || quota == 0 || !MakeWay(example, index)) return;
  const auto place = std::upper_bound(group.exemplars.begin(), group.exemplars.end(), example,
                                      [this](const ExemplarView& a, const HerdedExemplar& b) {
                                        return Outranks(a.sequence, b.sequence);
                                      });
  if (place == group.exemplars.begin() + static_cast<std::ptrdiff_t>(quota)) return;
  Count(*group.exemplars.insert(place, Copy(example)), index);
  DropTail(index, Quota(index));
  if (caps_senders()) ShrinkParts(example.sender);
}

// Whether the example's sender may have it in the group: it has not its part yet, or its lowest
// there is lower, which then goes.
bool HerdedMemory::MakeWay(const ExemplarView& example, int64_t group) {
  if (!caps_senders()) return true;
  const auto sender = held_.find(example.sender);
  if (sender == held_.end()) return true;
  const auto part = sender->second.find(group);
  const bool has_part = part != sender->second.end();
  const int64_t quota = SenderQuota(example.sender, group);
  if ((has_part ? part->second : 0) < quota) return true;
  if (!has_part) return false;
  std::vector<HerdedExemplar>& exemplars = groups_[static_cast<size_t>(group)].exemplars;
  const auto lowest =
      std::find_if(exemplars.rbegin(), exemplars.rend(),
                   [&](const HerdedExemplar& own) { return own.sender == example.sender; });
  if (!Outranks(example.sequence, lowest->sequence)) return false;
  Uncount(*lowest, group);
  exemplars.erase(std::next(lowest).base());
  return true;
}

void HerdedMemory::Count(const HerdedExemplar& exemplar, int64_t group) {
  if (caps_senders()) ++held_[exemplar.sender][group];
}

void HerdedMemory::Uncount(const HerdedExemplar& exemplar, int64_t group) {
  if (!caps_senders()) return;
  const auto sender = held_.find(exemplar.sender);
  const auto part = sender->second.find(group);
  if (--part->second == 0) sender->second.erase(part);
  if (sender->second.empty()) held_.erase(sender);
}

void HerdedMemory::DropTail(int64_t group, int64_t quota) {
  std::vector<HerdedExemplar>& exemplars = groups_[static_cast<size_t>(group)].exemplars;
  while (static_cast<int64_t>(exemplars.size()) > quota) {
    Uncount(exemplars.back(), group);
    exemplars.pop_back();
  }
}

// In each group the last of the sender's go, down to its part.
void HerdedMemory::ShrinkParts(uint64_t sender) {
  const auto own = held_.find(sender);
  if (own == held_.end()) return;
  const int64_t groups = static_cast<int64_t>(own->second.size());
  int64_t place = 0;
  for (auto part = own->second.begin(); part != own->second.end();) {
    std::vector<HerdedExemplar>& exemplars = groups_[static_cast<size_t>(part->first)].exemplars;
    const int64_t quota = EqualPart(sender_cap(), groups, place++);
    for (size_t i = exemplars.size(); i > 0 && part->second > quota; --i) {
      if (exemplars[i - 1].sender != sender) continue;
      exemplars.erase(exemplars.begin() + static_cast<std::ptrdiff_t>(i - 1));
      --part->second;
    }
    part = part->second == 0 ? own->second.erase(part) : std::next(part);
  }
}

int64_t HerdedMemory::SenderQuota(uint64_t sender, int64_t group) const {
  if (!caps_senders()) return Quota(group);
  const auto own = held_.find(sender);
  if (own == held_.end()) return sender_cap();
  const auto& parts = own->second;
  const int64_t groups = static_cast<int64_t>(parts.size() + (parts.contains(group) ? 0 : 1));
  return EqualPart(sender_cap(), groups, std::distance(parts.begin(), parts.lower_bound(group)));
}

void HerdedMemory::Replace(int64_t group, std::vector<HerdedExemplar> ranked) {
  Group& replaced = groups_[static_cast<size_t>(group)];
  replaced.herded = true;
  DropTail(group, 0);
  absl::flat_hash_map<uint64_t, int64_t> taken;
  for (HerdedExemplar& exemplar : ranked) {
    if (static_cast<int64_t>(replaced.exemplars.size()) == Quota(group)) break;
    if (caps_senders() && taken[exemplar.sender]++ >= SenderQuota(exemplar.sender, group)) continue;
    Count(exemplar, group);
    replaced.exemplars.push_back(std::move(exemplar));
  }
  for (const auto& part : taken) ShrinkParts(part.first);
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

void HerdedMemory::CountByClass(std::vector<int64_t>* counts) const {
  for (const Group& group : groups_) {
    const size_t index = static_cast<size_t>(group.class_index);
    if (index >= counts->size()) counts->resize(index + 1);
    (*counts)[index] += static_cast<int64_t>(group.exemplars.size());
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
                         exemplar.task, exemplar.sequence, {}, exemplar.sender},
                        FeatureStorage::kFloat32, caps_senders());
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
  if (exemplar.sender.has_value() != caps_senders()) {
    return absl::DataLossError(absl::StrCat("memory ", options_.memory, ": sequence ",
                                            payload.key.sequence,
                                            caps_senders() ? " lacks its sender"
                                                           : " has a sender, expected none"));
  }
  return Copy({exemplar.features, exemplar.class_index, exemplar.task, payload.key.sequence, {},
               exemplar.sender.value_or(0)});
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
      restored.Count(exemplar, static_cast<int64_t>(restored.groups_.size()));
      group.exemplars.push_back(std::move(exemplar));
    }
    restored.groups_.push_back(std::move(group));
  }
  if (next != payloads.size()) return damaged();
  for (size_t i = 0; i < restored.groups_.size(); ++i) {
    const int64_t quota = restored.Quota(static_cast<int64_t>(i));
    if (static_cast<int64_t>(restored.groups_[i].exemplars.size()) > quota) return damaged();
  }
  for (const auto& [sender, parts] : restored.held_) {
    int64_t count = 0;
    for (const auto& part : parts) count += part.second;
    if (count <= sender_cap()) continue;
    return absl::DataLossError(absl::StrCat("memory ", options_.memory, ": a sender has ", count,
                                            " exemplars, more than its share"));
  }
  *this = std::move(restored);
  return absl::OkStatus();
}

}  // namespace engram::strategies
