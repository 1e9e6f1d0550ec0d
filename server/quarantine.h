// Judges single examples before they are learned (spec.quarantine), and keeps the list of those
// that were set aside, for that or because the step that they were part of was skipped. All it
// knows is engram.internal.Quarantine in the stream's state, which travels through checkpoints and
// rollbacks; so whether an example is set aside follows from the log and the learner alone.
//
// The rows of a batch are judged against what was learned before it. What is set aside moves no
// mean: otherwise each outlier would make room for the next.
//
// Threading: one thread, that of the trainer; the functions are pure.
// Failure: what the snapshot cannot be taken for. A model without a finite score judges nobody.
// Bounds: 1 000 entries, 1 000 bytes of window, 16 bytes a feature where deviations are judged, and
//   8 bytes a class, a task and, with heads per task, a class of a task.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "engram/internal/records.pb.h"
#include "strategies/api/batch_view.h"
#include "strategies/api/snapshot.h"

namespace engram::server {

class Quarantine {
 public:
  static constexpr int kHeldMax = 1000;
  static constexpr int64_t kWindow = 1000;

  using Reason = v1::QuarantinedExample::Reason;
  struct Verdict {
    Reason reason = v1::QuarantinedExample::REASON_UNSPECIFIED;  // none: to be learned
    double score = 0;
  };
  using Snapshots =
      absl::FunctionRef<absl::StatusOr<std::shared_ptr<const strategies::Snapshot>>()>;

  // `spec` is completed.
  explicit Quarantine(const v1::ModelSpec& spec);

  // Whether there is anything to judge by.
  bool judges() const { return options_.min_label_score() > 0 || options_.max_deviation() > 0; }
  // One verdict a row. Rows that `released` names (not 0) are not judged. `snapshot` is asked for
  // what the learner would serve now, at most once.
  absl::StatusOr<std::vector<Verdict>> Judge(const strategies::BatchView& batch,
                                             absl::Span<const uint64_t> released,
                                             Snapshots snapshot, internal::Quarantine* state) const;
  // The learner took a step on these. Only where it judges.
  void Learn(const strategies::BatchView& batch, internal::Quarantine* state) const;

 private:
  bool MayJudge(int32_t class_index, int32_t task, const internal::Quarantine& state) const;
  absl::StatusOr<std::vector<double>> LabelScores(const strategies::BatchView& batch,
                                                  const std::vector<int64_t>& rows,
                                                  Snapshots snapshot) const;
  void JudgeDeviations(const strategies::BatchView& batch, const std::vector<int64_t>& rows,
                       const internal::Quarantine& state, std::vector<Verdict>* verdicts) const;
  // Counts a judged row; whether so many are suspect that it is drift.
  bool IsDrift(bool suspect, internal::Quarantine* state) const;

  const v1::Quarantine options_;
  const bool heads_per_task_;
};

// The list, ascending by sequence; the first one leaves when it is full.
void AddHeld(uint64_t sequence, int32_t task, const Quarantine::Verdict& verdict,
             internal::Quarantine* state);
// These leave it; how many did. `sequences` is ascending.
int DropHeld(absl::Span<const uint64_t> sequences, internal::StreamState* state);

}  // namespace engram::server
