// The rows of one step: the stream's first, then what strategies append (exemplars). One
// preallocated [capacity, d] feature buffer, so that replay costs no concatenation.
//
// The loss is one mean over all rows, each times its weight, unless a strategy gives a range a
// share of its own or lets it see fewer units. A strategy may also own a batch, for a pass beside
// the stream's.
//
// Rows are examples as they came, which is what memories and measurements are given. What the
// network trains on, inputs(), are the same rows unless views of them were added (augmentation.h).
//
// Threading: one thread. Ownership: owns its buffers; spans and tensors live until the next Reset.
// Failure: AppendRow answers FAILED_PRECONDITION when full or when the (task, class) has no unit.
// Bounds: batch_size + the extra rows that the strategies declared.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "strategies/api/batch_view.h"
#include "strategies/core/cross_entropy.h"
#include "strategies/core/unit_map.h"
#include "strategies/memory/exemplar_memory.h"

namespace engram::strategies {

class TrainingBatch {
 public:
  TrainingBatch(int64_t feature_count, int64_t capacity);

  // Takes over the stream's rows. Every row's unit exists in `units`.
  void Reset(const BatchView& view, const UnitMap& units);
  // No row at all; AppendRow adds the first.
  void Clear(const UnitMap& units);

  absl::Status AppendRow(const float* features, int32_t cls, int32_t task, uint64_t sequence,
                         float weight = 1.0f);
  // The same of an exemplar.
  absl::Status Append(const ExemplarView& example, float weight = 1.0f);
  // Back to the stream's rows, without shares and limits.
  void DropAppended();

  // The mean loss of rows [begin, end) enters the sum times `share`, whatever their number.
  void SetShare(int64_t begin, int64_t end, double share);
  // The loss of rows [begin, end) runs over `units` only: ascending, every row's target among them.
  void LimitUnits(int64_t begin, int64_t end, std::vector<int64_t> units);

  // Rows whose goal is not their label alone: no other row is mixed into them, nor they into
  // others.
  void KeepUnmixed(int64_t begin, int64_t end) { unmixed_.emplace_back(begin, end); }

  // Room for a view of each row, [rows(), d], which inputs() shows until the next change of rows.
  float* AddViews();
  // `share` of a row's label and 1 - share of another's is what its view is to be learned as.
  void MixTargets(int64_t row, int64_t other, float share);
  // Rows that may be mixed with each other have the same number, others -1: stream with stream and
  // appended with appended, so that no share of the loss leaks, and where the loss sees both
  // labels.
  std::vector<int64_t> MixingGroups() const;

  // What the loss needs of the rows; valid until the next change.
  LossRows loss_rows() const;

  int64_t rows() const { return static_cast<int64_t>(targets_.size()); }
  int64_t stream_rows() const { return stream_rows_; }
  int64_t feature_count() const { return feature_count_; }

  // [rows(), d]; the same storage for every batch.
  at::Tensor features() const { return buffer_.narrow(0, 0, rows()); }
  // The same, or their views.
  at::Tensor inputs() const { return (has_views_ ? views_ : buffer_).narrow(0, 0, rows()); }
  bool has_views() const { return has_views_; }
  const float* row(int64_t index) const { return values_ + index * feature_count_; }
  // One row of the stream, borrowed: what a memory is offered.
  ExemplarView Example(int64_t index) const;

  // All rows() long.
  absl::Span<const int64_t> targets() const { return targets_; }  // unit of the row's class
  absl::Span<const int32_t> classes() const { return classes_; }
  absl::Span<const int32_t> tasks() const { return tasks_; }
  absl::Span<const uint64_t> sequences() const { return sequences_; }
  absl::Span<const float> weights() const { return weights_; }

 private:
  // Rows whose mean counts `share` times.
  struct Share {
    int64_t begin = 0;
    int64_t end = 0;
    double share = 1;
  };

  void DropViews();

  int64_t feature_count_;
  int64_t capacity_;
  int64_t stream_rows_ = 0;
  const UnitMap* units_ = nullptr;
  at::Tensor buffer_;
  float* values_;
  std::vector<int64_t> targets_;
  std::vector<int32_t> classes_;
  std::vector<int32_t> tasks_;
  std::vector<uint64_t> sequences_;
  std::vector<uint64_t> senders_;  // of the stream's rows, or empty
  std::vector<float> weights_;
  std::vector<Share> shares_;
  std::vector<int32_t> set_of_row_;  // empty while no row is limited
  std::vector<std::vector<int64_t>> unit_sets_;
  std::vector<std::pair<int64_t, int64_t>> unmixed_;
  bool has_views_ = false;
  at::Tensor views_;                     // [capacity, d] from the first AddViews on
  std::vector<int64_t> second_targets_;  // empty while no row is mixed
  std::vector<float> first_shares_;
  mutable std::vector<float> coefficients_;  // loss_rows() writes them
};

}  // namespace engram::strategies
