// The SampleLog on RocksDB. Private to this room; see sample_log.h for the contract.
//
// Threading: `mutex_` guards queue and positions and is never held during I/O. The committer is the
//   only thread that advances a log; Trim, Open and Remove take `maintenance_mutex_` first, so that
//   one of them runs at a time.
#pragma once

#include <deque>
#include <map>
#include <string>
#include <thread>
#include <vector>

#include "storage/base/mutex.h"
#include "storage/rocksdb_commit_batch.h"
#include "storage/rocksdb_engine.h"
#include "storage/sample_log.h"
#include "storage/store.h"
#include "storage/store_folder.h"

namespace engram::storage {

class RocksDbSampleLog : public SampleLog {
 public:
  // `options.now_ms` must be set. Starts the committer.
  RocksDbSampleLog(RocksDbEngine* engine, DiskWatch* disk, const StoreOptions& options);
  // Commits what is queued, then stops.
  ~RocksDbSampleLog() override;

  absl::Status Open(ModelUid model) override;
  absl::Status Remove(ModelUid model) override;
  absl::StatusOr<Sequence> Submit(Submission submission, OnDurable on_durable) override;
  Sequence DurableSequence(ModelUid model) const override;
  Sequence AssignedSequence(ModelUid model) const override;
  absl::StatusOr<std::vector<LogRecord>> Read(ModelUid model, Sequence from, size_t max_records,
                                              size_t max_bytes) const override;
  absl::Status Trim(ModelUid model, Sequence up_to) override;
  Sequence TrimMark(ModelUid model) const override;
  Sequence TrimCandidate(ModelUid model, Sequence limit, int64_t keep_seconds, int64_t keep_bytes,
                         int64_t now_ms) const override;
  absl::StatusOr<std::vector<Sequence>> FindNamed(ModelUid model, RecordName kind,
                                                  absl::string_view name) const override;
  absl::StatusOr<Sequence> UnnamedThrough(ModelUid model) const override;
  absl::Status TrimNames(ModelUid model,
                         const std::function<std::vector<Sequence>()>& keep) override;
  absl::Status RemoveNames(ModelUid model, absl::Span<const Sequence> sequences) override;
  absl::Status Rewrite(ModelUid model, absl::Span<const RewrittenRecord> records) override;
  absl::StatusOr<std::vector<ProducerState>> Producers(ModelUid model) const override;
  absl::StatusOr<absl::optional<ProducerMessage>> FindMessage(ModelUid model,
                                                              absl::string_view producer,
                                                              uint64_t sequence) const override;
  absl::Status RemoveProducer(ModelUid model, absl::string_view producer) override;
  absl::Status Health() const override;

  void ObserveCommits(std::function<void(double seconds)> observer);
  StoreStatistics Statistics() const;

 private:
  struct ModelLog {
    Sequence assigned = 0;
    LogPosition durable;
    LogIndex index;
    Sequence swept = 0;   // single keys up to here are deleted
    int64_t pending = 0;  // submissions that the committer still has to finish
    bool closing = false;
  };

  absl::Status CheckSubmit(const Submission& submission, int64_t bytes) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  const ModelLog* FindOpen(ModelUid model) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  void CommitLoop();
  bool TakeQueued(std::vector<PendingSubmission>* taken);
  void CommitOnceThereIsRoom(std::vector<PendingSubmission>* taken);
  // OK, or no room on the disk and the log is closing.
  absl::Status AwaitRoom();
  // False when the room is gone again before anything was written.
  bool Commit(std::vector<PendingSubmission>* taken);
  void Answer(std::vector<PendingSubmission>* taken, const absl::Status& outcome);
  // Each submission is told once.
  static void Tell(std::vector<PendingSubmission>* taken, const absl::Status& outcome);
  void Finish(const std::vector<PendingSubmission>& taken, const absl::Status& outcome);

  absl::StatusOr<ModelLog> Recover(ModelUid model) const;
  absl::Status RecoverIndex(ModelUid model, ModelLog* log) const;
  absl::Status RecoverTail(ModelUid model, ModelLog* log) const;
  // The position at `up_to`, summed from `start` on over the stored records; stops early where the
  // limits do not allow more.
  absl::StatusOr<LogPosition> Walk(ModelUid model, LogPosition start,
                                   const CutLimits& limits) const;
  absl::Status CheckOpen(ModelUid model) const;
  static absl::Status NotOpen(ModelUid model);
  // Writes and clears the batch when it is full.
  absl::Status AddNameRemoval(ModelUid model, Sequence sequence, absl::string_view row,
                              rocksdb::WriteBatch* batch) const;
  absl::Status SweepTrimmed(ModelUid model, Sequence swept, Sequence up_to);

  RocksDbEngine* const engine_;
  DiskWatch* const disk_;
  const StoreOptions options_;

  base::Mutex maintenance_mutex_;
  mutable base::Mutex mutex_;
  base::CondVar work_;  // the committer waits for submissions
  base::CondVar idle_;  // Remove waits for a model's last commit
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  std::map<ModelUid, ModelLog> models_ ABSL_GUARDED_BY(mutex_);
  std::deque<PendingSubmission> queue_ ABSL_GUARDED_BY(mutex_);
  StoreStatistics statistics_ ABSL_GUARDED_BY(mutex_);
  std::function<void(double)> observer_ ABSL_GUARDED_BY(mutex_);

  CommitBatch batch_;      // the committer's own
  std::thread committer_;  // last: it uses everything above
};

}  // namespace engram::storage
