// What leaves the trainer's strand: evaluation, importance snapshots, checkpoint files.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/errors.h"
#include "server/logging.h"
#include "server/trainer.h"
#include "storage/base/failpoint.h"
#include "storage/base/status_macros.h"

namespace engram::server {

// Jobs of one model end in the order they were pushed; the strand may be waiting for room.
void Trainer::PushJob(std::function<void()> job) {
  ++jobs_;
  context_.background->Push([this, job = std::move(job)] {
    job();
    --jobs_;
    context_.wake();
  });
}

void Trainer::StoreImportance(uint64_t boundary, strategies::BoundaryReport report) {
  if (report.importance.empty()) return;
  std::vector<storage::ImportanceRow> rows;
  for (size_t i = 0; i < report.importance.size(); ++i) {
    strategies::ImportanceSnapshot& snapshot = report.importance[i];
    storage::ImportanceRow row;
    row.boundary = boundary;
    row.position = static_cast<uint32_t>(i);
    row.strategy = std::move(snapshot.strategy);
    row.task = state_.proto().tasks(snapshot.task).name();
    row.estimator = std::move(snapshot.estimator);
    row.label_mode = std::move(snapshot.label_mode);
    row.examples = snapshot.examples;
    row.tensors = std::move(snapshot.tensors);
    row.bytes = static_cast<int64_t>(row.tensors.size());
    rows.push_back(std::move(row));
  }
  PushJob([this, rows = std::move(rows), bytes_max = state_.spec().importance_bytes()] {
    for (const storage::ImportanceRow& row : rows) {
      const absl::Status stored = context_.store->importance().Put(context_.uid, row, bytes_max);
      if (stored.ok()) continue;
      Log(LogLevel::kWarning, "importance_not_stored",
          {{"model", context_.name}, {"boundary", row.boundary}, {"status", stored}});
    }
  });
}

EvaluationInput Trainer::MakeEvaluationInput(Served served) {
  EvaluationInput input;
  input.labels = served.view->labels;
  input.tasks.assign(state_.proto().tasks().begin(), state_.proto().tasks().end());
  input.held_out = parts_.held_out->Share();
  input.served = std::move(served);
  return input;
}

// A replayed boundary that has its row is not evaluated again.
absl::Status Trainer::EvaluateBoundary(uint64_t boundary, int32_t ended_task, bool drift) {
  if (parts_.report->Has(boundary)) return absl::OkStatus();
  v1::AccuracyRow row;
  row.set_sequence(boundary);
  row.set_ended_task(state_.proto().tasks(ended_task).name());
  row.set_drift(drift);
  ENGRAM_ASSIGN_OR_RETURN(Served served, TakeServed());
  const EvaluationInput input = MakeEvaluationInput(std::move(served));
  EvaluationInput untrained = input;
  untrained.served.snapshot = untrained_;
  for (auto& task : untrained.tasks) task.clear_classes();
  parts_.report->OpenBoundary(boundary, row.ended_task());
  parts_.waiters->SetOldestOpenBoundary(parts_.report->OldestOpenBoundary());
  PushJob([this, input, untrained, columns = parts_.report->ColumnsWithoutBaseline(state_),
           row] { RunEvaluation(input, untrained, columns, row); });
  return absl::OkStatus();
}

void Trainer::RunEvaluation(const EvaluationInput& input, const EvaluationInput& untrained,
                            const std::vector<int32_t>& columns, const v1::AccuracyRow& boundary) {
  const uint64_t sequence = boundary.sequence();
  const absl::Status status = [&]() -> absl::Status {
    internal::ReportRow row;
    ENGRAM_ASSIGN_OR_RETURN(*row.mutable_accuracy(), EvaluateRow(input));
    row.mutable_accuracy()->MergeFrom(boundary);
    ENGRAM_ASSIGN_OR_RETURN(const auto baselines, EvaluateBaselines(untrained, columns));
    for (const auto& baseline : baselines) *row.add_baselines() = baseline;
    ENGRAM_RETURN_IF_ERROR(ENGRAM_FAILPOINT_STATUS("boundary.before_row"));
    ENGRAM_RETURN_IF_ERROR(context_.store->catalog().PutReportRow(context_.uid, sequence,
                                                                  row.SerializeAsString()));
    parts_.report->AddRow(row);
    Judge(input, row.accuracy(), /*boundary=*/true);
    return absl::OkStatus();
  }();
  if (!status.ok()) {
    parts_.report->DropBoundary(sequence);
    Log(LogLevel::kError, "boundary_not_evaluated",
        {{"model", context_.name}, {"boundary", sequence}, {"status", status}});
  }
  parts_.report->AnnounceReport(CurrentReport());
  parts_.waiters->SetOldestOpenBoundary(parts_.report->OldestOpenBoundary());
}

v1::Report Trainer::CurrentReport() const {
  return parts_.report->Report(context_.store->log().DurableSequence(context_.uid),
                               parts_.held_out->Counts());
}

// Between boundaries, on what is served, within the share of time that the configuration allows.
void Trainer::MaybeEvaluateLive() {
  const int64_t every = state_.spec().evaluate_every_examples();
  if (phase_ != Phase::kServing || every == 0 || examples_since_evaluation_ < every) return;
  const absl::Duration now = context_.clock->Monotonic();
  const absl::Duration cost = absl::Nanoseconds(live_evaluation_ns_.load());
  const double share = *context_.live_evaluation_share.Get();
  if (evaluating_live_ || cost > share * (now - evaluated_at_)) return;
  evaluating_live_ = true;
  examples_since_evaluation_ = 0;
  evaluated_at_ = now;
  PushJob([this, input = MakeEvaluationInput(parts_.slot->Get())] {
    const absl::Duration started = context_.clock->Monotonic();
    auto row = EvaluateRow(input);
    live_evaluation_ns_ = absl::ToInt64Nanoseconds(context_.clock->Monotonic() - started);
    evaluating_live_ = false;
    if (!row.ok()) {
      Log(LogLevel::kWarning, "live_evaluation_failed",
          {{"model", context_.name}, {"status", row.status()}});
      return;
    }
    row->set_sequence(input.served.version());
    parts_.report->SetLive(*row);
    Judge(input, *row, /*boundary=*/false);
  });
}

// Not while recovering: what a replay passes may be undone further on in the log.
void Trainer::Judge(const EvaluationInput& input, const v1::AccuracyRow& row, bool boundary) {
  if (progress().phase == Phase::kServing) canary_.Judge(input.tasks, row, boundary);
}

// On the strand, so that not one example more is trained; durable before anybody sees it.
void Trainer::PauseForGuard(const std::string& reason) {
  const absl::Status stored = context_.store->catalog().PauseFor(context_.uid, reason);
  if (!stored.ok()) {
    Log(LogLevel::kWarning, "canary_pause_not_stored",
        {{"model", context_.name}, {"status", stored}});
  }
  SetPaused(true);
}

void Trainer::MaybeCheckpoint() {
  if (examples_since_checkpoint_ < state_.spec().checkpoint_every_examples()) return;
  SaveCheckpoint({"", true, nullptr});
}

// The learner and state_ stand exactly at applied_ between two records, whatever is staged.
void Trainer::SaveCheckpoint(CheckpointRequest request) {
  if (request.done == nullptr) request.done = [](const absl::StatusOr<v1::Checkpoint>&) {};
  if (phase_ == Phase::kFailed) {
    return request.done(WrongState("MODEL", context_.name, "the trainer has stopped"));
  }
  if (request.automatic) {
    examples_since_checkpoint_ = 0;
    if (applied_ <= newest_checkpoint_) {
      return request.done(absl::AlreadyExistsError("there is a checkpoint of this state"));
    }
  }
  state_.SetCounters(counters_);
  auto pending = parts_.checkpoints->Save(LearnersToSave(), applied_, state_.proto(),
                                          request.label, request.automatic);
  if (!pending.ok()) {
    Log(LogLevel::kWarning, "checkpoint_not_saved",
        {{"model", context_.name}, {"applied", applied_}, {"status", pending.status()}});
    return request.done(pending.status());
  }
  newest_checkpoint_ = std::max(newest_checkpoint_, applied_);
  PushJob([this, pending = *pending, keep = state_.spec().keep_automatic_checkpoints(),
           done = std::move(request.done)] { WriteCheckpoint(pending.get(), keep, done); });
}

void Trainer::WriteCheckpoint(CheckpointKeeper::Pending* pending, int64_t keep_automatic,
                              const OnCheckpoint& done) {
  const uint64_t applied = pending->row.applied;
  // Rows must outlive the records that a trim behind this checkpoint may drop.
  const absl::Status held_out = parts_.held_out->WriteAdded();
  auto row = parts_.checkpoints->Write(pending);
  if (!row.ok() || !held_out.ok()) {
    Log(LogLevel::kWarning, "checkpoint_not_written",
        {{"model", context_.name},
         {"applied", applied},
         {"status", row.ok() ? held_out : row.status()}});
    return done(row.ok() ? absl::StatusOr<v1::Checkpoint>(held_out) : row.status());
  }
  Log(LogLevel::kInfo, "checkpoint_created",
      {{"model", context_.name}, {"checkpoint", row->id}, {"applied", applied},
       {"bytes", row->bytes}});
  const absl::Status evicted = parts_.held_out->WriteEvicted(applied);
  if (!evicted.ok()) {
    Log(LogLevel::kWarning, "held_out_not_deleted",
        {{"model", context_.name}, {"status", evicted}});
  }
  parts_.checkpoints->Tend(keep_automatic, *parts_.held_out);
  parts_.admission->ExpireProducers(absl::Seconds(context_.retention->producer_idle_seconds()));
  parts_.report->AnnounceCheckpoint(row->id, applied);
  done(ToProto(*row));
}

}  // namespace engram::server
