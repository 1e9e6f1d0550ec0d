// spec.guard at work: shows every evaluation to the judge (canary.h), says what fell, and asks for
// the rollback and the pause that the guard allows. When it fires may depend on timing; what comes
// of it is a record of the log, which recovery repeats.
//
// Threading: Judge on the background thread, Resume and pause_reason from any thread; the answer to
//   a rollback comes on the trainer's strand.
// Ownership: borrows what Parts points to.
// Failure: a rollback that cannot be done is logged, and the firing was a report. What was tried is
//   told to ModelContext.on_guard, too.
// Bounds: one rollback at a time; the judge's.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/types/optional.h"
#include "engram/internal/records.pb.h"
#include "engram/v1/checkpoints.pb.h"
#include "engram/v1/model.pb.h"
#include "server/canary.h"
#include "server/checkpoint_keeper.h"
#include "server/model_context.h"
#include "server/report_book.h"
#include "server/rpc_table.h"
#include "storage/base/mutex.h"

namespace engram::server {

class CanaryGate {
 public:
  using OnRollback = std::function<void(absl::StatusOr<v1::RollbackResponse>)>;
  using Tasks = std::vector<internal::StreamState::Task>;
  struct Parts {
    const ModelContext* context = nullptr;
    ReportBook* report = nullptr;
    CheckpointKeeper* checkpoints = nullptr;
    std::function<void(const v1::RollbackRequest&, OnRollback)> roll_back;
    std::function<void(const std::string& reason)> pause;
  };

  // `guard` of a completed spec; `pause_reason` of a pause before a restart, or empty.
  CanaryGate(Parts parts, const v1::Guard& guard, std::string pause_reason)
      : parts_(std::move(parts)), guard_(guard), pause_reason_(std::move(pause_reason)) {}

  // A row that was just measured and is in the report, with its tasks by column.
  void Judge(const Tasks& tasks, const v1::AccuracyRow& row, bool boundary);
  // Training goes on by somebody's word: the rollbacks so far are forgiven.
  void Resume();
  // Empty when the gate did not pause the model.
  std::string pause_reason() const;

 private:
  // The rows of R that stand and came before `sequence`: what a process before this one measured.
  void LearnFromReport(uint64_t sequence, const Rewinds& rewinds);
  void Fire(const Tasks& tasks, uint64_t version, const std::vector<Canary::Fall>& falls,
            const Rewinds& rewinds);
  absl::optional<storage::CheckpointRow> Target(uint64_t good_version,
                                                const Rewinds& rewinds) const;
  void RollBack(const v1::ReportEvent::Canary& canary);
  void OnAnswer(const v1::ReportEvent::Canary& canary,
                const absl::StatusOr<v1::RollbackResponse>& answer);
  void Tell(Rpc rpc, const std::string& checkpoint, const absl::Status& outcome);

  const Parts parts_;
  const v1::Guard guard_;
  Canary judge_;  // the background's
  bool knows_report_ = false;
  mutable base::Mutex mutex_;
  bool rolling_back_ ABSL_GUARDED_BY(mutex_) = false;
  int64_t rollbacks_ ABSL_GUARDED_BY(mutex_) = 0;  // since a good row of R
  std::string pause_reason_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace engram::server
