// The trainer of one model: a serial strand, the only owner of its learner. It reads the log, cuts
// batches from it, trains, publishes snapshots, and asks the background for evaluation and
// checkpoint files. Live learning and recovery are the same code: after a restart it reads on from
// a checkpoint.
//
// State after any record = f(checkpoint, records after it, spec, build). Time enters only as a
// flush record, which the trainer has submitted when a partial batch has waited long enough;
// everything else that looks at a clock (publishing, live evaluation) leaves the learner alone.
// Nothing staged for the next cut is ever in a checkpoint.
//
// Threading: RunOnce on one thread at a time, which has entered compute; the rest from any thread.
// Failure: when the learner or the log fails, the trainer stops (FAILED); the last snapshot stays
//   served, and a rollback to a checkpoint mends it.
// Bounds: one chunk of the log, one batch, one pending rollback's checkpoint in memory; a turn ends
//   after about 512 examples, each counted once for every learner that it teaches; it pauses while
//   4 background jobs of its model wait.
#pragma once

#include <atomic>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/admission.h"
#include "server/applied_waiters.h"
#include "server/batch_stage.h"
#include "server/canary_gate.h"
#include "server/checkpoint_keeper.h"
#include "server/eraser.h"
#include "server/evaluator.h"
#include "server/held_out_sets.h"
#include "server/model_context.h"
#include "server/quarantine.h"
#include "server/quarantine_book.h"
#include "server/report_book.h"
#include "server/shadow_set.h"
#include "server/snapshot_slot.h"
#include "server/stream_state.h"
#include "strategies/api/learner.h"

namespace engram::server {

// What a turn of a trainer did, and when the next one makes sense.
struct Turn {
  int64_t examples = 0;
  bool more = false;  // again at once
  absl::Duration wake_in = absl::InfiniteDuration();  // besides what wake() announces
};

// The parts of a model that the trainer works on; they outlive it.
struct TrainerParts {
  const ModelContext* context = nullptr;
  Admission* admission = nullptr;
  SnapshotSlot* slot = nullptr;
  HeldOutSets* held_out = nullptr;
  ReportBook* report = nullptr;
  AppliedWaiters* waiters = nullptr;
  CheckpointKeeper* checkpoints = nullptr;
  std::function<void()> on_erased;  // versions that were loaded may hold what is gone
  QuarantineBook* quarantine = nullptr;
};

// ABORTED, ErrorInfo VERSION_CHANGED, when `expected` is not 0 and not the current version.
absl::Status CheckVersion(uint64_t expected, uint64_t current);

class Trainer {
 public:
  using OnCheckpoint = std::function<void(absl::StatusOr<v1::Checkpoint>)>;
  using OnRollback = std::function<void(absl::StatusOr<v1::RollbackResponse>)>;
  // With the record's sequence and the promoted spec; nothing else of the model.
  using OnPromotion = std::function<void(absl::StatusOr<v1::UpdateModelResponse>)>;
  using OnErased = std::function<void(absl::StatusOr<v1::EraseResponse>)>;
  enum class Phase { kRecovering, kServing, kFailed };
  struct Progress {
    Phase phase = Phase::kRecovering;
    absl::Status failure;
    uint64_t recovered = 0;  // records of
    uint64_t to_recover = 0;
    bool drained = false;  // nothing up to read_to is left that could be trained now
    uint64_t read_to = 0;
  };

  // `spec` as created.
  Trainer(TrainerParts parts, const v1::ModelSpec& spec, const storage::ModelRow& row);
  ~Trainer();

  Turn RunOnce();

  Progress progress() const;
  strategies::LearnerGauges gauges() const;
  bool paused() const { return paused_.load(); }
  // Why the guard paused it; empty when it did not.
  std::string pause_reason() const { return canary_.pause_reason(); }

  // Each wakes the strand. Pausing takes a checkpoint, so that a restart finds what was applied.
  void SetPaused(bool paused);
  void RequestCheckpoint(std::string label, bool automatic, OnCheckpoint done);
  // ABORTED when one is under way.
  void RequestRollback(const v1::RollbackRequest& request, OnRollback done,
                       bool automatic = false);
  // FAILED_PRECONDITION when no candidate of a tune is proposed.
  void RequestPromotion(OnPromotion done);
  // One after the other, each behind a rollback that is under way. The selector is checked.
  void RequestErasure(const v1::EraseRequest& request, OnErased done);
  // Answers everything that still waits.
  void Abandon(const absl::Status& why);

 private:
  struct CheckpointRequest {
    std::string label;
    bool automatic = false;
    OnCheckpoint done;
  };
  struct RollbackRequest {
    v1::RollbackRequest request;
    OnRollback done;
    absl::Duration started;
    bool automatic = false;
  };
  struct ErasureRequest {
    v1::EraseRequest request;
    OnErased done;
  };
  enum class ErasureStep {
    kNone,
    kRemoving,   // from the store; the strand rests
    kLearning,   // again, up to replay_to_
    kSaving,     // a checkpoint that knows nothing of what was erased
    kFinishing,  // the store
  };
  static constexpr uint64_t kNothingPublished = UINT64_MAX;
  // Whether a submitted record is durable yet, or a job done, or why it never will be.
  class DurableFlag {
   public:
    void Set(absl::Status status) {
      base::MutexLock lock(&mutex_);
      status_ = std::move(status);
    }
    absl::optional<absl::Status> Get() const {
      base::MutexLock lock(&mutex_);
      return status_;
    }

   private:
    mutable base::Mutex mutex_;
    absl::optional<absl::Status> status_ ABSL_GUARDED_BY(mutex_);
  };
  // A rollback record that was submitted, until the trainer stands behind it.
  struct PendingRollback {
    storage::CheckpointRow checkpoint;
    RestorableLearner learner;
    RollbackPlan plan;
    RollbackRequest request;
    v1::RollbackResponse response;
    std::shared_ptr<DurableFlag> durable;
  };
  // A state that a rollback returns to.
  struct Recaptured {
    RestorableLearner learner;
    internal::StreamState state;
  };
  // A rollback record that the log holds.
  struct LoggedRollback {
    uint64_t sequence = 0;
    internal::RollbackRecord record;
  };

  // trainer.cc: reading, cutting, publishing.
  Turn Train();
  absl::StatusOr<bool> NextRecord(storage::LogRecord* record);
  absl::Status Take(const storage::LogRecord& record);
  void NoteReleases();
  absl::Status Cut();
  void CountStep(const strategies::StepReport& report);
  absl::Status PassBoundary(const storage::LogRecord& record);
  absl::Status SetApplied(uint64_t sequence);
  absl::StatusOr<Served> TakeServed();
  absl::Status Publish();
  absl::Status MaybePublish(bool caught_up, Turn* turn);
  void MaybeFlush(Turn* turn);
  void Fail(const absl::Status& status);
  void UpdateProgress(bool drained);

  // trainer_quarantine.cc: what is kept from the learner.
  absl::Status SetAside(strategies::BatchView* batch);
  void HoldRow(uint64_t sequence, int32_t task, const Quarantine::Verdict& verdict);
  void NoteLearned(const strategies::BatchView& batch, const strategies::StepReport& report);

  // trainer_background.cc: what leaves the strand.
  void PushJob(std::function<void()> job);
  void StoreImportance(uint64_t boundary, strategies::BoundaryReport report);
  absl::Status EvaluateBoundary(uint64_t boundary, int32_t ended_task, bool drift);
  EvaluationInput MakeEvaluationInput(Served served);
  // `boundary` is a row without cells.
  void RunEvaluation(const EvaluationInput& input, const EvaluationInput& untrained,
                     const std::vector<int32_t>& columns, const v1::AccuracyRow& boundary);
  void MaybeEvaluateLive();
  void Judge(const EvaluationInput& input, const v1::AccuracyRow& row, bool boundary);
  void PauseForGuard(const std::string& reason);
  void MaybeCheckpoint();
  void SaveCheckpoint(CheckpointRequest request);
  void WriteCheckpoint(CheckpointKeeper::Pending* pending, int64_t keep_automatic,
                       const OnCheckpoint& done);
  v1::Report CurrentReport() const;

  // trainer_commands.cc: checkpoints and rollbacks on request.
  void RunCommands();
  void StartRollback(RollbackRequest request);
  absl::StatusOr<std::unique_ptr<PendingRollback>> PrepareRollback(const RollbackRequest& request);
  // True when the rollback under way has ended, well or not.
  bool ContinueRollback();
  absl::Status Jump(const LoggedRollback& rollback, const RestorableLearner& learner);
  void RecordRollback(const LoggedRollback& rollback);
  absl::Status Backfill(Turn* turn);
  absl::Status PassOver(const storage::LogRecord& record);
  void StoreAlias();

  // trainer_erase.cc: erasures. True: the strand rests.
  bool TendErasure();
  bool StartErasure();
  absl::Status RemoveErased(const v1::EraseRequest& request, uint64_t applied);
  void ContinueErasure();
  absl::Status StartOver();
  absl::Status ForgetExemplars();
  absl::Status ResumeErasure();
  void RemakeCheckpoints();
  void SaveCleanCheckpoint();
  void PushFinish();
  void EndErasure(const absl::Status& status);
  void RefreshHead();

  // trainer_tune.cc: changes of the spec, and the learners in the model's shadow.
  absl::Status Reshape(const v1::ModelSpec& spec);
  absl::Status RestoreLearners(const StreamState& state, const RestorableLearner& learner);
  std::vector<SpacedLearner> LearnersToSave() const;
  void TrainShadows(const strategies::BatchView& batch, const strategies::StepReport& own);
  void DecideTuneIfDue();
  void EndDecidedTune(Turn* turn);
  void SubmitPromotion(OnPromotion done);
  absl::Status PassConfiguration(const storage::LogRecord& record);

  // trainer_recovery.cc.
  absl::Status Begin();
  LearnerFactory FreshLearners();
  absl::Status ScanRollbacks(uint64_t from, uint64_t to);
  absl::Status ChooseStart(const LearnerFactory& fresh);
  absl::Status PlaceAt(uint64_t sequence, StreamState state);
  absl::StatusOr<bool> TryJumpToLast();
  absl::StatusOr<bool> TryReplayWhole(const LearnerFactory& fresh);
  absl::StatusOr<bool> TryReplayFrom(const storage::CheckpointRow& row);
  bool CanReplayFrom(uint64_t sequence);
  absl::Status PassRollback(const storage::LogRecord& record);
  absl::Status Recapture();
  static constexpr size_t kScanRecords = 4096;
  static constexpr size_t kScanBytes = 16 << 20;
  absl::Status FinishRecovery();

  const ModelContext& context_;
  TrainerParts parts_;
  const v1::ModelSpec created_spec_;
  CanaryGate canary_;

  // The strand's own.
  std::unique_ptr<strategies::Learner> learner_;
  bool learner_is_fresh_ = false;  // made by FreshLearners, nothing restored since
  strategies::ModelOptions learner_options_;
  ShadowSet shadows_;
  // The record that ends the decided tune is on its way; shared with the committer.
  std::shared_ptr<std::atomic<bool>> tune_end_submitted_ =
      std::make_shared<std::atomic<bool>>(false);
  StreamState state_;  // at applied_
  uint64_t applied_ = 0;
  BatchStage stage_;
  const Quarantine quarantine_;
  StepCounters counters_;
  uint64_t cursor_ = 1;  // next sequence to read into chunk_
  std::deque<storage::LogRecord> chunk_;
  absl::Duration staged_since_;
  std::shared_ptr<const strategies::Snapshot> untrained_;  // version 0, for R0
  std::shared_ptr<const StreamView> view_;
  int64_t view_revision_ = -1;
  uint64_t published_ = 0;
  int64_t steps_since_publish_ = 0;
  absl::Duration published_at_;
  absl::Duration publish_cost_;
  int64_t examples_since_checkpoint_ = 0;
  int64_t examples_since_evaluation_ = 0;
  absl::Duration evaluated_at_;
  uint64_t newest_checkpoint_ = 0;
  bool begun_ = false;
  Phase phase_ = Phase::kRecovering;
  absl::Duration began_at_;
  uint64_t recovery_from_ = 0;
  uint64_t recovery_to_ = 0;
  std::deque<LoggedRollback> rollbacks_;  // during recovery: those of the records to replay
  std::vector<std::string> recovery_pins_;
  std::map<uint64_t, Recaptured> recaptured_;  // by applied sequence
  uint64_t backfill_from_ = 0;  // records passed by a jump, still to be scanned for held-out rows
  uint64_t backfill_to_ = 0;
  StreamState backfill_state_;
  uint64_t alias_due_ = 0;  // rollback record that has no checkpoint at it yet
  std::string alias_source_;
  std::unique_ptr<PendingRollback> rollback_;
  bool admitting_ = false;   // admission was opened
  bool head_stale_ = false;  // it still counts what was erased

  // The erasure under way. While a job of it runs, erasure_ and the two behind it are the job's.
  Eraser eraser_;
  ErasureStep erasure_step_ = ErasureStep::kNone;
  std::unique_ptr<ErasureRequest> erasure_request_;  // null: begun by an earlier process
  std::shared_ptr<DurableFlag> erasure_job_;
  internal::Erasure erasure_;
  bool erasure_is_older_ = false;  // than the request
  std::string clean_checkpoint_;
  std::atomic<int64_t> remade_checkpoints_{0};
  bool forget_due_ = false;
  uint64_t replay_to_ = 0;  // also while paused

  std::atomic<bool> paused_;
  std::atomic<int64_t> jobs_{0};
  std::atomic<bool> evaluating_live_{false};
  std::atomic<int64_t> live_evaluation_ns_{0};  // cost of the last one

  mutable base::Mutex commands_mutex_;
  std::vector<CheckpointRequest> checkpoint_requests_ ABSL_GUARDED_BY(commands_mutex_);
  std::vector<OnPromotion> promotion_requests_ ABSL_GUARDED_BY(commands_mutex_);
  std::unique_ptr<RollbackRequest> rollback_request_ ABSL_GUARDED_BY(commands_mutex_);
  std::deque<ErasureRequest> erasure_requests_ ABSL_GUARDED_BY(commands_mutex_);
  bool rolling_back_ ABSL_GUARDED_BY(commands_mutex_) = false;
  absl::Status abandoned_ ABSL_GUARDED_BY(commands_mutex_);

  mutable base::Mutex progress_mutex_;
  Progress progress_ ABSL_GUARDED_BY(progress_mutex_);
  strategies::LearnerGauges gauges_ ABSL_GUARDED_BY(progress_mutex_);
};

}  // namespace engram::server
