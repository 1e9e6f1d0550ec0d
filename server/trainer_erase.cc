// Erasing examples, the learner's side. While the examples are removed from the store the strand
// rests. Then, where that is possible, it starts over from a state before the first of them, as a
// restart would, and learns again without them; otherwise the learner lets go of its exemplars.
// What was served before is served until then. The log takes records all the while.
#include <utility>

#include "absl/algorithm/container.h"
#include "absl/strings/str_cat.h"
#include "server/logging.h"
#include "server/trainer.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

// A learner restored from a payload without bytes goes on without that exemplar.
bool Blank(const internal::Erasure& erasure, RestorableLearner* learner) {
  bool any = false;
  for (strategies::MemberPayload& payload : learner->payloads) {
    if (!absl::c_binary_search(erasure.sequences(), payload.key.sequence)) continue;
    payload.bytes.clear();
    any = true;
  }
  for (RestorableLearner& shadow : learner->shadows) any |= Blank(erasure, &shadow);
  return any;
}

}  // namespace

void Trainer::RequestErasure(const v1::EraseRequest& request, OnErased done) {
  absl::Status refused;
  {
    base::MutexLock lock(&commands_mutex_);
    refused = abandoned_;
    if (refused.ok()) erasure_requests_.push_back({request, std::move(done)});
  }
  if (!refused.ok()) return done(refused);
  context_.wake();
}

bool Trainer::TendErasure() {
  if (head_stale_ && phase_ == Phase::kServing) RefreshHead();
  switch (erasure_step_) {
    case ErasureStep::kNone:
      return StartErasure();
    case ErasureStep::kRemoving: {
      const absl::optional<absl::Status> removed = erasure_job_->Get();
      if (!removed.has_value()) return true;
      removed->ok() ? ContinueErasure() : EndErasure(*removed);
      return false;
    }
    case ErasureStep::kLearning:
      if (phase_ == Phase::kFailed) EndErasure(progress().failure);
      if (phase_ == Phase::kServing && applied_ >= replay_to_ && backfill_from_ == 0) {
        SaveCleanCheckpoint();
      }
      return false;
    case ErasureStep::kSaving: {
      const absl::optional<absl::Status> saved = erasure_job_->Get();
      if (saved.has_value()) saved->ok() ? PushFinish() : EndErasure(*saved);
      return false;
    }
    case ErasureStep::kFinishing: {
      const absl::optional<absl::Status> finished = erasure_job_->Get();
      if (finished.has_value()) EndErasure(*finished);
      return false;
    }
  }
  return false;
}

// One at a time, between two records, and with nothing of the model on its way to the disk.
bool Trainer::StartErasure() {
  if (phase_ == Phase::kRecovering || rollback_ != nullptr || backfill_from_ != 0) return false;
  {
    base::MutexLock lock(&commands_mutex_);
    if (erasure_requests_.empty() || rolling_back_) return false;
    if (jobs_ > 0) return true;  // the end of a job wakes the strand
    if (!parts_.quarantine->CloseForErasure()) return true;
    erasure_request_ = std::make_unique<ErasureRequest>(std::move(erasure_requests_.front()));
    erasure_requests_.pop_front();
  }
  erasure_step_ = ErasureStep::kRemoving;
  erasure_job_ = std::make_shared<DurableFlag>();
  PushJob([this, flag = erasure_job_, request = erasure_request_->request, applied = applied_] {
    flag->Set(RemoveErased(request, applied));
  });
  return true;
}

// One that has failed before comes first.
absl::Status Trainer::RemoveErased(const v1::EraseRequest& request, uint64_t applied) {
  ENGRAM_ASSIGN_OR_RETURN(auto interrupted, eraser_.Interrupted());
  erasure_is_older_ = interrupted.has_value();
  if (erasure_is_older_) {
    erasure_ = *std::move(interrupted);
  } else {
    ENGRAM_ASSIGN_OR_RETURN(erasure_, eraser_.Begin(request, applied));
  }
  ENGRAM_RETURN_IF_ERROR(parts_.held_out->WriteAdded());
  return eraser_.Remove(&erasure_);
}

void Trainer::ContinueErasure() {
  parts_.quarantine->OpenAfterErasure();
  if (erasure_.phase() == internal::Erasure::DONE) return EndErasure(absl::OkStatus());
  erasure_step_ = ErasureStep::kLearning;
  const absl::Status status = erasure_.rebuild() ? StartOver() : ForgetExemplars();
  if (status.ok()) return;
  Fail(status);
  context_.wake();
}

// As after a restart, while what is served stays.
absl::Status Trainer::StartOver() {
  replay_to_ = erasure_.applied();
  phase_ = Phase::kRecovering;
  began_at_ = context_.clock->Monotonic();
  stage_.Clear();
  chunk_.clear();
  shadows_.Clear();
  rollbacks_.clear();
  state_ = StreamState::Fresh(created_spec_);
  counters_ = StepCounters();
  tune_end_submitted_ = std::make_shared<std::atomic<bool>>(false);
  view_ = nullptr;
  published_ = kNothingPublished;
  examples_since_checkpoint_ = 0;
  newest_checkpoint_ = 0;
  alias_due_ = 0;
  applied_ = 0;
  cursor_ = 1;
  return Begin();
}

// The weights stay. What was read and not yet cut is read again: it may be a tombstone now.
absl::Status Trainer::ForgetExemplars() {
  replay_to_ = 0;
  if (phase_ != Phase::kServing) return absl::OkStatus();
  stage_.Clear();
  chunk_.clear();
  cursor_ = applied_ + 1;
  const bool listed = DropHeld(erasure_.sequences(), state_.mutable_proto()) > 0;
  ENGRAM_ASSIGN_OR_RETURN(RestorableLearner learner, Capture(*learner_));
  ENGRAM_RETURN_IF_ERROR(shadows_.CaptureInto(&learner));
  if (!Blank(erasure_, &learner) && !listed) return absl::OkStatus();
  ENGRAM_RETURN_IF_ERROR(RestoreLearners(state_, learner));
  published_ = kNothingPublished;  // a snapshot may hold exemplars, too
  return Publish();
}

// At a start: what a crash left.
absl::Status Trainer::ResumeErasure() {
  if (erasure_step_ != ErasureStep::kNone) return absl::OkStatus();
  ENGRAM_ASSIGN_OR_RETURN(auto interrupted, eraser_.Interrupted());
  if (!interrupted.has_value()) return absl::OkStatus();
  erasure_ = *std::move(interrupted);
  Log(LogLevel::kInfo, "erasure_resumed",
      {{"model", context_.name}, {"phase", internal::Erasure::Phase_Name(erasure_.phase())}});
  ENGRAM_RETURN_IF_ERROR(eraser_.Remove(&erasure_));
  erasure_step_ = ErasureStep::kLearning;
  forget_due_ = !erasure_.rebuild();
  replay_to_ = erasure_.rebuild() ? erasure_.applied() : 0;
  return absl::OkStatus();
}

// During the replay: the checkpoints with a label that had to go.
void Trainer::RemakeCheckpoints() {
  if (erasure_step_ != ErasureStep::kLearning || !erasure_.rebuild()) return;
  for (const auto& remake : erasure_.remakes()) {
    if (remake.applied() != applied_) continue;
    SaveCheckpoint({remake.label(), false, [this](const absl::StatusOr<v1::Checkpoint>& made) {
                      if (made.ok()) ++remade_checkpoints_;
                    }});
  }
}

void Trainer::SaveCleanCheckpoint() {
  if (std::exchange(forget_due_, false)) {
    const absl::Status forgotten = ForgetExemplars();
    if (!forgotten.ok()) {
      Fail(forgotten);
      return context_.wake();
    }
  }
  erasure_step_ = ErasureStep::kSaving;
  erasure_job_ = std::make_shared<DurableFlag>();
  // Of a model that had to keep its weights this is the one to go back to: also where there is
  // another of the same sequence.
  if (!erasure_.rebuild()) newest_checkpoint_ = 0;
  const auto done = [this, flag = erasure_job_](const absl::StatusOr<v1::Checkpoint>& made) {
    clean_checkpoint_ = made.ok() ? made->id() : "";
    flag->Set(absl::IsAlreadyExists(made.status()) ? absl::OkStatus() : made.status());
  };
  SaveCheckpoint({"", true, done});
  context_.wake();
}

void Trainer::PushFinish() {
  erasure_step_ = ErasureStep::kFinishing;
  erasure_job_ = std::make_shared<DurableFlag>();
  PushJob([this, flag = erasure_job_] {
    v1::EraseResponse* receipt = erasure_.mutable_receipt();
    receipt->set_remade_checkpoints(remade_checkpoints_.exchange(0));
    flag->Set(eraser_.Finish(&erasure_, clean_checkpoint_));
  });
}

void Trainer::EndErasure(const absl::Status& status) {
  const bool was_done_now = erasure_step_ == ErasureStep::kFinishing;
  erasure_step_ = ErasureStep::kNone;
  parts_.quarantine->OpenAfterErasure();
  const v1::EraseResponse& receipt = erasure_.receipt();
  if (!status.ok()) {
    Log(LogLevel::kWarning, "erasure_not_done", {{"model", context_.name}, {"status", status}});
  } else if (was_done_now) {
    ++context_.statistics->erasures;
    context_.statistics->erased_examples += receipt.erased_examples();
    Log(LogLevel::kInfo, "erased",
        {{"model", context_.name},
         {"examples", receipt.erased_examples()},
         {"weights", v1::EraseResponse::Weights_Name(receipt.weights())}});
  }
  parts_.on_erased();
  context_.wake();  // for the next one
  if (erasure_request_ == nullptr) return;
  const std::unique_ptr<ErasureRequest> request = std::move(erasure_request_);
  if (status.ok() && erasure_is_older_) {
    return RequestErasure(request->request, std::move(request->done));
  }
  request->done(status.ok() ? absl::StatusOr<v1::EraseResponse>(receipt) : status);
}

// Admission counts what it lets in; what it counted of erased examples is corrected as soon as
// nothing is between it and the disk.
void Trainer::RefreshHead() {
  StreamState head = state_;
  uint64_t through = applied_;
  const storage::SampleLog& log = context_.store->log();
  while (through < log.DurableSequence(context_.uid)) {
    const auto records = log.Read(context_.uid, through + 1, kScanRecords, kScanBytes);
    if (!records.ok() || records->empty()) return;
    for (const storage::LogRecord& record : *records) {
      const auto kind = static_cast<RecordKind>(record.kind);
      if (!head.Apply(kind, record.payload, record.sequence).ok()) return;
      through = record.sequence;
    }
  }
  head_stale_ = !parts_.admission->Replace(std::move(head), through);
}

}  // namespace engram::server
