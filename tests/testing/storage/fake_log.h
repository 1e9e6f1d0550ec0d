// The SampleLog of FakeStore. Private to FakeStore.
#pragma once

#include <atomic>
#include <deque>
#include <map>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include "tests/testing/storage/fake_shared.h"

namespace engram::testing {

class FakeStore::Log : public storage::SampleLog {
 public:
  explicit Log(Shared* shared);
  ~Log() override;

  absl::Status Open(storage::ModelUid model) override;
  absl::Status Remove(storage::ModelUid model) override;
  absl::StatusOr<storage::Sequence> Submit(storage::Submission submission,
                                           storage::OnDurable on_durable) override;
  storage::Sequence DurableSequence(storage::ModelUid model) const override;
  storage::Sequence AssignedSequence(storage::ModelUid model) const override;
  absl::StatusOr<std::vector<storage::LogRecord>> Read(storage::ModelUid model,
                                                       storage::Sequence from, size_t max_records,
                                                       size_t max_bytes) const override;
  absl::Status Trim(storage::ModelUid model, storage::Sequence up_to) override;
  storage::Sequence TrimMark(storage::ModelUid model) const override;
  storage::Sequence TrimCandidate(storage::ModelUid model, storage::Sequence limit,
                                  int64_t keep_seconds, int64_t keep_bytes,
                                  int64_t now_ms) const override;
  absl::StatusOr<std::vector<storage::Sequence>> FindNamed(storage::ModelUid model,
                                                           storage::RecordName kind,
                                                           absl::string_view name) const override;
  absl::StatusOr<storage::Sequence> UnnamedThrough(storage::ModelUid model) const override;
  absl::Status TrimNames(storage::ModelUid model,
                         const std::function<std::vector<storage::Sequence>()>& keep) override;
  absl::Status RemoveNames(storage::ModelUid model,
                           absl::Span<const storage::Sequence> sequences) override;
  absl::Status Rewrite(storage::ModelUid model,
                       absl::Span<const storage::RewrittenRecord> records) override;
  absl::StatusOr<std::vector<storage::ProducerState>> Producers(
      storage::ModelUid model) const override;
  absl::StatusOr<absl::optional<storage::ProducerMessage>> FindMessage(
      storage::ModelUid model, absl::string_view producer, uint64_t sequence) const override;
  absl::Status RemoveProducer(storage::ModelUid model, absl::string_view producer) override;
  absl::Status Health() const override;

  size_t Commit();
  void FailCommits(std::string reason);
  void Crash();
  void Observe(std::function<void(double)> observer);
  void ObserveHealth(std::function<void(const absl::Status&)> observer);
  storage::StoreStatistics Statistics() const;

 private:
  struct Stored {
    storage::LogRecord record;
    int64_t time_ms = 0;
  };
  struct Producer {
    storage::ProducerState state;
    std::map<uint64_t, storage::ProducerMessage> window;
  };
  struct Model {
    bool open = false;
    storage::Sequence assigned = 0;
    storage::Sequence durable = 0;
    storage::Sequence mark = 0;
    std::deque<Stored> records;  // mark + 1 .. durable
    std::map<std::string, Producer> producers;
    std::map<storage::Sequence, std::pair<std::string, std::string>> names;  // id, subject
  };
  struct Pending {
    storage::Submission submission;
    storage::Sequence first = 0;
    int64_t bytes = 0;
    storage::OnDurable on_durable;
  };

  absl::Status CheckSubmit(const storage::Submission& submission, int64_t bytes) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Apply(const Pending& pending) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void ApplyMark(const Pending& pending, Model* model) ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  const Model* FindOpen(storage::ModelUid model) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void CommitLoop();
  size_t CommitOnce() ABSL_EXCLUSIVE_LOCKS_REQUIRED(commit_mutex_);

  Shared* const shared_;
  mutable base::Mutex mutex_;
  base::Mutex commit_mutex_;  // held through a commit's callbacks, so that they stay in order
  std::atomic<std::thread::id> committing_{};
  base::CondVar wake_;
  bool stopping_ ABSL_GUARDED_BY(mutex_) = false;
  absl::Status failure_ ABSL_GUARDED_BY(mutex_);
  std::map<storage::ModelUid, Model> models_ ABSL_GUARDED_BY(mutex_);
  std::deque<Pending> queue_ ABSL_GUARDED_BY(mutex_);
  storage::StoreStatistics statistics_ ABSL_GUARDED_BY(mutex_);
  std::function<void(double)> observer_ ABSL_GUARDED_BY(mutex_);
  std::function<void(const absl::Status&)> health_observer_ ABSL_GUARDED_BY(mutex_);
  std::thread committer_;  // kThread only
};

}  // namespace engram::testing
