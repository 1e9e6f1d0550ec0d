#include "server/canary_gate.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "server/logging.h"

namespace engram::server {
namespace {

using Fired = v1::ReportEvent::Canary;

// The sequence up to which a checkpoint at `applied` has learned: at a rollback's record, what was
// restored.
uint64_t LearnedUpTo(uint64_t applied, const Rewinds& rewinds) {
  for (int i = rewinds.size() - 1; i >= 0; --i) {
    if (rewinds[i].record() == applied) applied = rewinds[i].restored();
  }
  return applied;
}

}  // namespace

void CanaryGate::Judge(const Tasks& tasks, const v1::AccuracyRow& row, bool boundary) {
  if (guard_.canary_drop() == 0) return;
  {
    base::MutexLock lock(&mutex_);
    if (rolling_back_) return;
  }
  // Asked for after the above: a rollback that has ended is among them.
  const Rewinds rewinds = parts_.report->CurrentRewinds();
  if (UndoneBy(rewinds, row.sequence()) != 0) return;
  LearnFromReport(row.sequence(), rewinds);
  const Canary::Verdict verdict = judge_.Judge(row, guard_.canary_drop(), rewinds);
  parts_.context->statistics->canary_drop = verdict.drop;
  if (boundary && verdict.good()) {
    base::MutexLock lock(&mutex_);
    rollbacks_ = 0;
  }
  if (!verdict.falls.empty()) Fire(tasks, row.sequence(), verdict.falls, rewinds);
}

void CanaryGate::LearnFromReport(uint64_t sequence, const Rewinds& rewinds) {
  if (knows_report_) return;
  knows_report_ = true;
  const v1::Report report = parts_.report->Report(0, {});
  for (const v1::AccuracyRow& row : report.rows()) {
    if (row.undone_by() != 0 || row.sequence() >= sequence) continue;
    judge_.Judge(row, guard_.canary_drop(), rewinds);
  }
}

// Every task that fell is told; one rollback, to where all of them were well, comes of it.
void CanaryGate::Fire(const Tasks& tasks, uint64_t version,
                      const std::vector<Canary::Fall>& falls, const Rewinds& rewinds) {
  uint64_t good_version = version;
  for (const Canary::Fall& fall : falls) good_version = std::min(good_version, fall.good_version);
  absl::optional<storage::CheckpointRow> target;
  if (guard_.action() == v1::Guard::ROLLBACK) target = Target(good_version, rewinds);
  Fired canary;
  canary.set_version(version);
  if (target.has_value()) {
    base::MutexLock lock(&mutex_);
    rolling_back_ = true;
    const bool last = ++rollbacks_ >= guard_.max_rollbacks();
    canary.set_outcome(last ? Fired::ROLLBACK_AND_PAUSE : Fired::ROLLBACK);
    canary.set_checkpoint(target->id);
  }
  for (const Canary::Fall& fall : falls) {
    canary.set_task(tasks[fall.task].name());
    canary.set_best(fall.best);
    canary.set_now(fall.now);
    canary.set_held_out_rows(fall.rows);
    canary.set_best_version(fall.best_version);
    ++parts_.context->statistics->canary_drops;
    Log(LogLevel::kWarning, "canary_fell",
        {{"model", parts_.context->name},
         {"task", canary.task()},
         {"best", canary.best()},
         {"now", canary.now()},
         {"version", version},
         {"outcome", Fired::Outcome_Name(canary.outcome())},
         {"checkpoint", canary.checkpoint()}});
    parts_.report->AddCanary(canary);
  }
  if (target.has_value()) RollBack(canary);
}

// A checkpoint on a branch that was left is no way back, however old: that may be what was left.
absl::optional<storage::CheckpointRow> CanaryGate::Target(uint64_t good_version,
                                                          const Rewinds& rewinds) const {
  auto rows = parts_.checkpoints->List();
  if (!rows.ok()) return absl::nullopt;
  for (storage::CheckpointRow& row : *rows) {  // newest first
    if (UndoneBy(rewinds, row.applied) != 0) continue;
    if (LearnedUpTo(row.applied, rewinds) <= good_version) return std::move(row);
  }
  return absl::nullopt;
}

// Pinned until the answer: checkpoints that are written meanwhile may push it out.
void CanaryGate::RollBack(const Fired& canary) {
  parts_.checkpoints->Pin(canary.checkpoint());
  v1::RollbackRequest request;
  request.set_model(parts_.context->name);
  request.set_checkpoint(canary.checkpoint());
  parts_.roll_back(request, [this, canary](const absl::StatusOr<v1::RollbackResponse>& answer) {
    OnAnswer(canary, answer);
  });
}

void CanaryGate::OnAnswer(const Fired& canary,
                          const absl::StatusOr<v1::RollbackResponse>& answer) {
  parts_.checkpoints->Unpin(canary.checkpoint());
  const bool pause = answer.ok() && canary.outcome() == Fired::ROLLBACK_AND_PAUSE;
  std::string reason;
  {
    base::MutexLock lock(&mutex_);
    rolling_back_ = false;
    if (!answer.ok()) --rollbacks_;
    if (pause) {
      reason =
          absl::StrCat("paused by spec.guard after ", rollbacks_, " rollbacks: ", canary.task(),
                       " fell from ", canary.best(), " to ", canary.now(), " at version ",
                       canary.version(), "; ResumeTraining goes on");
      pause_reason_ = reason;
    }
  }
  if (!answer.ok()) {
    Log(LogLevel::kWarning, "canary_not_rolled_back",
        {{"model", parts_.context->name},
         {"checkpoint", canary.checkpoint()},
         {"status", answer.status()}});
  }
  Tell(Rpc::kRollback, canary.checkpoint(), answer.status());
  if (!pause) return;
  parts_.pause(reason);
  Tell(Rpc::kPauseTraining, canary.checkpoint(), absl::OkStatus());
}

void CanaryGate::Tell(Rpc rpc, const std::string& checkpoint, const absl::Status& outcome) {
  if (parts_.context->on_guard == nullptr) return;
  parts_.context->on_guard({RowOf(rpc).name, parts_.context->name, checkpoint, outcome});
}

void CanaryGate::Resume() {
  base::MutexLock lock(&mutex_);
  rollbacks_ = 0;
  pause_reason_.clear();
}

std::string CanaryGate::pause_reason() const {
  base::MutexLock lock(&mutex_);
  return pause_reason_;
}

}  // namespace engram::server
