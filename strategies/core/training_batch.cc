#include "strategies/core/training_batch.h"

#include <algorithm>
#include <cstring>

#include "absl/strings/str_cat.h"

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

void TrainingBatch::Reset(const BatchView& view, const UnitMap& units) {
  units_ = &units;
  stream_rows_ = view.rows;
  std::memcpy(values_, view.features.data(), view.features.size() * sizeof(float));
  classes_.assign(view.classes.begin(), view.classes.end());
  tasks_.assign(view.tasks.begin(), view.tasks.end());
  sequences_.assign(view.sequences.begin(), view.sequences.end());
  targets_.clear();
  for (size_t i = 0; i < classes_.size(); ++i) {
    targets_.push_back(units.Find(tasks_[i], classes_[i]));
  }
  weighted_ = std::any_of(view.weights.begin(), view.weights.end(),
                          [](float weight) { return weight != 1.0f; });
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
  weighted_ = weighted_ || weight != 1.0f;
  return absl::OkStatus();
}

absl::Span<const float> TrainingBatch::weights() const {
  return weighted_ ? absl::Span<const float>(weights_) : absl::Span<const float>();
}

}  // namespace engram::strategies
