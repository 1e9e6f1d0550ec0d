#include "server/trainer.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/logging.h"
#include "server/spec_options.h"
#include "storage/base/failpoint.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

constexpr int64_t kTurnExamples = 512;
constexpr size_t kChunkRecords = 512;
constexpr size_t kChunkBytes = 4 << 20;
constexpr int64_t kJobsMax = 4;
constexpr double kPrequentialFade = 0.999;
// Copying parameters may take at most this share of the trainer's time.
constexpr int kPublishShare = 20;
constexpr absl::Duration kFlushRetry = absl::Milliseconds(100);

}  // namespace

Trainer::Trainer(TrainerParts parts, const v1::ModelSpec& spec, const storage::ModelRow& row)
    : context_(*parts.context),
      parts_(parts),
      created_spec_(spec),
      canary_({&context_, parts.report, parts.checkpoints,
               [this](const v1::RollbackRequest& request, OnRollback done) {
                 RequestRollback(request, std::move(done), /*automatic=*/true);
               },
               [this](const std::string& reason) { PauseForGuard(reason); }},
              spec.guard(), row.pause_reason),
      state_(StreamState::Fresh(spec)),
      stage_(spec),
      quarantine_(spec),
      eraser_(parts.context, parts.held_out, parts.checkpoints),
      paused_(row.paused) {}

Trainer::~Trainer() {
  if (erasure_request_ == nullptr) return;
  base::MutexLock lock(&commands_mutex_);
  erasure_request_->done(abandoned_.ok() ? absl::UnavailableError("shutting down") : abandoned_);
}

Turn Trainer::RunOnce() {
  if (!begun_) {
    begun_ = true;
    began_at_ = context_.clock->Monotonic();
    const absl::Status begun = Begin();
    if (!begun.ok()) Fail(begun);
  }
  Turn turn;
  if (TendErasure()) {
    UpdateProgress(false);
    return turn;
  }
  RunCommands();
  if (rollback_ != nullptr && !ContinueRollback()) {
    UpdateProgress(false);
    return turn;
  }
  if (phase_ != Phase::kFailed) turn = Train();
  // Learned again, or failed: the next turn sees to the rest of the erasure.
  turn.more |= erasure_step_ == ErasureStep::kLearning && phase_ != Phase::kRecovering;
  return turn;
}

Turn Trainer::Train() {
  Turn turn;
  absl::Status status = Backfill(&turn);
  if (status.ok() && backfill_from_ != 0) {
    turn.more = true;
    return turn;
  }
  bool caught_up = false;
  const auto rests = [this] { return paused_ && applied_ >= replay_to_; };
  while (status.ok() && !rests() && backfill_from_ == 0 && turn.examples < kTurnExamples) {
    if (jobs_ >= kJobsMax) break;  // the end of a job wakes the strand
    storage::LogRecord record;
    const auto got = NextRecord(&record);
    status = got.status();
    caught_up = got.ok() && !*got;
    if (!status.ok() || caught_up) break;
    const uint64_t before = applied_;
    status = Take(record);
    turn.examples += 1 + shadows_.alive();
    if (status.ok() && applied_ != before) status = MaybePublish(false, &turn);
  }
  const bool idle = caught_up || rests();
  if (status.ok() && idle && phase_ == Phase::kRecovering) status = FinishRecovery();
  if (status.ok() && idle) status = MaybePublish(true, &turn);
  if (!status.ok()) {
    Fail(status);
    return Turn{};
  }
  if (caught_up) MaybeFlush(&turn);
  EndDecidedTune(&turn);
  MaybeEvaluateLive();
  MaybeCheckpoint();
  turn.more = !idle && jobs_ < kJobsMax;
  UpdateProgress(idle && published_ == applied_ &&
                 (paused_ || stage_.train_rows() == 0 || state_.spec().max_batch_wait_ms() == 0));
  return turn;
}

absl::StatusOr<bool> Trainer::NextRecord(storage::LogRecord* record) {
  if (chunk_.empty()) {
    ENGRAM_ASSIGN_OR_RETURN(auto records, context_.store->log().Read(context_.uid, cursor_,
                                                                     kChunkRecords, kChunkBytes));
    if (records.empty()) return false;
    cursor_ = records.back().sequence + 1;
    chunk_.assign(std::make_move_iterator(records.begin()),
                  std::make_move_iterator(records.end()));
  }
  *record = std::move(chunk_.front());
  chunk_.pop_front();
  return true;
}

absl::Status Trainer::Take(const storage::LogRecord& record) {
  switch (static_cast<RecordKind>(record.kind)) {
    case RecordKind::kReleased:
      NoteReleases();
      [[fallthrough]];
    case RecordKind::kExample:
    case RecordKind::kErased:
      if (stage_.train_rows() == 0) staged_since_ = context_.clock->Monotonic();
      ENGRAM_RETURN_IF_ERROR(stage_.Add(record, state_));
      return stage_.CutDue(state_.spec().batch_size()) ? Cut() : absl::OkStatus();
    case RecordKind::kFlush:
      ENGRAM_RETURN_IF_ERROR(Cut());
      return SetApplied(record.sequence);
    case RecordKind::kBoundary:
      ENGRAM_RETURN_IF_ERROR(Cut());
      return PassBoundary(record);
    case RecordKind::kConfiguration:
      ENGRAM_RETURN_IF_ERROR(Cut());
      return PassConfiguration(record);
    case RecordKind::kRollback:
      return PassRollback(record);
  }
  return absl::DataLossError(
      absl::StrCat("log record ", record.sequence, ": unknown kind ", record.kind));
}

// Written, perhaps, by an engramd that did not raise the format for it.
void Trainer::NoteReleases() {
  const absl::Status raised = context_.store->RequireFormat(kFormatOfReleases);
  if (raised.ok()) return;
  Log(LogLevel::kWarning, "store_format_not_raised",
      {{"model", context_.name}, {"status", raised}});
}

absl::Status Trainer::Cut() {
  if (stage_.empty()) return absl::OkStatus();
  const uint64_t last = stage_.last_sequence();
  strategies::BatchView batch = stage_.Cut(&state_, parts_.held_out);
  ENGRAM_RETURN_IF_ERROR(SetAside(&batch));
  if (batch.rows > 0) {
    const absl::Duration started = context_.clock->Monotonic();
    absl::StatusOr<strategies::StepReport> report = learner_->Train(batch);
    if (absl::IsInvalidArgument(report.status()) || absl::IsResourceExhausted(report.status())) {
      // The learner is unchanged: the batch counts as applied and skipped, now and in a replay.
      strategies::StepReport skipped;
      skipped.rows = batch.rows;
      skipped.skipped = true;
      skipped.skip_reason = std::string(report.status().message());
      report = skipped;
    }
    if (!report.ok()) return report.status();
    context_.statistics->step_seconds.Observe(
        absl::ToDoubleSeconds(context_.clock->Monotonic() - started));
    report->rows = batch.rows;
    CountStep(*report);
    NoteLearned(batch, *report);
    TrainShadows(batch, *report);
    DecideTuneIfDue();
  }
  stage_.Clear();
  return SetApplied(last);
}

void Trainer::CountStep(const strategies::StepReport& report) {
  ModelStatistics& statistics = *context_.statistics;
  ++counters_.steps;
  ++statistics.steps;
  ++steps_since_publish_;
  statistics.trained_examples += report.rows;
  examples_since_checkpoint_ += report.rows;
  examples_since_evaluation_ += report.rows;
  if (phase_ == Phase::kRecovering) statistics.recovery_replayed_examples += report.rows;
  if (report.skipped) {
    ++counters_.skipped_batches;
    // A replay skips what was skipped before: nothing new, and an alert counts on that.
    if (phase_ == Phase::kServing) ++statistics.skipped_batches;
    Log(LogLevel::kWarning, "batch_skipped",
        {{"model", context_.name}, {"after_sequence", applied_}, {"reason", report.skip_reason}});
    return;
  }
  statistics.train_loss = report.loss;
  const double fade = std::pow(kPrequentialFade, static_cast<double>(report.rows));
  counters_.prequential_correct = counters_.prequential_correct * fade + report.correct;
  counters_.prequential_weight = counters_.prequential_weight * fade + report.rows;
  counters_.prequential_examples += report.rows;
  counters_.prequential_hits += report.correct;
}

absl::Status Trainer::PassBoundary(const storage::LogRecord& record) {
  internal::BoundaryRecord boundary;
  if (!boundary.ParseFromString(record.payload)) {
    return absl::DataLossError(
        absl::StrCat("log record ", record.sequence, ": not a valid boundary"));
  }
  const StreamState::BoundaryRole role = state_.ApplyBoundary(boundary);
  ENGRAM_ASSIGN_OR_RETURN(
      auto report, learner_->MarkBoundary({role.ended_task, role.next_task, record.sequence}));
  ENGRAM_FAILPOINT("boundary.consolidated");
  shadows_.MarkBoundary({role.ended_task, role.next_task, record.sequence}, &state_);
  DecideTuneIfDue();
  ENGRAM_RETURN_IF_ERROR(SetApplied(record.sequence));
  const bool drift = boundary.source() == internal::BoundaryRecord::DRIFT;
  if (phase_ == Phase::kServing) {
    ModelStatistics& statistics = *context_.statistics;
    ++(drift ? statistics.drift_boundaries : statistics.client_boundaries);
  }
  StoreImportance(record.sequence, std::move(report));
  ENGRAM_RETURN_IF_ERROR(EvaluateBoundary(record.sequence, role.ended_task, drift));
  if (phase_ == Phase::kServing) ENGRAM_RETURN_IF_ERROR(Publish());
  SaveCheckpoint({"", true, nullptr});
  return absl::OkStatus();
}

absl::Status Trainer::SetApplied(uint64_t sequence) {
  applied_ = sequence;
  if (phase_ != Phase::kRecovering) return absl::OkStatus();
  RemakeCheckpoints();
  return Recapture();
}

absl::StatusOr<Served> Trainer::TakeServed() {
  if (view_ == nullptr || view_revision_ != state_.view_revision()) {
    view_ = state_.View();
    view_revision_ = state_.view_revision();
  }
  ENGRAM_ASSIGN_OR_RETURN(auto snapshot, learner_->TakeSnapshot(applied_));
  return Served{std::move(snapshot), view_};
}

absl::Status Trainer::Publish() {
  if (published_ == applied_ && parts_.slot->Get().snapshot != nullptr) return absl::OkStatus();
  const absl::Duration started = context_.clock->Monotonic();
  ENGRAM_ASSIGN_OR_RETURN(Served served, TakeServed());
  published_at_ = context_.clock->Monotonic();
  publish_cost_ = published_at_ - started;
  published_ = applied_;
  steps_since_publish_ = 0;
  state_.SetCounters(counters_);
  strategies::LearnerGauges gauges = learner_->Gauges();
  parts_.report->SetStream(applied_, state_, gauges);
  {
    base::MutexLock lock(&progress_mutex_);
    gauges_ = std::move(gauges);
  }
  context_.statistics->published_unix_seconds =
      absl::ToDoubleSeconds(context_.clock->Now() - absl::UnixEpoch());
  ENGRAM_FAILPOINT("publish.before_swap");
  parts_.slot->Publish(std::move(served));
  parts_.quarantine->Publish(applied_, state_.proto());
  ENGRAM_FAILPOINT("publish.after_swap");
  parts_.waiters->SetApplied(applied_);
  return absl::OkStatus();
}

absl::Status Trainer::MaybePublish(bool caught_up, Turn* turn) {
  if (phase_ != Phase::kServing || published_ == applied_) return absl::OkStatus();
  const v1::ModelSpec& spec = state_.spec();
  const absl::Duration since = context_.clock->Monotonic() - published_at_;
  if (!caught_up && steps_since_publish_ < spec.publish_every_steps() &&
      since < absl::Milliseconds(spec.publish_every_ms())) {
    return absl::OkStatus();
  }
  const absl::Duration wait = kPublishShare * publish_cost_ - since;
  if (wait <= absl::ZeroDuration()) return Publish();
  if (caught_up) turn->wake_in = std::min(turn->wake_in, wait);
  return absl::OkStatus();
}

// A partial batch that waited long enough is cut by a record, never by the clock itself.
void Trainer::MaybeFlush(Turn* turn) {
  const absl::Duration patience = absl::Milliseconds(state_.spec().max_batch_wait_ms());
  if (stage_.train_rows() == 0 || patience == absl::ZeroDuration()) return;
  const absl::Duration waited = context_.clock->Monotonic() - staged_since_;
  if (waited >= patience) {
    ENGRAM_FAILPOINT("flush.before_submit");
    parts_.admission->SubmitFlush(stage_.last_sequence());
    turn->wake_in = std::min(turn->wake_in, kFlushRetry);
  } else {
    turn->wake_in = std::min(turn->wake_in, patience - waited);
  }
}

void Trainer::Fail(const absl::Status& status) {
  phase_ = Phase::kFailed;
  Log(LogLevel::kError, "trainer_stopped",
      {{"model", context_.name}, {"applied", applied_}, {"status", status}});
  base::MutexLock lock(&progress_mutex_);
  progress_.phase = phase_;
  progress_.failure = status;
  progress_.drained = true;
}

void Trainer::UpdateProgress(bool drained) {
  base::MutexLock lock(&progress_mutex_);
  progress_.phase = phase_;
  if (phase_ == Phase::kServing) progress_.failure = absl::OkStatus();
  progress_.to_recover = recovery_to_ - recovery_from_;
  progress_.recovered =
      std::min(progress_.to_recover, std::max(applied_, recovery_from_) - recovery_from_);
  progress_.drained = drained;
  progress_.read_to = cursor_ - 1;
}

Trainer::Progress Trainer::progress() const {
  base::MutexLock lock(&progress_mutex_);
  return progress_;
}

strategies::LearnerGauges Trainer::gauges() const {
  base::MutexLock lock(&progress_mutex_);
  return gauges_;
}

}  // namespace engram::server
