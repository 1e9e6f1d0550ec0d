// The rows of one step: the stream's first, then what strategies append (exemplars). One
// preallocated [capacity, d] feature buffer, so that replay costs no concatenation.
//
// Threading: one thread. Ownership: owns its buffers; spans and tensors live until the next Reset.
// Failure: AppendRow answers FAILED_PRECONDITION when full or when the (task, class) has no unit.
// Bounds: batch_size + the extra rows that the strategies declared.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "strategies/api/batch_view.h"
#include "strategies/core/unit_map.h"

namespace engram::strategies {

class TrainingBatch {
 public:
  TrainingBatch(int64_t feature_count, int64_t capacity);

  // Takes over the stream's rows. Every row's unit exists in `units`.
  void Reset(const BatchView& view, const UnitMap& units);

  absl::Status AppendRow(const float* features, int32_t cls, int32_t task, uint64_t sequence,
                         float weight = 1.0f);

  int64_t rows() const { return static_cast<int64_t>(targets_.size()); }
  int64_t stream_rows() const { return stream_rows_; }
  int64_t feature_count() const { return feature_count_; }

  // [rows(), d]; the same storage for every batch.
  at::Tensor features() const { return buffer_.narrow(0, 0, rows()); }
  const float* row(int64_t index) const { return values_ + index * feature_count_; }

  // All rows() long.
  absl::Span<const int64_t> targets() const { return targets_; }  // unit of the row's class
  absl::Span<const int32_t> classes() const { return classes_; }
  absl::Span<const int32_t> tasks() const { return tasks_; }
  absl::Span<const uint64_t> sequences() const { return sequences_; }
  // Empty while every weight is 1.
  absl::Span<const float> weights() const;

 private:
  int64_t feature_count_;
  int64_t capacity_;
  int64_t stream_rows_ = 0;
  const UnitMap* units_ = nullptr;
  at::Tensor buffer_;
  float* values_;
  bool weighted_ = false;
  std::vector<int64_t> targets_;
  std::vector<int32_t> classes_;
  std::vector<int32_t> tasks_;
  std::vector<uint64_t> sequences_;
  std::vector<float> weights_;
};

}  // namespace engram::strategies
