// What the quarantine keeps from the learner: examples that it judges before a step, and those of a
// step that the learner skipped. Examples out of quarantine are learned unjudged.
#include "server/trainer.h"
#include "storage/base/status_macros.h"

namespace engram::server {

absl::Status Trainer::SetAside(strategies::BatchView* batch) {
  for (const uint64_t sequence : stage_.released()) {
    if (sequence != 0) DropHeld({sequence}, state_.mutable_proto());
  }
  if (!quarantine_.judges() || batch->rows == 0) return absl::OkStatus();
  const auto snapshot = [this] { return learner_->TakeSnapshot(applied_); };
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<Quarantine::Verdict> verdicts,
                          quarantine_.Judge(*batch, stage_.released(), snapshot,
                                            state_.mutable_proto()->mutable_quarantine()));
  std::vector<bool> kept(batch->rows, true);
  for (int64_t row = 0; row < batch->rows; ++row) {
    kept[row] = verdicts[row].reason == v1::QuarantinedExample::REASON_UNSPECIFIED;
    if (!kept[row]) HoldRow(batch->sequences[row], batch->tasks[row], verdicts[row]);
  }
  *batch = stage_.Keep(kept);
  return absl::OkStatus();
}

void Trainer::HoldRow(uint64_t sequence, int32_t task, const Quarantine::Verdict& verdict) {
  AddHeld(sequence, task, verdict, state_.mutable_proto()->mutable_quarantine());
  if (phase_ == Phase::kServing) ++context_.statistics->set_aside[verdict.reason];
}

void Trainer::NoteLearned(const strategies::BatchView& batch,
                          const strategies::StepReport& report) {
  if (!report.skipped) {
    if (quarantine_.judges()) {
      quarantine_.Learn(batch, state_.mutable_proto()->mutable_quarantine());
    }
    return;
  }
  for (int64_t row = 0; row < batch.rows; ++row) {
    HoldRow(batch.sequences[row], batch.tasks[row], {v1::QuarantinedExample::STEP_SKIPPED, 0});
  }
}

}  // namespace engram::server
