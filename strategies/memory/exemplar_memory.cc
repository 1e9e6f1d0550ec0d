#include "strategies/memory/exemplar_memory.h"

#include <algorithm>
#include <limits>
#include <numeric>
#include <utility>

#include "absl/strings/str_cat.h"
#include "storage/base/check.h"
#include "storage/base/status_macros.h"
#include "strategies/memory/priority_key.h"

namespace engram::strategies {
namespace {

// Uniform in [0, bound): the high half of a 128-bit product, rejecting the short remainder
// (Lemire 2019), so that no slot is favoured.
uint64_t UniformBelow(uint64_t bound, absl::FunctionRef<uint64_t()> random) {
  const uint64_t threshold = (0 - bound) % bound;
  for (;;) {
    const unsigned __int128 product = static_cast<unsigned __int128>(random()) * bound;
    if (static_cast<uint64_t>(product) >= threshold) return static_cast<uint64_t>(product >> 64);
  }
}

// Packed features and everything else of one exemplar but its side values.
int64_t BytesPerExemplar(const ExemplarMemoryOptions& options) {
  return BytesPerFeature(options.storage) * options.feature_count + kExemplarOverheadBytes +
         (options.side_values_max > 0 ? 4 : 0) + (options.distinct ? kDistinctOverheadBytes : 0) +
         (CapsSenders(options.max_sender_share) ? kSenderOverheadBytes : 0);
}

void CountEach(const std::vector<int32_t>& indexes, std::vector<int64_t>* counts) {
  for (const int32_t index : indexes) {
    if (static_cast<size_t>(index) >= counts->size()) counts->resize(index + 1);
    ++(*counts)[index];
  }
}

}  // namespace

absl::StatusOr<std::unique_ptr<ExemplarMemory>> ExemplarMemory::Create(
    const ExemplarMemoryOptions& options) {
  ENGRAM_CHECK(options.capacity >= 1 && options.feature_count >= 1);
  ENGRAM_CHECK(!options.distinct || options.policy == AdmissionPolicy::kReservoir);
  ENGRAM_CHECK(options.max_sender_share > 0 && options.max_sender_share <= 1);
  const int64_t bytes_each = BytesPerExemplar(options) + 4 * options.side_values_max;
  ExemplarMemoryOptions bounded = options;
  if (options.bytes_max > 0) {
    bounded.capacity = std::min(options.capacity, options.bytes_max / bytes_each);
  }
  if (bounded.capacity == 0) {
    return absl::ResourceExhaustedError(
        absl::StrCat("memory: an exemplar of ", options.feature_count, " features takes ",
                     bytes_each, " bytes, more than the budget of ", options.bytes_max));
  }
  if (bounded.capacity > std::numeric_limits<int32_t>::max() ||
      bounded.capacity > kExemplarBytesMax / bytes_each) {
    return absl::ResourceExhaustedError(absl::StrCat("memory: ", bounded.capacity, " exemplars of ",
                                                     options.feature_count, " features exceed ",
                                                     kExemplarBytesMax, " bytes"));
  }
  return std::unique_ptr<ExemplarMemory>(new ExemplarMemory(bounded));
}

ExemplarMemory::ExemplarMemory(const ExemplarMemoryOptions& options)
    : options_(options),
      row_bytes_(BytesPerFeature(options.storage) * options.feature_count),
      features_(new uint8_t[static_cast<size_t>(options.capacity * row_bytes_)]) {
  if (options.storage != FeatureStorage::kFloat32) {
    unpacked_.resize(static_cast<size_t>(options.feature_count));
  }
  if (CapsSenders(options.max_sender_share)) {
    sender_ranks_.emplace(SenderCap(options.max_sender_share, options.capacity));
  }
  Clear();
}

void ExemplarMemory::Clear() {
  classes_.clear();
  tasks_.clear();
  sequences_.clear();
  keys_.clear();
  senders_.clear();
  if (sender_ranks_.has_value()) sender_ranks_->Clear();
  kept_keys_.clear();
  side_.clear();
  side_counts_.clear();
  groups_.clear();
  class_order_.clear();
  group_of_class_.clear();
  shuffle_.clear();
  if (options_.policy == AdmissionPolicy::kReservoir) groups_.resize(1);
}

void ExemplarMemory::Offer(const ExemplarView& example) {
  if (options_.storage != FeatureStorage::kFloat32 && !Fits(options_.storage, example.features)) {
    return;
  }
  const size_t group = GroupOf(example);
  const uint64_t key = KeyOf(example);
  if (options_.distinct && kept_keys_.contains(key)) return;
  if (sender_ranks_.has_value() && sender_ranks_->AtCap(example.sender)) {
    OfferAtCap(example, key, group);
    return;
  }
  if (HasRoom(group)) {
    Place(example, key, static_cast<int32_t>(size()), group);
    return;
  }
  if (groups_[group].size() < Quota(group)) {
    Place(example, key, RemoveLowest(GroupFurthestOverQuota()), group);
    return;
  }
  if (groups_[group].size() == 0) return;  // more groups than exemplars: this one has no quota
  if (!(Lowest(group) < Ranked{key, example.sequence, 0})) return;
  Place(example, key, RemoveLowest(group), group);
}

void ExemplarMemory::OfferAtCap(const ExemplarView& example, uint64_t key, size_t group) {
  const bool may_grow = HasRoom(group) || groups_[group].size() < Quota(group);
  SenderRanks::Place place;
  if (!sender_ranks_->FindPlace(example.sender, group, may_grow, &place)) return;
  if (place.must_outrank && !(place.exemplar < Ranked{key, example.sequence, 0})) return;
  Place(example, key, RemoveRanked(place.exemplar, place.group), group);
}

void ExemplarMemory::Draw(int64_t count, absl::FunctionRef<uint64_t()> random,
                          std::vector<int64_t>* slots) {
  slots->clear();
  if (size() == 0) return;
  if (count > size()) {
    for (int64_t i = 0; i < count; ++i) slots->push_back(UniformBelow(size(), random));
    return;
  }
  for (int64_t slot = shuffle_.size(); slot < size(); ++slot) shuffle_.push_back(slot);
  // The first `count` steps of a Fisher-Yates shuffle, then undone: the cost is that of the draw
  // and nothing but the generator carries over to the next.
  std::vector<std::pair<int64_t, int64_t>> swaps;
  swaps.reserve(count);
  for (int64_t i = 0; i < count; ++i) {
    const int64_t j = i + static_cast<int64_t>(UniformBelow(size() - i, random));
    std::swap(shuffle_[i], shuffle_[j]);
    swaps.emplace_back(i, j);
    slots->push_back(shuffle_[i]);
  }
  for (auto swap = swaps.rbegin(); swap != swaps.rend(); ++swap) {
    std::swap(shuffle_[swap->first], shuffle_[swap->second]);
  }
}

ExemplarView ExemplarMemory::At(int64_t slot) const {
  ExemplarView view;
  const uint8_t* packed = features_.get() + slot * row_bytes_;
  if (options_.storage == FeatureStorage::kFloat32) {
    view.features = absl::MakeConstSpan(reinterpret_cast<const float*>(packed),
                                        static_cast<size_t>(options_.feature_count));
  } else {
    UnpackFeatures(options_.storage, packed, absl::MakeSpan(unpacked_));
    view.features = unpacked_;
  }
  view.side = Side(slot);
  view.class_index = classes_[slot];
  view.task = tasks_[slot];
  view.sequence = sequences_[slot];
  if (!senders_.empty()) view.sender = senders_[slot];
  return view;
}

absl::Span<const float> ExemplarMemory::Side(int64_t slot) const {
  if (side_counts_.empty()) return {};
  return absl::MakeConstSpan(side_).subspan(static_cast<size_t>(slot * side_stride_),
                                            static_cast<size_t>(side_counts_[slot]));
}

int64_t ExemplarMemory::Bytes() const {
  return size() * BytesPerExemplar(options_) +
         4 * std::accumulate(side_counts_.begin(), side_counts_.end(), int64_t{0});
}

int64_t ExemplarMemory::BytesMax() const {
  return options_.capacity * (BytesPerExemplar(options_) + 4 * options_.side_values_max);
}

void ExemplarMemory::CountByTask(std::vector<int64_t>* counts) const {
  CountEach(tasks_, counts);
}

void ExemplarMemory::CountByClass(std::vector<int64_t>* counts) const {
  CountEach(classes_, counts);
}

std::vector<MemberKey> ExemplarMemory::Members() const {
  std::vector<MemberKey> members;
  members.reserve(sequences_.size());
  for (const uint64_t sequence : sequences_) {
    members.push_back(MemberKey{options_.memory, sequence, 0});
  }
  return members;
}

std::string ExemplarMemory::Payload(int64_t slot) const {
  return EncodeExemplar(At(slot), options_.storage, sender_ranks_.has_value());
}

absl::Status ExemplarMemory::Restore(absl::Span<const MemberPayload> payloads,
                                     absl::Span<const int32_t> class_order) {
  if (static_cast<int64_t>(payloads.size()) > options_.capacity) {
    return absl::DataLossError(absl::StrCat("memory ", options_.memory, ": expected at most ",
                                            options_.capacity, " members, found ",
                                            payloads.size()));
  }
  ExemplarMemory restored(options_);
  if (options_.policy != AdmissionPolicy::kReservoir) {
    for (const int32_t class_or_task : class_order) restored.AddGroup(class_or_task);
    if (restored.groups_.size() != class_order.size()) {
      return absl::DataLossError(
          absl::StrCat("memory ", options_.memory, ": a class is listed twice as seen"));
    }
  }
  const size_t group_count = restored.groups_.size();
  absl::flat_hash_set<uint64_t> sequences;
  for (const MemberPayload& payload : payloads) {
    if (payload.bytes.empty()) continue;  // forgotten
    const uint64_t sequence = payload.key.sequence;
    if (payload.key.memory != options_.memory || payload.key.revision != 0 ||
        !sequences.insert(sequence).second) {
      return absl::DataLossError(absl::StrCat(
          "memory ", options_.memory, ": member of memory ", payload.key.memory, ", sequence ",
          sequence, ", revision ", payload.key.revision, " is foreign or repeated"));
    }
    ENGRAM_ASSIGN_OR_RETURN(const ExemplarPayload exemplar,
                            DecodeExemplar(payload.bytes, options_.feature_count));
    ENGRAM_RETURN_IF_ERROR(restored.CheckForm(exemplar, sequence));
    const ExemplarView view{exemplar.features, exemplar.class_index, exemplar.task, sequence,
                            exemplar.side,     exemplar.sender.value_or(0)};
    const size_t group = restored.GroupOf(view);
    if (group >= group_count) {
      return absl::DataLossError(absl::StrCat("memory ", options_.memory, ": class ",
                                              exemplar.class_index, ", task ", exemplar.task,
                                              " of sequence ", sequence,
                                              " is not among those seen"));
    }
    const uint64_t key = restored.KeyOf(view);
    if (options_.distinct && restored.kept_keys_.contains(key)) {
      return absl::DataLossError(absl::StrCat("memory ", options_.memory, ": sequence ", sequence,
                                              " equals an example before it"));
    }
    restored.Place(view, key, static_cast<int32_t>(restored.size()), group);
  }
  *this = std::move(restored);
  return absl::OkStatus();
}

absl::Status ExemplarMemory::CheckForm(const ExemplarPayload& exemplar, uint64_t sequence) const {
  const auto damaged = [&](absl::string_view what) {
    return absl::DataLossError(
        absl::StrCat("memory ", options_.memory, ": sequence ", sequence, " ", what));
  };
  if (exemplar.storage != options_.storage ||
      static_cast<int64_t>(exemplar.side.size()) > options_.side_values_max) {
    return damaged(absl::StrCat("has another form of features or ", exemplar.side.size(),
                                " side values, expected at most ", options_.side_values_max));
  }
  if (exemplar.sender.has_value() != sender_ranks_.has_value()) {
    return damaged(sender_ranks_.has_value() ? "lacks its sender" : "has a sender, expected none");
  }
  if (sender_ranks_.has_value() && sender_ranks_->AtCap(*exemplar.sender)) {
    return damaged(
        absl::StrCat("is of a sender that has its share of ", sender_ranks_->cap(), " already"));
  }
  return absl::OkStatus();
}

bool ExemplarMemory::is_ring() const {
  return options_.policy == AdmissionPolicy::kClassRing ||
         options_.policy == AdmissionPolicy::kTaskRing;
}

// The highest stay: in a ring, the newest.
uint64_t ExemplarMemory::KeyOf(const ExemplarView& example) {
  if (is_ring()) return example.sequence;
  if (!options_.distinct) return PriorityKey(options_.seed, options_.memory, example.sequence);
  packed_.resize(static_cast<size_t>(row_bytes_));
  PackFeatures(options_.storage, example.features, packed_.data());
  return ContentKey(options_.seed, options_.memory, example.class_index, example.task, packed_);
}

size_t ExemplarMemory::GroupOf(const ExemplarView& example) {
  if (options_.policy == AdmissionPolicy::kReservoir) return 0;
  return AddGroup(options_.policy == AdmissionPolicy::kTaskRing ? example.task
                                                                : example.class_index);
}

size_t ExemplarMemory::AddGroup(int32_t class_or_task) {
  const auto [entry, is_new] = group_of_class_.try_emplace(class_or_task, groups_.size());
  if (is_new) {
    groups_.emplace_back();
    class_order_.push_back(class_or_task);
  }
  return entry->second;
}

bool ExemplarMemory::HasRoom(size_t group) const {
  if (size() >= options_.capacity) return false;
  return !is_ring() || groups_[group].size() < options_.ring_size;
}

int64_t ExemplarMemory::Quota(size_t group) const {
  const int64_t groups = static_cast<int64_t>(groups_.size());
  const int64_t remainder = options_.capacity % groups;
  const int64_t share =
      options_.capacity / groups + (static_cast<int64_t>(group) < remainder ? 1 : 0);
  return is_ring() ? std::min(options_.ring_size, share) : share;
}

size_t ExemplarMemory::GroupFurthestOverQuota() const {
  size_t furthest = 0;
  int64_t most = std::numeric_limits<int64_t>::min();
  for (size_t group = 0; group < groups_.size(); ++group) {
    const int64_t over = groups_[group].size() - Quota(group);
    if (over > most) {
      most = over;
      furthest = group;
    }
  }
  return furthest;
}

// Equal keys of different sequences are all but impossible; the sequence keeps the order total.
bool ExemplarMemory::Outranks(int32_t slot_a, int32_t slot_b) const {
  return std::make_pair(keys_[slot_a], sequences_[slot_a]) >
         std::make_pair(keys_[slot_b], sequences_[slot_b]);
}

Ranked ExemplarMemory::Lowest(size_t group) const {
  const Group& own = groups_[group];
  return own.order.empty() ? RankOf(own.heap.front()) : *own.order.begin();
}

int32_t ExemplarMemory::RemoveRanked(Ranked exemplar, size_t group) {
  groups_[group].order.erase(exemplar);
  sender_ranks_->Remove(senders_[exemplar.slot], group, exemplar);
  kept_keys_.erase(exemplar.key);
  return exemplar.slot;
}

int32_t ExemplarMemory::RemoveLowest(size_t group) {
  if (sender_ranks_.has_value()) return RemoveRanked(*groups_[group].order.begin(), group);
  std::vector<int32_t>& heap = groups_[group].heap;
  std::pop_heap(heap.begin(), heap.end(), [this](int32_t a, int32_t b) { return Outranks(a, b); });
  const int32_t slot = heap.back();
  heap.pop_back();
  kept_keys_.erase(keys_[slot]);
  return slot;
}

void ExemplarMemory::Place(const ExemplarView& example, uint64_t key, int32_t slot, size_t group) {
  ENGRAM_CHECK(static_cast<int64_t>(example.features.size()) == options_.feature_count);
  if (slot == size()) {
    classes_.emplace_back();
    tasks_.emplace_back();
    sequences_.emplace_back();
    keys_.emplace_back();
  }
  PackFeatures(options_.storage, example.features, features_.get() + slot * row_bytes_);
  if (options_.side_values_max > 0) PlaceSide(example.side, slot);
  classes_[slot] = example.class_index;
  tasks_[slot] = example.task;
  sequences_[slot] = example.sequence;
  keys_[slot] = key;
  if (options_.distinct) kept_keys_.insert(key);
  if (sender_ranks_.has_value()) {
    senders_.resize(static_cast<size_t>(size()));
    senders_[slot] = example.sender;
    groups_[group].order.insert(RankOf(slot));
    sender_ranks_->Add(example.sender, group, RankOf(slot));
    return;
  }
  std::vector<int32_t>& heap = groups_[group].heap;
  heap.push_back(slot);
  std::push_heap(heap.begin(), heap.end(), [this](int32_t a, int32_t b) { return Outranks(a, b); });
}

void ExemplarMemory::PlaceSide(absl::Span<const float> side, int32_t slot) {
  const int64_t count = std::min(static_cast<int64_t>(side.size()), options_.side_values_max);
  if (count > side_stride_) {
    const int64_t stride = std::max(count, std::min(2 * side_stride_, options_.side_values_max));
    std::vector<float> wider(static_cast<size_t>(size() * stride));
    for (size_t row = 0; row < side_counts_.size(); ++row) {
      std::copy_n(side_.begin() + row * side_stride_, side_counts_[row],
                  wider.begin() + row * stride);
    }
    side_ = std::move(wider);
    side_stride_ = stride;
  }
  side_.resize(static_cast<size_t>(size() * side_stride_));
  side_counts_.resize(static_cast<size_t>(size()));
  std::copy_n(side.begin(), count, side_.begin() + slot * side_stride_);
  side_counts_[slot] = static_cast<int32_t>(count);
}

}  // namespace engram::strategies
