// Checkpoints and rollbacks on request, at the strand's convenience: between two records.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/errors.h"
#include "server/logging.h"
#include "server/trainer.h"
#include "storage/base/failpoint.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

constexpr size_t kBackfillRecords = 2048;

}  // namespace

absl::Status CheckVersion(uint64_t expected, uint64_t current) {
  if (expected == 0 || expected == current) return absl::OkStatus();
  return WithReason(absl::StatusCode::kAborted, "VERSION_CHANGED",
                    absl::StrCat("current is ", current, ", request expected ", expected),
                    "currentVersion", absl::StrCat(current));
}

void Trainer::SetPaused(bool paused) {
  paused_ = paused;
  if (paused) {
    RequestCheckpoint("", true, nullptr);
  } else {
    canary_.Resume();
    context_.wake();
  }
}

void Trainer::RequestCheckpoint(std::string label, bool automatic, OnCheckpoint done) {
  absl::Status refused;
  {
    base::MutexLock lock(&commands_mutex_);
    refused = abandoned_;
    if (refused.ok()) {
      checkpoint_requests_.push_back({std::move(label), automatic, std::move(done)});
    }
  }
  if (!refused.ok() && done != nullptr) done(refused);
  context_.wake();
}

void Trainer::RequestRollback(const v1::RollbackRequest& request, OnRollback done,
                              bool automatic) {
  absl::Status refused;
  {
    base::MutexLock lock(&commands_mutex_);
    refused = abandoned_;
    if (refused.ok() && rolling_back_) {
      refused = WithReason(absl::StatusCode::kAborted, "ROLLBACK_IN_PROGRESS",
                           "rollback in progress");
    }
    if (refused.ok()) {
      rolling_back_ = true;
      rollback_request_ = std::make_unique<RollbackRequest>(
          RollbackRequest{request, std::move(done), context_.clock->Monotonic(), automatic});
    }
  }
  if (!refused.ok()) return done(refused);
  context_.wake();
}

void Trainer::Abandon(const absl::Status& why) {
  std::vector<CheckpointRequest> checkpoints;
  std::vector<OnPromotion> promotions;
  std::unique_ptr<RollbackRequest> rollback;
  std::deque<ErasureRequest> erasures;
  {
    base::MutexLock lock(&commands_mutex_);
    abandoned_ = why;
    erasures.swap(erasure_requests_);
    checkpoints.swap(checkpoint_requests_);
    promotions.swap(promotion_requests_);
    rollback.swap(rollback_request_);
  }
  for (CheckpointRequest& request : checkpoints) {
    if (request.done != nullptr) request.done(why);
  }
  for (OnPromotion& done : promotions) done(why);
  for (ErasureRequest& erasure : erasures) erasure.done(why);
  if (rollback != nullptr) rollback->done(why);
}

void Trainer::RunCommands() {
  if (phase_ == Phase::kRecovering || backfill_from_ != 0) return;
  std::vector<CheckpointRequest> checkpoints;
  std::vector<OnPromotion> promotions;
  std::unique_ptr<RollbackRequest> rollback;
  {
    base::MutexLock lock(&commands_mutex_);
    checkpoints.swap(checkpoint_requests_);
    promotions.swap(promotion_requests_);
    // Not to a checkpoint that an erasure is about to delete.
    if (erasure_step_ == ErasureStep::kNone) rollback.swap(rollback_request_);
  }
  for (CheckpointRequest& request : checkpoints) SaveCheckpoint(std::move(request));
  for (OnPromotion& done : promotions) SubmitPromotion(std::move(done));
  if (rollback != nullptr) StartRollback(std::move(*rollback));
}

void Trainer::StartRollback(RollbackRequest request) {
  auto prepared = PrepareRollback(request);
  if (prepared.ok() && *prepared != nullptr) {
    rollback_ = std::move(*prepared);
    return;
  }
  {
    base::MutexLock lock(&commands_mutex_);
    rolling_back_ = false;
  }
  if (!prepared.ok()) return request.done(prepared.status());
  // The checkpoint is what is served, and nothing came after it.
  v1::RollbackResponse response;
  response.set_previous_version(applied_);
  response.set_restored_sequence(applied_);
  response.set_checkpoint(request.request.checkpoint());
  response.set_seconds(
      absl::ToDoubleSeconds(context_.clock->Monotonic() - request.started));
  request.done(response);
}

// Null: nothing to do. Loads and verifies before anything is promised in the log.
absl::StatusOr<std::unique_ptr<Trainer::PendingRollback>> Trainer::PrepareRollback(
    const RollbackRequest& request) {
  const uint64_t version = published_;
  ENGRAM_RETURN_IF_ERROR(CheckVersion(request.request.expected_current_version(), version));
  auto pending = std::make_unique<PendingRollback>();
  ENGRAM_ASSIGN_OR_RETURN(pending->checkpoint,
                          parts_.checkpoints->FindAndPin(request.request.checkpoint()));
  const storage::CheckpointRow& row = pending->checkpoint;
  if (phase_ == Phase::kServing && row.applied == applied_ &&
      context_.store->log().AssignedSequence(context_.uid) == applied_) {
    parts_.checkpoints->Unpin(row.id);
    return std::unique_ptr<PendingRollback>();
  }
  auto submitted = [&]() -> absl::Status {
    ENGRAM_ASSIGN_OR_RETURN(const StreamState state, StreamState::Parse(row.stream_state));
    ENGRAM_ASSIGN_OR_RETURN(pending->learner, parts_.checkpoints->Load(row));
    ENGRAM_RETURN_IF_ERROR(ENGRAM_FAILPOINT_STATUS("rollback.before_record"));
    pending->durable = std::make_shared<DurableFlag>();
    // The committer may answer after the model is gone: nothing of it is captured.
    auto on_durable = [flag = pending->durable, wake = context_.wake](const absl::Status& status) {
      flag->Set(status);
      wake();
    };
    ENGRAM_ASSIGN_OR_RETURN(pending->plan, parts_.admission->Rollback(row.id, row.applied, state,
                                                                      std::move(on_durable)));
    return absl::OkStatus();
  }();
  if (!submitted.ok()) {
    parts_.checkpoints->Unpin(row.id);
    return submitted;
  }
  ENGRAM_FAILPOINT("rollback.submitted");
  v1::RollbackResponse& response = pending->response;
  response.set_checkpoint(row.id);
  response.set_previous_version(version);
  response.set_restored_sequence(row.applied);
  response.set_rollback_sequence(pending->plan.record);
  response.set_dropped_examples(pending->plan.dropped_examples);
  if (pending->plan.record > row.applied + 1) {
    response.mutable_dropped()->set_first(row.applied + 1);
    response.mutable_dropped()->set_last(pending->plan.record - 1);
  }
  pending->request = request;
  return pending;
}

bool Trainer::ContinueRollback() {
  const absl::optional<absl::Status> durable = rollback_->durable->Get();
  if (!durable.has_value()) return false;
  std::unique_ptr<PendingRollback> pending = std::move(rollback_);
  absl::Status status = *durable;
  if (status.ok()) {
    ENGRAM_FAILPOINT("rollback.durable");
    LoggedRollback logged;
    logged.sequence = pending->plan.record;
    logged.record.set_checkpoint(pending->checkpoint.id);
    logged.record.set_restored_sequence(pending->checkpoint.applied);
    logged.record.set_dropped_examples(pending->plan.dropped_examples);
    *logged.record.mutable_stream_state() = pending->plan.after.proto();
    const Rewinds& rewinds = pending->plan.after.proto().rewinds();
    for (const std::string& task : parts_.report->UndoneWith(rewinds)) {
      pending->response.add_undone_boundaries(task);
    }
    phase_ = Phase::kServing;
    status = Jump(logged, pending->learner);
    ENGRAM_FAILPOINT("rollback.jumped");
    if (status.ok()) status = Publish();
    alias_due_ = logged.sequence;
    alias_source_ = pending->checkpoint.id;
    if (status.ok()) RecordRollback(logged);
    if (!status.ok()) Fail(status);
  }
  if (status.ok()) {
    ModelStatistics& statistics = *context_.statistics;
    ++(pending->request.automatic ? statistics.automatic_rollbacks : statistics.manual_rollbacks);
    UpdateProgress(false);
  } else {
    parts_.checkpoints->Unpin(pending->checkpoint.id);
  }
  {
    base::MutexLock lock(&commands_mutex_);
    rolling_back_ = false;
  }
  pending->response.set_seconds(
      absl::ToDoubleSeconds(context_.clock->Monotonic() - pending->request.started));
  pending->request.done(status.ok() ? absl::StatusOr<v1::RollbackResponse>(pending->response)
                                    : status);
  ENGRAM_FAILPOINT("rollback.answered");
  return true;
}

// Stands the trainer behind a rollback record. What it had read or staged is dropped; held-out rows
// among the records it passes over are fetched later (Backfill).
absl::Status Trainer::Jump(const LoggedRollback& rollback, const RestorableLearner& learner) {
  StreamState after(rollback.record.stream_state());
  ENGRAM_RETURN_IF_ERROR(RestoreLearners(after, learner));
  // What an answer still on its way says is of another time.
  tune_end_submitted_ = std::make_shared<std::atomic<bool>>(false);
  backfill_from_ = applied_ + 1;
  backfill_to_ = rollback.sequence - 1;
  backfill_state_ = std::move(state_);
  state_ = std::move(after);
  counters_ = state_.Counters();
  view_ = nullptr;
  stage_.Clear();
  chunk_.clear();
  cursor_ = rollback.sequence + 1;
  applied_ = rollback.sequence;
  newest_checkpoint_ = std::max(newest_checkpoint_, rollback.record.restored_sequence());
  return absl::OkStatus();
}

// The durable traces of a rollback.
void Trainer::RecordRollback(const LoggedRollback& rollback) {
  internal::ReportRow row;
  v1::ReportEvent::RolledBack* event = row.mutable_rolled_back();
  event->set_sequence(rollback.sequence);
  event->set_checkpoint(rollback.record.checkpoint());
  event->set_restored_sequence(rollback.record.restored_sequence());
  event->set_dropped_examples(rollback.record.dropped_examples());
  if (parts_.report->Has(rollback.sequence)) return;
  parts_.report->AddRollback(*event);
  Log(LogLevel::kInfo, "rolled_back",
      {{"model", context_.name},
       {"sequence", rollback.sequence},
       {"restored", rollback.record.restored_sequence()},
       {"dropped_examples", rollback.record.dropped_examples()}});
  PushJob([this, row] {
    const v1::ReportEvent::RolledBack& event = row.rolled_back();
    ENGRAM_FAILPOINT("rollback.before_traces");
    absl::Status status = context_.store->catalog().PutReportRow(context_.uid, event.sequence(),
                                                                 row.SerializeAsString());
    status.Update(context_.store->importance().RemoveRange(context_.uid, event.restored_sequence(),
                                                           event.sequence()));
    if (!status.ok()) {
      Log(LogLevel::kWarning, "rollback_traces_not_stored",
          {{"model", context_.name}, {"sequence", event.sequence()}, {"status", status}});
    }
    parts_.report->AnnounceReport(CurrentReport());
  });
}

// Records that a jump passed over are read once more, for what a rollback does not undo: held-out
// rows, and the rollbacks among them. Their tasks are those of their time.
absl::Status Trainer::Backfill(Turn* turn) {
  if (backfill_from_ == 0) return absl::OkStatus();
  if (backfill_from_ <= backfill_to_) {
    ENGRAM_ASSIGN_OR_RETURN(
        const auto records,
        context_.store->log().Read(context_.uid, backfill_from_, kBackfillRecords, 4 << 20));
    for (const storage::LogRecord& record : records) {
      if (record.sequence > backfill_to_) break;
      ENGRAM_RETURN_IF_ERROR(PassOver(record));
      backfill_from_ = record.sequence + 1;
    }
    if (records.empty()) return absl::DataLossError("the log ends before a rollback record");
    turn->examples += static_cast<int64_t>(records.size());
  }
  if (backfill_from_ <= backfill_to_) return absl::OkStatus();
  backfill_from_ = 0;
  backfill_state_ = StreamState();
  StoreAlias();
  return absl::OkStatus();
}

absl::Status Trainer::PassOver(const storage::LogRecord& record) {
  const auto kind = static_cast<RecordKind>(record.kind);
  if (kind == RecordKind::kRollback) {
    LoggedRollback rollback;
    rollback.sequence = record.sequence;
    if (rollback.record.ParseFromString(record.payload)) RecordRollback(rollback);
  }
  if (kind == RecordKind::kExample) {
    v1::Example example;
    if (example.ParseFromString(record.payload) &&
        backfill_state_.IsHeldOut(example.split(), record.sequence)) {
      const std::string& task = example.task().empty() ? backfill_state_.current_task().name()
                                                       : example.task();
      parts_.held_out->Add(task, record.sequence, example);
    }
  }
  return backfill_state_.Apply(kind, record.payload, record.sequence);
}

// A checkpoint at the rollback's record that shares the target's file; from then on the target need
// not be pinned. Not before the held-out rows behind it are safe: the log may be trimmed up to it.
void Trainer::StoreAlias() {
  if (alias_due_ == 0) return;
  newest_checkpoint_ = std::max(newest_checkpoint_, alias_due_);
  StreamState state = state_;
  state.SetCounters(counters_);
  PushJob([this, record = alias_due_, source = alias_source_,
           bytes = state.proto().SerializeAsString()] {
    absl::Status status = parts_.held_out->WriteAdded();
    if (status.ok()) status = ENGRAM_FAILPOINT_STATUS("rollback.before_alias");
    if (status.ok()) status = parts_.checkpoints->Alias(source, record, bytes).status();
    ENGRAM_FAILPOINT("rollback.after_alias");
    if (status.ok()) {
      parts_.checkpoints->Unpin(source);
    } else {
      Log(LogLevel::kWarning, "rollback_checkpoint_not_stored",
          {{"model", context_.name}, {"sequence", record}, {"status", status}});
    }
  });
  alias_due_ = 0;
}

}  // namespace engram::server
