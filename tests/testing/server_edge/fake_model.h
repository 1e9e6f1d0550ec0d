// A ModelRuntime whose every move a test steers: commits happen when told, sequences are applied
// when told, predictions are a formula. It keeps the producer's counter honestly (gap, repeat,
// rejection).
//
// Threading: every method from any thread. Callbacks run outside the lock.
// Failure: as ModelRuntime, where the test asked for it.
#pragma once

#include <deque>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/container/flat_hash_map.h"
#include "server/model_runtime.h"
#include "storage/base/mutex.h"

namespace engram::testing {

// Score of class c for a row = the row's value c, softmaxed by nobody: scores are what was sent.
class FakeSnapshot : public strategies::Snapshot {
 public:
  FakeSnapshot(uint64_t version, int64_t classes, int64_t feature_count, bool per_task,
               bool infers_tasks)
      : version_(version),
        classes_(classes),
        feature_count_(feature_count),
        per_task_(per_task),
        infers_tasks_(infers_tasks) {}
  uint64_t version() const override { return version_; }
  int64_t class_count() const override { return classes_; }
  absl::Status Predict(absl::Span<const float> features, int64_t rows,
                       absl::Span<const int32_t> tasks, std::vector<float>* scores) const override;
  bool infers_tasks() const override { return infers_tasks_; }
  // Task 0 for rows whose last value is below 0, else task 1, with that value as confidence.
  absl::Status InferTasks(absl::Span<const float> features, int64_t rows,
                          std::vector<strategies::InferredTask>* inferred) const override;

 private:
  const uint64_t version_;
  const int64_t classes_;
  const int64_t feature_count_;
  const bool per_task_;
  const bool infers_tasks_;
};

class FakeModel : public server::ModelRuntime {
 public:
  enum class Commits { kInline, kByHand };

  FakeModel(std::string name, v1::ModelSpec spec, Commits commits = Commits::kInline);

  // --- steering ---
  // Makes everything submitted durable, one callback after the other. Returns how many messages.
  size_t Commit();
  // The next `count` messages are refused with `status` inside Learn and leave no trace.
  void RefuseNext(int count, absl::Status status);
  // Waits until `count` messages have been handed to Learn (accepted, rejected or refused).
  void AwaitMessages(int64_t count);
  int64_t messages() const;
  // Publishes a snapshot of this version with `classes` classes and answers who waited for it.
  void Apply(uint64_t version, int64_t classes);
  // Whoever waits for a sequence is told that time is up.
  void ExpireWaits();
  void Keep(uint64_t version, int64_t classes);  // servable by Version()
  void SetReport(v1::Report report);
  void Emit(const v1::ReportEvent& event);
  size_t watchers() const;
  void AddCheckpoint(v1::Checkpoint checkpoint);
  void AddLoss(v1::Loss loss);
  void SetGauges(strategies::LearnerGauges gauges);
  // What Blame answers; without, an empty answer.
  using OnBlame =
      std::function<absl::StatusOr<v1::BlameResponse>(const std::function<bool()>& left)>;
  void SetBlame(OnBlame blame);

  // --- ModelRuntime ---
  const std::string& name() const override { return name_; }
  v1::Model Describe() const override;
  server::ModelStatistics& statistics() override { return statistics_; }
  std::shared_ptr<const v1::ModelSpec> spec() const override { return spec_; }
  void Hello(const v1::LearnHello& hello,
             std::function<void(absl::StatusOr<v1::LearnWelcome>)> done) override;
  void Learn(const std::string& producer, uint64_t epoch, v1::LearnMessage message,
             std::function<void(absl::StatusOr<server::Accepted>)> done) override;
  std::vector<v1::Loss> Losses() const override;
  absl::StatusOr<std::vector<v1::Loss>> AcknowledgeLoss(const std::string& producer) override;
  uint64_t DurableSequence() const override;
  uint64_t AppliedSequence() const override;
  void WaitApplied(uint64_t sequence, bool evaluated, absl::Duration deadline,
                   std::function<void(absl::StatusOr<v1::WaitAppliedResponse>)> done) override;
  void Erase(const v1::EraseRequest& request,
             std::function<void(absl::StatusOr<v1::EraseResponse>)> done) override;
  // Nothing was set aside or rejected.
  absl::StatusOr<v1::ListQuarantinedResponse> ListQuarantined(
      const v1::ListQuarantinedRequest&) const override {
    return v1::ListQuarantinedResponse();
  }
  void ReleaseQuarantined(
      const v1::ReleaseQuarantinedRequest& request,
      std::function<void(absl::StatusOr<v1::ReleaseQuarantinedResponse>)> done) override;
  absl::StatusOr<v1::ListRejectedResponse> ListRejected(
      const v1::ListRejectedRequest&) const override {
    return v1::ListRejectedResponse();
  }
  absl::Status Ready() const override { return absl::OkStatus(); }
  server::Served Live() const override;
  absl::StatusOr<server::Served> Version(uint64_t version) override;
  v1::Report Report() const override;
  uint64_t Watch(std::function<void(const v1::ReportEvent&)> observer) override;
  void Unwatch(uint64_t id) override;
  absl::StatusOr<v1::EvaluateResponse> Evaluate(const v1::EvaluateRequest& request) override;
  absl::StatusOr<v1::BlameResponse> Blame(const v1::BlameRequest& request,
                                          const std::function<bool()>& left) override;
  void CreateCheckpoint(const v1::CreateCheckpointRequest& request,
                        std::function<void(absl::StatusOr<v1::Checkpoint>)> done) override;
  absl::StatusOr<std::vector<v1::Checkpoint>> ListCheckpoints() const override;
  absl::StatusOr<v1::Checkpoint> GetCheckpoint(absl::string_view id) const override;
  absl::Status DeleteCheckpoint(absl::string_view id) override;
  void Rollback(const v1::RollbackRequest& request,
                std::function<void(absl::StatusOr<v1::RollbackResponse>)> done) override;
  // What SetFile gave; NOT_FOUND for a checkpoint that is not there.
  absl::StatusOr<server::ModelFile> Export(const v1::ExportRequest& request) override;
  void SetFile(server::ModelFile file);
  strategies::LearnerGauges Gauges() const override;

 private:
  using LearnDone = std::function<void(absl::StatusOr<server::Accepted>)>;
  struct Submitted {
    server::Accepted accepted;
    LearnDone done;
  };
  struct Waiter {
    uint64_t sequence;
    std::function<void(absl::StatusOr<v1::WaitAppliedResponse>)> done;
  };

  server::Served Make(uint64_t version, int64_t classes) const;
  absl::StatusOr<server::Accepted> Take(const v1::LearnMessage& message)
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const std::string name_;
  const std::shared_ptr<const v1::ModelSpec> spec_;
  const Commits commits_;
  server::ModelStatistics statistics_;
  mutable base::Mutex mutex_;
  base::CondVar changed_;
  uint64_t epoch_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t producer_sequence_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t assigned_ ABSL_GUARDED_BY(mutex_) = 0;
  uint64_t durable_ ABSL_GUARDED_BY(mutex_) = 0;
  int64_t messages_ ABSL_GUARDED_BY(mutex_) = 0;
  int refusals_ ABSL_GUARDED_BY(mutex_) = 0;
  absl::Status refusal_ ABSL_GUARDED_BY(mutex_);
  std::deque<Submitted> submitted_ ABSL_GUARDED_BY(mutex_);
  std::vector<Waiter> waiters_ ABSL_GUARDED_BY(mutex_);
  server::Served live_ ABSL_GUARDED_BY(mutex_);
  absl::flat_hash_map<uint64_t, server::Served> kept_ ABSL_GUARDED_BY(mutex_);
  v1::Report report_ ABSL_GUARDED_BY(mutex_);
  uint64_t next_watch_ ABSL_GUARDED_BY(mutex_) = 1;
  absl::flat_hash_map<uint64_t, std::function<void(const v1::ReportEvent&)>> watches_
      ABSL_GUARDED_BY(mutex_);
  std::vector<v1::Checkpoint> checkpoints_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::Loss> losses_ ABSL_GUARDED_BY(mutex_);
  strategies::LearnerGauges gauges_ ABSL_GUARDED_BY(mutex_);
  server::ModelFile file_ ABSL_GUARDED_BY(mutex_);
  OnBlame blame_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace engram::testing
