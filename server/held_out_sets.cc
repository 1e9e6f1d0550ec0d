#include "server/held_out_sets.h"

#include <algorithm>
#include <utility>

#include "engram/internal/records.pb.h"
#include "server/feature_values.h"
#include "server/sequence_hash.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

size_t FindLowest(const HeldOutSet& set) {
  size_t lowest = 0;
  for (size_t i = 1; i < set.rows.size(); ++i) {
    if (set.rows[i].priority < set.rows[lowest].priority) lowest = i;
  }
  return lowest;
}

}  // namespace

HeldOutSets::HeldOutSets(Options options, storage::HeldOutStore* store)
    : options_(options), store_(store) {}

absl::Status HeldOutSets::Load(uint64_t through) {
  base::MutexLock lock(&mutex_);
  tasks_.clear();
  added_.clear();
  evicted_.clear();
  absl::Status parsed;
  ENGRAM_RETURN_IF_ERROR(store_->ForEach(
      options_.model, [&](storage::HeldOutRow row) ABSL_NO_THREAD_SAFETY_ANALYSIS {
        if (row.sequence > through) return true;
        internal::HeldOutExample stored;
        if (!stored.ParseFromString(row.payload)) {
          parsed = absl::DataLossError("a held-out row does not parse");
          return false;
        }
        Insert(row.task, row.sequence, stored.example());
        return true;
      }));
  through_ = through;
  return parsed;
}

void HeldOutSets::Add(const std::string& task, uint64_t sequence, const v1::Example& example) {
  base::MutexLock lock(&mutex_);
  if (sequence <= through_) return;
  through_ = sequence;
  if (!Insert(task, sequence, example)) return;
  internal::HeldOutExample stored;
  *stored.mutable_example() = example;
  added_.push_back({task, sequence, stored.SerializeAsString()});
}

bool HeldOutSets::Insert(const std::string& name, uint64_t sequence, const v1::Example& example) {
  if (ValueCount(example.features()) != options_.feature_count) return false;
  Task& task = tasks_[name];
  HeldOutSet::Row row{sequence, HeldOutPriority(options_.seed, sequence), example.label()};
  const bool full = static_cast<int64_t>(task.set->rows.size()) >= options_.max_per_task;
  if (full && row.priority <= task.set->rows[task.lowest].priority) return false;
  if (task.shared) {
    task.set = std::make_shared<HeldOutSet>(*task.set);
    task.shared = false;
  }
  HeldOutSet& set = *task.set;
  size_t index = set.rows.size();
  if (full) {
    index = task.lowest;
    evicted_.push_back({name, set.rows[index].sequence, sequence});
    set.rows[index] = std::move(row);
  } else {
    set.rows.push_back(std::move(row));
    set.features.resize(set.features.size() + options_.feature_count);
  }
  CopyValues(example.features(), set.features.data() + index * options_.feature_count);
  if (full) {
    task.lowest = FindLowest(set);
  } else if (set.rows[index].priority < set.rows[task.lowest].priority) {
    task.lowest = index;
  }
  return true;
}

HeldOutSets::View HeldOutSets::Share() {
  base::MutexLock lock(&mutex_);
  View view;
  for (auto& entry : tasks_) {
    entry.second.shared = true;
    view[entry.first] = entry.second.set;
  }
  return view;
}

absl::flat_hash_map<std::string, int64_t> HeldOutSets::Counts() const {
  base::MutexLock lock(&mutex_);
  absl::flat_hash_map<std::string, int64_t> counts;
  for (const auto& entry : tasks_) counts[entry.first] = entry.second.set->rows.size();
  return counts;
}

absl::Status HeldOutSets::WriteAdded() {
  std::vector<storage::HeldOutRow> rows;
  {
    base::MutexLock lock(&mutex_);
    rows.swap(added_);
  }
  if (rows.empty()) return absl::OkStatus();
  absl::Status status = store_->Put(options_.model, rows);
  if (status.ok()) return status;
  base::MutexLock lock(&mutex_);
  added_.insert(added_.begin(), std::make_move_iterator(rows.begin()),
                std::make_move_iterator(rows.end()));
  return status;
}

void HeldOutSets::EraseLocked(const std::vector<uint64_t>& sequences) {
  const auto goes = [&](uint64_t sequence) {
    return std::binary_search(sequences.begin(), sequences.end(), sequence);
  };
  for (auto& [name, task] : tasks_) {
    const std::vector<HeldOutSet::Row>& rows = task.set->rows;
    if (std::none_of(rows.begin(), rows.end(),
                     [&](const HeldOutSet::Row& row) { return goes(row.sequence); })) {
      continue;
    }
    auto left = std::make_shared<HeldOutSet>();
    for (size_t i = 0; i < rows.size(); ++i) {
      if (goes(rows[i].sequence)) continue;
      left->rows.push_back(rows[i]);
      const float* const features = task.set->features.data() + i * options_.feature_count;
      left->features.insert(left->features.end(), features, features + options_.feature_count);
    }
    task.lowest = FindLowest(*left);
    task.set = std::move(left);
    task.shared = false;
  }
  added_.erase(std::remove_if(added_.begin(), added_.end(),
                              [&](const auto& row) { return goes(row.sequence); }),
               added_.end());
}

absl::StatusOr<int64_t> HeldOutSets::Erase(const std::vector<uint64_t>& sequences) {
  {
    base::MutexLock lock(&mutex_);
    EraseLocked(sequences);
  }
  std::vector<std::pair<std::string, uint64_t>> stored;
  ENGRAM_RETURN_IF_ERROR(store_->ForEach(options_.model, [&](const storage::HeldOutRow& row) {
    if (std::binary_search(sequences.begin(), sequences.end(), row.sequence)) {
      stored.emplace_back(row.task, row.sequence);
    }
    return true;
  }));
  for (const auto& [task, sequence] : stored) {
    ENGRAM_RETURN_IF_ERROR(store_->Delete(options_.model, task, sequence));
  }
  return static_cast<int64_t>(stored.size());
}

std::vector<uint64_t> HeldOutSets::Sequences() const {
  base::MutexLock lock(&mutex_);
  std::vector<uint64_t> sequences;
  for (const auto& entry : tasks_) {
    for (const HeldOutSet::Row& row : entry.second.set->rows) sequences.push_back(row.sequence);
  }
  for (const Evicted& row : evicted_) sequences.push_back(row.sequence);
  return sequences;
}

absl::Status HeldOutSets::WriteEvicted(uint64_t sequence) {
  std::vector<Evicted> due;
  {
    base::MutexLock lock(&mutex_);
    auto later = std::stable_partition(evicted_.begin(), evicted_.end(),
                                       [&](const Evicted& row) { return row.by <= sequence; });
    due.assign(std::make_move_iterator(evicted_.begin()), std::make_move_iterator(later));
    evicted_.erase(evicted_.begin(), later);
  }
  for (const Evicted& row : due) {
    ENGRAM_RETURN_IF_ERROR(store_->Delete(options_.model, row.task, row.sequence));
  }
  return absl::OkStatus();
}

}  // namespace engram::server
