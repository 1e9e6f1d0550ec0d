#include "strategies/core/training_batch.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "absl/container/flat_hash_map.h"
#include "absl/strings/str_cat.h"
#include "storage/base/check.h"

namespace engram::strategies {

TrainingBatch::TrainingBatch(int64_t feature_count, int64_t capacity)
    : feature_count_(feature_count),
      capacity_(capacity),
      buffer_(at::zeros({capacity, feature_count}, at::kFloat)),
      values_(buffer_.data_ptr<float>()) {
  const size_t rows = static_cast<size_t>(capacity);
  targets_.reserve(rows);
  classes_.reserve(rows);
  tasks_.reserve(rows);
  sequences_.reserve(rows);
  weights_.reserve(rows);
}

void TrainingBatch::Clear(const UnitMap& units) {
  units_ = &units;
  stream_rows_ = 0;
  senders_.clear();
  classes_.clear();
  tasks_.clear();
  sequences_.clear();
  targets_.clear();
  weights_.clear();
  shares_.clear();
  set_of_row_.clear();
  unit_sets_.clear();
  unmixed_.clear();
  DropViews();
}

void TrainingBatch::Reset(const BatchView& view, const UnitMap& units) {
  Clear(units);
  stream_rows_ = view.rows;
  std::memcpy(values_, view.features.data(), view.features.size() * sizeof(float));
  classes_.assign(view.classes.begin(), view.classes.end());
  tasks_.assign(view.tasks.begin(), view.tasks.end());
  sequences_.assign(view.sequences.begin(), view.sequences.end());
  senders_.assign(view.senders.begin(), view.senders.end());
  for (size_t i = 0; i < classes_.size(); ++i) {
    targets_.push_back(units.Find(tasks_[i], classes_[i]));
  }
  if (view.weights.empty()) {
    weights_.assign(classes_.size(), 1.0f);
  } else {
    weights_.assign(view.weights.begin(), view.weights.end());
  }
}

absl::Status TrainingBatch::AppendRow(const float* features, int32_t cls, int32_t task,
                                      uint64_t sequence, float weight) {
  const int64_t unit = units_->Find(task, cls);
  if (rows() >= capacity_ || unit == UnitMap::kNoUnit) {
    return absl::FailedPreconditionError(absl::StrCat("batch of ", rows(), " rows (room for ",
                                                      capacity_, ") cannot take class ", cls,
                                                      " of task ", task));
  }
  std::memcpy(values_ + rows() * feature_count_, features,
              static_cast<size_t>(feature_count_) * sizeof(float));
  targets_.push_back(unit);
  classes_.push_back(cls);
  tasks_.push_back(task);
  sequences_.push_back(sequence);
  weights_.push_back(weight);
  if (!set_of_row_.empty()) set_of_row_.push_back(-1);
  DropViews();
  return absl::OkStatus();
}

absl::Status TrainingBatch::Append(const ExemplarView& example, float weight) {
  return AppendRow(example.features.data(), example.class_index, example.task, example.sequence,
                   weight);
}

void TrainingBatch::DropAppended() {
  const size_t rows = static_cast<size_t>(stream_rows_);
  classes_.resize(rows);
  tasks_.resize(rows);
  sequences_.resize(rows);
  targets_.resize(rows);
  weights_.resize(rows);
  shares_.clear();
  set_of_row_.clear();
  unit_sets_.clear();
  unmixed_.clear();
  DropViews();
}

float* TrainingBatch::AddViews() {
  if (!views_.defined()) views_ = at::empty({capacity_, feature_count_}, at::kFloat);
  DropViews();
  has_views_ = true;
  return views_.data_ptr<float>();
}

void TrainingBatch::DropViews() {
  has_views_ = false;
  second_targets_.clear();
  first_shares_.clear();
}

void TrainingBatch::MixTargets(int64_t row, int64_t other, float share) {
  ENGRAM_CHECK(has_views_ && row >= 0 && row < rows() && other >= 0 && other < rows());
  if (second_targets_.empty()) {
    second_targets_ = targets_;
    first_shares_.assign(targets_.size(), 1.0f);
  }
  second_targets_[static_cast<size_t>(row)] = targets_[static_cast<size_t>(other)];
  first_shares_[static_cast<size_t>(row)] = share;
}

std::vector<int64_t> TrainingBatch::MixingGroups() const {
  // Stream or appended, what LimitUnits said, and the task where heads are per task.
  absl::flat_hash_map<std::array<int64_t, 3>, int64_t> known;
  std::vector<int64_t> groups;
  for (int64_t row = 0; row < rows(); ++row) {
    const size_t at = static_cast<size_t>(row);
    const int64_t set = set_of_row_.empty() ? -1 : set_of_row_[at];
    const int64_t task = units_->per_task() ? tasks_[at] : 0;
    const int64_t next = static_cast<int64_t>(known.size());
    groups.push_back(known.insert({{row < stream_rows_, set, task}, next}).first->second);
  }
  for (const auto& [begin, end] : unmixed_) {
    std::fill(groups.begin() + begin, groups.begin() + end, -1);
  }
  return groups;
}

ExemplarView TrainingBatch::Example(int64_t index) const {
  const size_t at = static_cast<size_t>(index);
  ExemplarView example;
  example.features = absl::MakeConstSpan(row(index), static_cast<size_t>(feature_count_));
  example.class_index = classes_[at];
  example.task = tasks_[at];
  example.sequence = sequences_[at];
  if (at < senders_.size()) example.sender = senders_[at];
  return example;
}

void TrainingBatch::SetShare(int64_t begin, int64_t end, double share) {
  ENGRAM_CHECK(begin >= 0 && begin <= end && end <= rows());
  shares_.push_back({begin, end, share});
}

void TrainingBatch::LimitUnits(int64_t begin, int64_t end, std::vector<int64_t> units) {
  ENGRAM_CHECK(begin >= 0 && begin <= end && end <= rows());
  set_of_row_.resize(targets_.size(), -1);
  std::fill(set_of_row_.begin() + begin, set_of_row_.begin() + end,
            static_cast<int32_t>(unit_sets_.size()));
  unit_sets_.push_back(std::move(units));
}

LossRows TrainingBatch::loss_rows() const {
  coefficients_.resize(weights_.size());
  const float count = static_cast<float>(rows());
  for (size_t i = 0; i < weights_.size(); ++i) coefficients_[i] = weights_[i] / count;
  for (const Share& part : shares_) {
    const double scale = part.share / static_cast<double>(part.end - part.begin);
    for (int64_t row = part.begin; row < part.end; ++row) {
      coefficients_[row] = static_cast<float>(weights_[row] * scale);
    }
  }
  LossRows loss{targets_, tasks_, coefficients_, set_of_row_, unit_sets_};
  loss.second_targets = second_targets_;
  loss.first_shares = first_shares_;
  return loss;
}

}  // namespace engram::strategies
