// A server for tests of the scenario runner: real gRPC on a free port; the Learn stream of the
// client's fake, and a report made from the messages that arrived.
//
// Threading: safe from any thread. Ownership: owns the gRPC server. Bounds: keeps every message.
// Failure: aborts when the port cannot be bound.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "client/connection.h"
#include "engram/v1/checkpoints.grpc.pb.h"
#include "engram/v1/evaluation.grpc.pb.h"
#include "engram/v1/prediction.grpc.pb.h"
#include "grpcpp/server.h"
#include "tests/unit/client/fake_engram.h"

namespace engram::scenario {

struct ServerScript {
  client::LearnScript learn;
  // How often WaitApplied answers DEADLINE_EXCEEDED first; the model moves meanwhile.
  int slow_waits = 0;
  // How often Predict answers that there is no class yet.
  int classless_predictions = 0;
  // How often it fails after that.
  int failed_predictions = 0;
  // Added to the number of examples that the report says were learned.
  int64_t miscount = 0;
};

// What came in beside the Learn stream.
struct Calls {
  std::vector<v1::CreateModelRequest> created;
  std::vector<std::string> deleted;
  std::vector<v1::CreateCheckpointRequest> checkpoints;
  std::vector<v1::EvaluateRequest> evaluations;
  std::vector<std::string> predicted_tasks;
  int waits = 0;
};

class FakeScenarioServer : public v1::Models::Service,
                           public v1::Evaluation::Service,
                           public v1::Checkpoints::Service,
                           public v1::Prediction::Service {
 public:
  explicit FakeScenarioServer(ServerScript script = {});
  ~FakeScenarioServer() override;

  std::string target() const;
  std::shared_ptr<client::Connection> Connect() const;
  std::vector<v1::LearnMessage> stored() const { return learning_.stored(); }
  Calls calls() const;
  void AwaitPredictions(size_t calls) const;

  grpc::Status CreateModel(grpc::ServerContext* context, const v1::CreateModelRequest* request,
                           v1::Model* response) override;
  grpc::Status GetModel(grpc::ServerContext* context, const v1::GetModelRequest* request,
                        v1::Model* response) override;
  grpc::Status DeleteModel(grpc::ServerContext* context, const v1::DeleteModelRequest* request,
                           v1::DeleteModelResponse* response) override;
  // Eight of ten examples were predicted right. A row a boundary; R[i][j] = (10 i + j) / 100,
  // absent for tasks without held-out rows.
  grpc::Status GetReport(grpc::ServerContext* context, const v1::GetReportRequest* request,
                         v1::Report* response) override;
  // Right on even labels.
  grpc::Status Evaluate(grpc::ServerContext* context, const v1::EvaluateRequest* request,
                        v1::EvaluateResponse* response) override;
  grpc::Status CreateCheckpoint(grpc::ServerContext* context,
                                const v1::CreateCheckpointRequest* request,
                                v1::Checkpoint* response) override;
  grpc::Status Predict(grpc::ServerContext* context, const v1::PredictRequest* request,
                       v1::PredictResponse* response) override;

 private:
  class Learning : public client::FakeLearning {
   public:
    Learning(client::LearnScript script, FakeScenarioServer* server)
        : FakeLearning(std::move(script)), server_(server) {}
    grpc::Status WaitApplied(grpc::ServerContext* context, const v1::WaitAppliedRequest* request,
                             v1::WaitAppliedResponse* response) override;

   private:
    FakeScenarioServer* const server_;
  };

  const ServerScript script_;
  Learning learning_;
  mutable absl::Mutex mu_;
  Calls calls_ ABSL_GUARDED_BY(mu_);
  uint64_t version_ ABSL_GUARDED_BY(mu_) = 0;
  // Messages of earlier models.
  size_t first_message_ ABSL_GUARDED_BY(mu_) = 0;
  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
};

}  // namespace engram::scenario
