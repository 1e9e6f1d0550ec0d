// The door of one model's log: checks a message against the state of the stream at the log's head,
// sorts repeats from news by the producer's counter, and submits. Everything that enters the log
// passes here, so that the head state and the log never part.
//
// Threading: every method from any thread. The lock is held across SampleLog::Submit, never across
//   a callback.
// Ownership: shared_ptr; what it submitted keeps it alive until the committer has answered. The log
//   and the clock outlive it.
// Failure: of Learn, see ModelRuntime. A message is stored whole or not at all. What Submit refuses
//   (queue, disk, read-only) passes through and does not use up the producer's sequence.
// Bounds: limits.producers producers, of about 200 bytes each; repeats within SampleLog's window.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engram/v1/config.pb.h"
#include "engram/v1/learning.pb.h"
#include "server/clock.h"
#include "server/live_value.h"
#include "server/loss_lock.h"
#include "server/model_runtime.h"
#include "server/rejected_messages.h"
#include "server/stream_state.h"
#include "storage/base/mutex.h"
#include "storage/sample_log.h"

namespace engram::server {

struct AdmissionOptions {
  std::string model;
  storage::ModelUid uid = 0;
  LiveValue<v1::Limits> limits;  // filled in
  std::shared_ptr<LossLock> losses;
  const Clock* clock = nullptr;
  std::shared_ptr<ModelStatistics> statistics;
  std::shared_ptr<RejectedMessages> rejected = std::make_shared<RejectedMessages>();
  std::function<void()> on_durable;  // wakes the trainer
};

// What a rollback to a checkpoint does to the stream.
struct RollbackPlan {
  uint64_t record = 0;  // its sequence; in a dry run the one it would get
  int64_t dropped_examples = 0;
  StreamState after;
};

class Admission : public std::enable_shared_from_this<Admission> {
 public:
  using OnAccepted = std::function<void(absl::StatusOr<Accepted>)>;
  using OnWelcome = std::function<void(absl::StatusOr<v1::LearnWelcome>)>;

  Admission(AdmissionOptions options, storage::SampleLog* log);

  // Begins to admit, with the stream's state at the log's head.
  absl::Status Open(StreamState head);
  // Corrects the head: `head` is the state after the record `through`. False, and nothing changed,
  // while records are on their way to the disk.
  bool Replace(StreamState head, uint64_t through);
  // From now on Learn and Hello answer `why`, whether or not Open comes later. What the trainer
  // submits is still taken.
  void Close(absl::Status why);

  // Welcomes lack the applied sequence, which admission does not know.
  void Hello(const v1::LearnHello& hello, OnWelcome done);
  void Learn(const std::string& producer, uint64_t epoch, v1::LearnMessage message,
             OnAccepted done);

  // A flush record, if `head` is still the last sequence given out.
  void SubmitFlush(uint64_t head);
  // `on_durable` gets the record's sequence; it runs exactly once if and only if this returns OK.
  absl::Status SubmitConfiguration(v1::ModelSpec spec,
                                   std::function<void(uint64_t, const absl::Status&)> on_durable);
  // Ends the tune `id`: with its candidate (from 1) as the model, or, with 0, with the model as it
  // is. FAILED_PRECONDITION when it has ended. `on_durable` as above.
  absl::Status SubmitTuneEnd(uint64_t id, int32_t candidate,
                             std::function<void(uint64_t, const absl::Status&)> on_durable);
  // An example out of quarantine, and who sent it; empty: nobody says.
  struct Release {
    internal::ReleasedExample record;
    std::string producer;
  };
  // All of them or none; they were listed when `listed_at` was published. FAILED_PRECONDITION for
  // one that is on its way already, is of a task that cannot be learned now, or was rolled back
  // meanwhile. `on_durable` as above, with the first one's sequence.
  absl::Status SubmitReleases(const std::vector<Release>& releases, uint64_t listed_at,
                              std::function<void(uint64_t, const absl::Status&)> on_durable);
  // What the next tune of the model is numbered.
  uint64_t next_tune() const;
  // INVALID_ARGUMENT when the checkpoint lies beyond the head, RESOURCE_EXHAUSTED at 4 096
  // rollbacks. With a null `on_durable` nothing is submitted.
  absl::StatusOr<RollbackPlan> Rollback(const std::string& checkpoint_id,
                                        uint64_t restored_sequence,
                                        const StreamState& checkpoint,
                                        storage::OnDurable on_durable);
  // Forgets producers unseen for so long.
  void ExpireProducers(absl::Duration idle);

  std::shared_ptr<const v1::ModelSpec> spec() const;
  std::string current_task() const;

 private:
  struct InFlight {
    uint64_t sequence = 0;
    uint64_t content_hash = 0;
    Accepted accepted;
    std::vector<OnAccepted> waiting;  // the first sender, then repeats
  };
  struct Producer {
    uint64_t epoch = 0;
    uint64_t last_sequence = 0;
    int64_t last_seen_ms = 0;
    std::deque<std::shared_ptr<InFlight>> in_flight;
  };
  struct Prepared;

  // What a producer says that holds acks beyond `last`.
  void LockLearning(const v1::LearnHello& hello, uint64_t last,
                    const std::shared_ptr<OnWelcome>& answer)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckOpen() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<Producer*> FindProducer(const std::string& name)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // A producer that got nothing into the log takes no place among the limited ones.
  void ForgetUnused(const std::string& name) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckTurn(const Producer& producer, const Prepared& message) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  bool MayReplace(const Producer& producer, const Prepared& message) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::optional<absl::StatusOr<Accepted>> AdmitLocked(Prepared* message, OnAccepted* done);
  absl::optional<absl::StatusOr<Accepted>> AnswerRepeat(Producer* producer, Prepared* message,
                                                        OnAccepted* done)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::StatusOr<Accepted> AnswerStoredRepeat(const Prepared& message) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckState(const v1::LearnMessage& message) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckLabel(const v1::Label& label, int index, const v1::Label& first_new) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckExamples(const v1::LearnMessage& message) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckReleases(const std::vector<Release>& releases, uint64_t listed_at)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Counts and lists a message that is answered with an error.
  void NoteRejection(const std::string& producer, const v1::LearnMessage& message,
                     const absl::Status& status) const;
  absl::Status CheckTask(const v1::Example& example, int index, bool held_out) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckBoundary(const v1::Boundary& boundary) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void NameTasks(Prepared* message, Accepted* accepted) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status Submit(Producer* producer, Prepared* message, OnAccepted done)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Finish(const std::string& producer, const std::shared_ptr<InFlight>& message,
              absl::Duration started, const absl::Status& status);
  absl::Status SubmitRecord(const internal::ConfigurationRecord& record,
                            std::function<void(uint64_t, const absl::Status&)> on_durable)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void SetHead(StreamState head) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status FromLog(const absl::Status& status) const;

  const AdmissionOptions options_;
  storage::SampleLog* const log_;
  mutable base::Mutex mutex_;
  bool open_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status closed_ ABSL_GUARDED_BY(mutex_);
  StreamState head_ ABSL_GUARDED_BY(mutex_);
  bool interleaved_ ABSL_GUARDED_BY(mutex_) = false;
  std::shared_ptr<const v1::ModelSpec> spec_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<std::string, std::unique_ptr<Producer>> producers_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace engram::server
