// Where a trainer begins: the newest checkpoint that is whole and that the log reaches back to, or
// the log's start. From there Train() does what it always does.
//
// A rollback record in the part to be replayed is jumped to when its checkpoint is stored: what it
// undid need not be learned again. When the checkpoint is gone, the replay passes the restored
// sequence itself, and the learner is captured there in memory.
#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "server/logging.h"
#include "server/spec_options.h"
#include "server/trainer.h"
#include "storage/base/failpoint.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

// The state behind a rollback record, as the record was made: what it restored, and of the rest of
// the log the names of tasks, the rollbacks and the tunes. Erasing may have changed what it
// restored since the record was written, and the record keeps no labels then.
internal::StreamState StateAfter(const internal::RollbackRecord& record,
                                 internal::StreamState restored) {
  const internal::StreamState& then = record.stream_state();
  for (int i = restored.tasks_size(); i < then.tasks_size(); ++i) {
    restored.add_tasks()->set_name(then.tasks(i).name());
  }
  *restored.mutable_rewinds() = then.rewinds();
  if (restored.rewinds_size() > 0) {
    restored.mutable_rewinds(restored.rewinds_size() - 1)
        ->set_train_examples(restored.train_examples());
  }
  restored.set_tunes(then.tunes());
  return restored;
}

}  // namespace

absl::Status Trainer::Begin() {
  storage::SampleLog& log = context_.store->log();
  ENGRAM_RETURN_IF_ERROR(log.Open(context_.uid));
  learner_options_ = ToModelOptions(state_.spec());
  const LearnerFactory fresh = FreshLearners();
  ENGRAM_ASSIGN_OR_RETURN(learner_, fresh(learner_options_));
  learner_is_fresh_ = true;
  ENGRAM_ASSIGN_OR_RETURN(untrained_, learner_->TakeSnapshot(0));
  ENGRAM_RETURN_IF_ERROR(parts_.checkpoints->Open());
  ENGRAM_RETURN_IF_ERROR(ResumeErasure());
  if (!admitting_) {
    ENGRAM_ASSIGN_OR_RETURN(const auto rows, context_.store->catalog().ReportRows(context_.uid));
    ENGRAM_RETURN_IF_ERROR(parts_.report->Load(rows));
  }
  recovery_to_ = log.DurableSequence(context_.uid);
  ENGRAM_RETURN_IF_ERROR(ChooseStart(fresh));
  for (const LoggedRollback& rollback : rollbacks_) {
    parts_.checkpoints->Pin(rollback.record.checkpoint());
    recovery_pins_.push_back(rollback.record.checkpoint());
  }
  UpdateProgress(false);
  return Recapture();
}

// Makes learners as they are before the log's first record: what a model was made from is as much
// its past as the log. The candidates of its tune are made from it, too; for them the file is kept
// from the first learner on.
LearnerFactory Trainer::FreshLearners() {
  return [this, several = state_.spec().has_tune(), weights = std::make_shared<std::string>()](
             const strategies::ModelOptions& options)
             -> absl::StatusOr<std::unique_ptr<strategies::Learner>> {
    ENGRAM_ASSIGN_OR_RETURN(auto learner, context_.make_learner(options));
    if (!state_.spec().has_weights()) return learner;
    if (weights->empty()) {
      ENGRAM_ASSIGN_OR_RETURN(*weights, context_.store->catalog().LoadWeights(context_.uid));
    }
    ENGRAM_RETURN_IF_ERROR(learner->StartFrom(ToPretrainedWeights(state_.spec(), *weights)));
    if (!several) std::string().swap(*weights);  // assigning an empty one would keep the memory
    return learner;
  };
}

absl::Status Trainer::ChooseStart(const LearnerFactory& fresh) {
  const uint64_t mark = context_.store->log().TrimMark(context_.uid);
  ENGRAM_ASSIGN_OR_RETURN(const auto rows, parts_.checkpoints->List());
  const StreamState created = state_;
  uint64_t scanned_from = recovery_to_ + 1;
  // A replay without erased examples passes every rollback: the states they return to change.
  bool jump_tried = erasure_step_ == ErasureStep::kLearning && erasure_.rebuild();
  for (size_t i = 0; i <= rows.size(); ++i) {
    const storage::CheckpointRow* row = i < rows.size() ? &rows[i] : nullptr;
    const uint64_t applied = row == nullptr ? 0 : row->applied;
    if (applied < mark) break;
    if (applied > recovery_to_) {
      return absl::DataLossError(absl::StrCat("checkpoint ", row->id, " is at sequence ", applied,
                                              ", the log ends at ", recovery_to_));
    }
    ENGRAM_RETURN_IF_ERROR(ScanRollbacks(applied + 1, scanned_from - 1));
    scanned_from = applied + 1;
    absl::StatusOr<StreamState> state = created;
    if (row != nullptr) state = StreamState::Parse(row->stream_state);
    absl::Status placed = state.status();
    absl::StatusOr<bool> started = false;
    if (placed.ok()) placed = PlaceAt(applied, *std::move(state));
    if (placed.ok() && !rollbacks_.empty() && !std::exchange(jump_tried, true)) {
      started = TryJumpToLast();
    }
    if (placed.ok() && started.ok() && !*started) {
      started = row == nullptr ? TryReplayWhole(fresh) : TryReplayFrom(*row);
    }
    if (placed.ok() && started.ok() && *started) return absl::OkStatus();
    const absl::Status why = placed.ok() ? started.status() : placed;
    if (!why.ok() && !absl::IsDataLoss(why)) return why;
    if (row == nullptr) break;
    Log(LogLevel::kWarning, "checkpoint_passed_over",
        {{"model", context_.name},
         {"checkpoint", row->id},
         {"status", why.ok() ? absl::DataLossError("of a rollback after it the checkpoint is gone")
                             : why}});
  }
  return absl::DataLossError(
      absl::StrCat("no checkpoint is valid from which the log, which begins at ", mark + 1,
                   ", can be replayed"));
}

// Adds the rollback records in [from, to] before those known.
absl::Status Trainer::ScanRollbacks(uint64_t from, uint64_t to) {
  std::deque<LoggedRollback> found;
  while (from <= to) {
    ENGRAM_ASSIGN_OR_RETURN(
        const auto records,
        context_.store->log().Read(context_.uid, from, kScanRecords, kScanBytes));
    if (records.empty()) return absl::DataLossError(absl::StrCat("the log lacks record ", from));
    for (const storage::LogRecord& record : records) {
      from = record.sequence + 1;
      if (record.sequence > to || record.kind != static_cast<uint8_t>(RecordKind::kRollback)) {
        continue;
      }
      LoggedRollback rollback;
      rollback.sequence = record.sequence;
      if (!rollback.record.ParseFromString(record.payload)) {
        return absl::DataLossError(
            absl::StrCat("log record ", record.sequence, ": not a valid rollback"));
      }
      found.push_back(std::move(rollback));
    }
  }
  rollbacks_.insert(rollbacks_.begin(), std::make_move_iterator(found.begin()),
                    std::make_move_iterator(found.end()));
  return absl::OkStatus();
}

absl::Status Trainer::PlaceAt(uint64_t sequence, StreamState state) {
  ENGRAM_RETURN_IF_ERROR(Reshape(state.spec()));
  ENGRAM_RETURN_IF_ERROR(parts_.held_out->Load(sequence));
  state_ = std::move(state);
  counters_ = state_.Counters();
  applied_ = sequence;
  cursor_ = sequence + 1;
  recovery_from_ = sequence;
  newest_checkpoint_ = std::max(newest_checkpoint_, sequence);
  return absl::OkStatus();
}

absl::StatusOr<bool> Trainer::TryJumpToLast() {
  LoggedRollback last = rollbacks_.back();
  const auto row = parts_.checkpoints->Find(last.record.checkpoint());
  if (!row.ok()) return false;
  const auto learner = parts_.checkpoints->Load(*row);
  if (!learner.ok()) return false;
  ENGRAM_ASSIGN_OR_RETURN(const StreamState restored, StreamState::Parse(row->stream_state));
  *last.record.mutable_stream_state() = StateAfter(last.record, restored.proto());
  ENGRAM_FAILPOINT("recovery.jump");
  ENGRAM_RETURN_IF_ERROR(Jump(last, *learner));
  RecordRollback(last);
  alias_due_ = last.sequence;
  alias_source_ = row->id;
  parts_.checkpoints->Pin(row->id);
  rollbacks_.clear();
  return true;
}

// Whether every rollback to be replayed has its checkpoint, or a restored sequence that the replay
// comes by.
bool Trainer::CanReplayFrom(uint64_t sequence) {
  recaptured_.clear();
  for (const LoggedRollback& rollback : rollbacks_) {
    const auto row = parts_.checkpoints->Find(rollback.record.checkpoint());
    if (row.ok() && parts_.checkpoints->Load(*row).ok()) continue;
    if (rollback.record.restored_sequence() < sequence) return false;
    recaptured_[rollback.record.restored_sequence()];
  }
  return true;
}

absl::StatusOr<bool> Trainer::TryReplayWhole(const LearnerFactory& fresh) {
  if (!CanReplayFrom(applied_)) return false;
  // A checkpoint that was passed over may have left another learner, or a part of its state.
  if (!learner_is_fresh_) {
    ENGRAM_ASSIGN_OR_RETURN(learner_, fresh(learner_options_));
  }
  ENGRAM_RETURN_IF_ERROR(shadows_.OpenFresh(state_, fresh));
  return true;
}

absl::StatusOr<bool> Trainer::TryReplayFrom(const storage::CheckpointRow& row) {
  if (!CanReplayFrom(applied_)) return false;
  ENGRAM_ASSIGN_OR_RETURN(const RestorableLearner learner, parts_.checkpoints->Load(row));
  ENGRAM_RETURN_IF_ERROR(RestoreLearners(state_, learner));
  if (row.compute != context_.compute_fingerprint) {
    Log(LogLevel::kWarning, "lineage_inexact",
        {{"model", context_.name},
         {"checkpoint", row.id},
         {"computed_by", row.compute},
         {"now", context_.compute_fingerprint}});
  }
  return true;
}

// Keeps the learner at a sequence that a later rollback without a stored checkpoint returns to.
absl::Status Trainer::Recapture() {
  auto wanted = recaptured_.find(applied_);
  if (wanted == recaptured_.end() || !wanted->second.learner.saved.tensors.empty()) {
    return absl::OkStatus();
  }
  StreamState state = state_;
  state.SetCounters(counters_);
  wanted->second.state = state.proto();
  ENGRAM_ASSIGN_OR_RETURN(wanted->second.learner, Capture(*learner_));
  ENGRAM_FAILPOINT("recovery.recaptured");
  return shadows_.CaptureInto(&wanted->second.learner);
}

absl::Status Trainer::PassRollback(const storage::LogRecord& record) {
  LoggedRollback rollback;
  rollback.sequence = record.sequence;
  if (!rollback.record.ParseFromString(record.payload)) {
    return absl::DataLossError(
        absl::StrCat("log record ", record.sequence, ": not a valid rollback"));
  }
  RestorableLearner learner;
  StreamState restored;
  auto captured = recaptured_.find(rollback.record.restored_sequence());
  if (captured != recaptured_.end()) {
    learner = captured->second.learner;
    restored = StreamState(captured->second.state);
  } else {
    ENGRAM_ASSIGN_OR_RETURN(const auto row, parts_.checkpoints->Find(rollback.record.checkpoint()));
    ENGRAM_ASSIGN_OR_RETURN(restored, StreamState::Parse(row.stream_state));
    ENGRAM_ASSIGN_OR_RETURN(learner, parts_.checkpoints->Load(row));
  }
  *rollback.record.mutable_stream_state() = StateAfter(rollback.record, restored.proto());
  ENGRAM_RETURN_IF_ERROR(Jump(rollback, learner));
  RecordRollback(rollback);
  return SetApplied(applied_);
}

absl::Status Trainer::FinishRecovery() {
  StreamState head = state_;
  bool tune_goes_on = state_.TuneIsOpen();
  storage::SampleLog& log = context_.store->log();
  for (uint64_t next = applied_ + 1; next <= recovery_to_;) {
    ENGRAM_ASSIGN_OR_RETURN(const auto records,
                            log.Read(context_.uid, next, kScanRecords, kScanBytes));
    if (records.empty()) return absl::DataLossError(absl::StrCat("the log lacks record ", next));
    for (const storage::LogRecord& record : records) {
      ENGRAM_RETURN_IF_ERROR(head.Apply(static_cast<RecordKind>(record.kind), record.payload,
                                        record.sequence));
      tune_goes_on &= head.TuneIsOpen();
      next = record.sequence + 1;
    }
  }
  // A record that promotes a candidate may be among those still to be applied, before another tune.
  if (tune_goes_on) shadows_.EndThoseOut(state_);
  head_stale_ = admitting_;
  if (!std::exchange(admitting_, true)) {
    ENGRAM_RETURN_IF_ERROR(parts_.admission->Open(std::move(head)));
  }
  ENGRAM_FAILPOINT("recovery.before_serving");
  phase_ = Phase::kServing;
  ENGRAM_RETURN_IF_ERROR(Publish());
  for (const std::string& id : recovery_pins_) parts_.checkpoints->Unpin(id);
  recovery_pins_.clear();
  rollbacks_.clear();
  recaptured_.clear();
  const absl::Duration took = context_.clock->Monotonic() - began_at_;
  context_.statistics->recovery_seconds = absl::ToDoubleSeconds(took);
  Log(LogLevel::kInfo, "model_serving",
      {{"model", context_.name},
       {"applied", applied_},
       {"replayed_from", recovery_from_},
       {"seconds", absl::ToDoubleSeconds(took)}});
  if (context_.on_serving) context_.on_serving(true);
  return absl::OkStatus();
}

}  // namespace engram::server
