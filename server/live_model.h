// ModelRuntime over an admission, a trainer and the parts between them: composition and the checks
// at the calls' edge, nothing more.
//
// Threading: as ModelRuntime; RunOnce on one thread at a time.
// Ownership: shared_ptr; background jobs and the host's strand refer to it, so the host lets go of
//   it only after both.
#pragma once

#include <atomic>
#include <list>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "server/admission.h"
#include "server/applied_waiters.h"
#include "server/checkpoint_keeper.h"
#include "server/held_out_sets.h"
#include "server/model_context.h"
#include "server/model_runtime.h"
#include "server/quarantine_book.h"
#include "server/rejected_messages.h"
#include "server/report_book.h"
#include "server/snapshot_slot.h"
#include "server/trainer.h"

namespace engram::server {

class LiveModel : public ModelRuntime {
 public:
  // `spec` as created, completed.
  LiveModel(ModelContext context, const v1::ModelSpec& spec, const storage::ModelRow& row);

  // The host's side.
  Turn RunOnce() { return trainer_.RunOnce(); }
  void Update(v1::ModelSpec spec,
              std::function<void(absl::StatusOr<v1::UpdateModelResponse>)> done);
  // Promotes what a tune proposes.
  void Promote(std::function<void(absl::StatusOr<v1::UpdateModelResponse>)> done);
  void SetPaused(bool paused) { trainer_.SetPaused(paused); }
  // Refuses what is new; what is in flight ends.
  void Close(const absl::Status& why);
  // After Close: whatever waits is answered, and every call answers `why`.
  void Retire(const absl::Status& why);
  // All that is durable is trained, as far as it can be now.
  bool Drained() const;
  // At once when the model does not serve (a recovery has nothing new to keep).
  void TakeFinalCheckpoint(std::function<void()> done);
  void ExpireWaits(absl::Duration now) { waiters_.Expire(now); }
  absl::Duration NextDeadline() const { return waiters_.NextDeadline(); }
  storage::ModelUid uid() const { return context_.uid; }
  Trainer::Progress progress() const { return trainer_.progress(); }

  // ModelRuntime.
  const std::string& name() const override { return context_.name; }
  v1::Model Describe() const override;
  ModelStatistics& statistics() override { return *context_.statistics; }
  std::shared_ptr<const v1::ModelSpec> spec() const override;
  void Hello(const v1::LearnHello& hello,
             std::function<void(absl::StatusOr<v1::LearnWelcome>)> done) override;
  void Learn(const std::string& producer, uint64_t epoch, v1::LearnMessage message,
             std::function<void(absl::StatusOr<Accepted>)> done) override;
  std::vector<v1::Loss> Losses() const override { return losses_->Open(); }
  absl::StatusOr<std::vector<v1::Loss>> AcknowledgeLoss(const std::string& producer) override {
    return losses_->Acknowledge(producer);
  }
  uint64_t DurableSequence() const override;
  uint64_t AppliedSequence() const override;
  void WaitApplied(uint64_t sequence, bool evaluated, absl::Duration deadline,
                   std::function<void(absl::StatusOr<v1::WaitAppliedResponse>)> done) override;
  void Erase(const v1::EraseRequest& request,
             std::function<void(absl::StatusOr<v1::EraseResponse>)> done) override;
  absl::StatusOr<v1::ListQuarantinedResponse> ListQuarantined(
      const v1::ListQuarantinedRequest& request) const override;
  void ReleaseQuarantined(
      const v1::ReleaseQuarantinedRequest& request,
      std::function<void(absl::StatusOr<v1::ReleaseQuarantinedResponse>)> done) override;
  absl::StatusOr<v1::ListRejectedResponse> ListRejected(
      const v1::ListRejectedRequest& request) const override {
    return rejected_->List(request);
  }
  absl::Status Ready() const override;
  Served Live() const override { return slot_.Get(); }
  absl::StatusOr<Served> Version(uint64_t version) override;
  v1::Report Report() const override;
  uint64_t Watch(std::function<void(const v1::ReportEvent&)> observer) override;
  void Unwatch(uint64_t id) override { report_.Unwatch(id); }
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
  absl::StatusOr<ModelFile> Export(const v1::ExportRequest& request) override;
  strategies::LearnerGauges Gauges() const override { return trainer_.gauges(); }

 private:
  // OK while the model serves.
  absl::Status CheckServing() const;
  absl::Status CheckReachable(uint64_t sequence) const;
  absl::StatusOr<v1::RollbackResponse> PlanRollback(const v1::RollbackRequest& request);
  // Any version, 0 (before the first record) included.
  absl::StatusOr<Served> ExactVersion(uint64_t version);
  absl::StatusOr<Served> LoadVersion(uint64_t version);
  // By id or label; empty: the newest.
  absl::StatusOr<storage::CheckpointRow> FindCheckpoint(absl::string_view id) const;
  void ForgetVersions();

  const ModelContext context_;
  const v1::ModelSpec created_spec_;
  const int64_t create_time_ms_;
  SnapshotSlot slot_;
  AppliedWaiters waiters_;
  ReportBook report_;
  HeldOutSets held_out_;
  CheckpointKeeper checkpoints_;
  const std::shared_ptr<LossLock> losses_;
  const std::shared_ptr<RejectedMessages> rejected_ = std::make_shared<RejectedMessages>();
  const std::shared_ptr<Admission> admission_;
  QuarantineBook quarantine_;
  Trainer trainer_;

  mutable base::Mutex retired_mutex_;
  absl::Status retired_ ABSL_GUARDED_BY(retired_mutex_);
  base::Mutex versions_mutex_;  // held while one is loaded: one load at a time
  std::list<std::pair<uint64_t, Served>> versions_ ABSL_GUARDED_BY(versions_mutex_);
};

}  // namespace engram::server
