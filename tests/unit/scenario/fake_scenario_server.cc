#include "tests/unit/scenario/fake_scenario_server.h"

#include <algorithm>
#include <set>

#include "absl/strings/str_cat.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server_builder.h"
#include "storage/base/check.h"

namespace engram::scenario {

FakeScenarioServer::FakeScenarioServer(ServerScript script)
    : script_(std::move(script)), learning_(script_.learn, this) {
  grpc::ServerBuilder builder;
  builder.AddListeningPort("127.0.0.1:0", grpc::InsecureServerCredentials(), &port_);
  builder.RegisterService(static_cast<v1::Models::Service*>(this));
  builder.RegisterService(static_cast<v1::Evaluation::Service*>(this));
  builder.RegisterService(static_cast<v1::Checkpoints::Service*>(this));
  builder.RegisterService(static_cast<v1::Prediction::Service*>(this));
  builder.RegisterService(&learning_);
  server_ = builder.BuildAndStart();
  ENGRAM_CHECK(server_ != nullptr);
}

FakeScenarioServer::~FakeScenarioServer() { server_->Shutdown(); }

std::string FakeScenarioServer::target() const { return absl::StrCat("127.0.0.1:", port_); }

std::shared_ptr<client::Connection> FakeScenarioServer::Connect() const {
  client::ConnectionOptions options;
  options.target = target();
  options.retry = client::QuickRetry();
  return client::Connection::Open(options).value();
}

Calls FakeScenarioServer::calls() const {
  absl::MutexLock lock(&mu_);
  return calls_;
}

void FakeScenarioServer::AwaitPredictions(size_t calls) const {
  absl::MutexLock lock(&mu_);
  const auto enough = [this, calls]() ABSL_SHARED_LOCKS_REQUIRED(mu_) {
    return calls_.predicted_tasks.size() >= calls;
  };
  mu_.Await(absl::Condition(&enough));
}

grpc::Status FakeScenarioServer::Learning::WaitApplied(grpc::ServerContext* /*context*/,
                                                       const v1::WaitAppliedRequest* request,
                                                       v1::WaitAppliedResponse* response) {
  absl::MutexLock lock(&server_->mu_);
  if (++server_->calls_.waits <= server_->script_.slow_waits) {
    return grpc::Status(grpc::StatusCode::DEADLINE_EXCEEDED, "applied 1 of 2");
  }
  response->set_applied_sequence(request->sequence());
  return grpc::Status::OK;
}

grpc::Status FakeScenarioServer::CreateModel(grpc::ServerContext* /*context*/,
                                             const v1::CreateModelRequest* request,
                                             v1::Model* response) {
  const size_t messages = learning_.stored().size();
  absl::MutexLock lock(&mu_);
  first_message_ = messages;
  calls_.created.push_back(*request);
  response->set_name(request->name());
  return grpc::Status::OK;
}

grpc::Status FakeScenarioServer::GetModel(grpc::ServerContext* /*context*/,
                                          const v1::GetModelRequest* request, v1::Model* response) {
  absl::MutexLock lock(&mu_);
  response->set_name(request->name());
  response->set_version(++version_);
  return grpc::Status::OK;
}

grpc::Status FakeScenarioServer::DeleteModel(grpc::ServerContext* /*context*/,
                                             const v1::DeleteModelRequest* request,
                                             v1::DeleteModelResponse* /*response*/) {
  absl::MutexLock lock(&mu_);
  calls_.deleted.push_back(request->name());
  return grpc::Status::OK;
}

grpc::Status FakeScenarioServer::GetReport(grpc::ServerContext* /*context*/,
                                           const v1::GetReportRequest* request,
                                           v1::Report* response) {
  std::vector<std::string> tasks;
  int64_t trained = 0;
  int boundaries = 0;
  size_t first = 0;
  {
    absl::MutexLock lock(&mu_);
    first = first_message_;
  }
  const std::vector<v1::LearnMessage> stored = learning_.stored();
  for (size_t at = first; at < stored.size(); ++at) {
    const v1::LearnMessage& message = stored[at];
    if (message.has_boundary()) ++boundaries;
    for (const v1::Example& example : message.examples()) {
      if (example.split() == v1::TRAIN) {
        ++trained;
      } else if (std::find(tasks.begin(), tasks.end(), example.task()) == tasks.end()) {
        tasks.push_back(example.task());
      }
    }
  }
  response->set_model(request->model());
  response->set_train_examples(trained + script_.miscount);
  response->set_prequential_examples(trained);
  response->set_prequential_hits(trained * 8 / 10);
  for (const std::string& task : tasks) response->add_tasks()->set_task(task);
  for (int row = 0; row < boundaries; ++row) {
    v1::AccuracyRow* cells = response->add_rows();
    for (size_t column = 0; column < tasks.size(); ++column) {
      v1::AccuracyRow::Cell* cell = cells->add_cells();
      cell->set_accuracy((10.0 * row + static_cast<double>(column)) / 100);
      cell->set_task_accuracy(1);
    }
  }
  response->mutable_summary()->set_acc(0.5);
  response->mutable_task_summary()->set_acc(1);
  return grpc::Status::OK;
}

grpc::Status FakeScenarioServer::Evaluate(grpc::ServerContext* /*context*/,
                                          const v1::EvaluateRequest* request,
                                          v1::EvaluateResponse* response) {
  int even = 0;
  for (const v1::Example& example : request->examples()) {
    if (example.label().number() % 2 == 0) ++even;
  }
  response->set_accuracy(static_cast<double>(even) / request->examples_size());
  response->set_examples(request->examples_size());
  absl::MutexLock lock(&mu_);
  calls_.evaluations.push_back(*request);
  return grpc::Status::OK;
}

grpc::Status FakeScenarioServer::CreateCheckpoint(grpc::ServerContext* /*context*/,
                                                  const v1::CreateCheckpointRequest* request,
                                                  v1::Checkpoint* response) {
  absl::MutexLock lock(&mu_);
  calls_.checkpoints.push_back(*request);
  response->set_label(request->label());
  return grpc::Status::OK;
}

grpc::Status FakeScenarioServer::Predict(grpc::ServerContext* /*context*/,
                                         const v1::PredictRequest* request,
                                         v1::PredictResponse* response) {
  response->add_predictions();
  absl::MutexLock lock(&mu_);
  calls_.predicted_tasks.push_back(request->task());
  const auto calls = static_cast<int>(calls_.predicted_tasks.size());
  if (calls <= script_.classless_predictions) {
    return grpc::Status(grpc::StatusCode::FAILED_PRECONDITION, "no class yet");
  }
  if (calls > script_.classless_predictions + 1 &&
      calls <= script_.classless_predictions + 1 + script_.failed_predictions) {
    return grpc::Status(grpc::StatusCode::FAILED_PRECONDITION, "gone");
  }
  return grpc::Status::OK;
}

}  // namespace engram::scenario
