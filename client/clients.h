// One typed client a service: every unary call with a deadline, repeats and a readable status.
//
// Threading: safe from any thread.
// Ownership: shares the Connection.
// Failure: the server's status, converted by FromGrpcStatus. Reads and whatever carries a producer
//   sequence are repeated after UNAVAILABLE and RESOURCE_EXHAUSTED with RetryInfo; other calls only
//   when the server attached RetryInfo.
// Bounds: the connection's unary deadline covers all repeats; calls that wait on the server take
//   their own deadline.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "client/connection.h"
#include "engram/v1/admin.grpc.pb.h"
#include "engram/v1/checkpoints.grpc.pb.h"
#include "engram/v1/evaluation.grpc.pb.h"
#include "engram/v1/learning.grpc.pb.h"
#include "engram/v1/model.grpc.pb.h"
#include "engram/v1/prediction.grpc.pb.h"

namespace engram::client {

class ModelsClient {
 public:
  explicit ModelsClient(std::shared_ptr<Connection> connection);

  absl::StatusOr<v1::Model> Create(const std::string& name, const v1::ModelSpec& spec) const;
  // From a safetensors file, sent in chunks; the deadline grows with it. Never repeated.
  absl::StatusOr<v1::Model> CreateFromWeights(const std::string& name, const v1::ModelSpec& spec,
                                              v1::PretrainedWeights::Scope scope,
                                              absl::string_view file) const;
  absl::StatusOr<v1::Model> Get(const std::string& name) const;
  absl::StatusOr<std::vector<v1::Model>> List() const;
  absl::StatusOr<v1::UpdateModelResponse> Update(const std::string& name,
                                                 const v1::ModelSpec& spec) const;
  // The candidate that a tune proposes becomes the model.
  absl::StatusOr<v1::UpdateModelResponse> Promote(const std::string& name) const;
  absl::Status Delete(const std::string& name) const;
  absl::StatusOr<v1::Model> Pause(const std::string& name) const;
  absl::StatusOr<v1::Model> Resume(const std::string& name) const;

 private:
  const std::shared_ptr<Connection> connection_;
  const std::unique_ptr<v1::Models::Stub> stub_;
};

// Unary learning, for producers that send little. The caller keeps the producer sequence.
class LearningClient {
 public:
  explicit LearningClient(std::shared_ptr<Connection> connection);

  absl::StatusOr<v1::LearnBatchResponse> LearnBatch(const v1::LearnBatchRequest& request) const;
  absl::StatusOr<v1::MarkBoundaryResponse> MarkBoundary(
      const v1::MarkBoundaryRequest& request) const;
  // The server goes on when `patience` is over; the same call then waits again.
  absl::StatusOr<v1::EraseResponse> Erase(const v1::EraseRequest& request,
                                          absl::Duration patience) const;
  // Sequence 0 = what is durable now. Blocks up to `deadline`.
  absl::StatusOr<v1::WaitAppliedResponse> WaitApplied(const std::string& model, uint64_t sequence,
                                                      bool evaluated,
                                                      absl::Duration deadline) const;

 private:
  const std::shared_ptr<Connection> connection_;
  const std::unique_ptr<v1::Learning::Stub> stub_;
};

class PredictionClient {
 public:
  explicit PredictionClient(std::shared_ptr<Connection> connection);

  absl::StatusOr<v1::PredictResponse> Predict(const v1::PredictRequest& request) const;

 private:
  const std::shared_ptr<Connection> connection_;
  const std::unique_ptr<v1::Prediction::Stub> stub_;
};

class EvaluationClient {
 public:
  explicit EvaluationClient(std::shared_ptr<Connection> connection);

  absl::StatusOr<v1::Report> GetReport(const std::string& model) const;
  absl::StatusOr<v1::EvaluateResponse> Evaluate(const v1::EvaluateRequest& request) const;
  // Calls `on_event` for each event on this thread until it returns false (OK) or the stream ends.
  absl::Status WatchReport(const std::string& model,
                           const std::function<bool(const v1::ReportEvent&)>& on_event) const;

 private:
  const std::shared_ptr<Connection> connection_;
  const std::unique_ptr<v1::Evaluation::Stub> stub_;
};

// A model as a file, and what the server says of it.
struct ExportedFile {
  v1::ExportResponse::Header header;
  std::string bytes;
};

class CheckpointsClient {
 public:
  explicit CheckpointsClient(std::shared_ptr<Connection> connection);

  // Blocks up to `deadline` when min_applied_sequence is ahead of the model.
  absl::StatusOr<v1::Checkpoint> Create(const v1::CreateCheckpointRequest& request,
                                        absl::Duration deadline) const;
  absl::StatusOr<std::vector<v1::Checkpoint>> List(const std::string& model) const;
  absl::StatusOr<v1::Checkpoint> Get(const std::string& model, const std::string& id) const;
  absl::Status Delete(const std::string& model, const std::string& id) const;
  absl::StatusOr<v1::RollbackResponse> Rollback(const v1::RollbackRequest& request) const;
  // The whole file, within `deadline`; DATA_LOSS when its length or SHA-256 is not the header's.
  absl::StatusOr<ExportedFile> Export(const v1::ExportRequest& request,
                                      absl::Duration deadline) const;
  // A new model of such a file, sent in chunks; the deadline grows with it. Never repeated.
  absl::StatusOr<v1::Model> Import(const v1::ImportRequest::Header& header,
                                   absl::string_view file) const;

 private:
  const std::shared_ptr<Connection> connection_;
  const std::unique_ptr<v1::Checkpoints::Stub> stub_;
};

class AdminClient {
 public:
  explicit AdminClient(std::shared_ptr<Connection> connection);

  absl::StatusOr<v1::ServerInfo> GetServerInfo() const;
  absl::StatusOr<std::vector<v1::StrategyDescription>> ListStrategies() const;
  absl::StatusOr<std::vector<v1::Limit>> GetLimits() const;
  // Blocks up to `deadline`; the server goes on when it passes.
  absl::StatusOr<v1::Backup> CreateBackup(const std::string& name, absl::Duration deadline) const;
  absl::StatusOr<v1::ReloadConfigResponse> ReloadConfig() const;
  // `producer` empty: of all.
  absl::StatusOr<std::vector<v1::Loss>> AcknowledgeLoss(const std::string& model,
                                                        const std::string& producer) const;
  absl::StatusOr<std::vector<v1::AuditEntry>> ListAudit(int32_t limit,
                                                        uint64_t before_number) const;
  absl::StatusOr<v1::ListQuarantinedResponse> ListQuarantined(
      const v1::ListQuarantinedRequest& request) const;
  absl::StatusOr<v1::ReleaseQuarantinedResponse> ReleaseQuarantined(
      const v1::ReleaseQuarantinedRequest& request) const;
  absl::StatusOr<v1::ListRejectedResponse> ListRejected(
      const v1::ListRejectedRequest& request) const;
  // Blocks up to `deadline`, after which the server stops, too.
  absl::StatusOr<v1::BlameResponse> Blame(const v1::BlameRequest& request,
                                          absl::Duration deadline) const;

 private:
  const std::shared_ptr<Connection> connection_;
  const std::unique_ptr<v1::Admin::Stub> stub_;
};

}  // namespace engram::client
