// A server's life: start, pause, change, stop, start again; and a model's.
#include "nlohmann/json.hpp"
#include "tests/integration/server_test.h"
#include "tests/testing/process/http_get.h"
#include "tests/testing/process/status_details.h"

namespace engram::integration {
namespace {

const std::vector<int64_t> kLabels = {0, 1};
const std::vector<int64_t> kProbe = {0, 1, 0, 1};

class LifecycleTest : public ServerTest {
 protected:
  void SetUp() override {
    ServerTest::SetUp();
    model_.UseStubs(stubs_.get());
  }
  testing::Outcome<v1::UpdateModelResponse> Update(const v1::ModelSpec& spec) {
    v1::UpdateModelRequest request;
    request.set_name("toy");
    *request.mutable_spec() = spec;
    return testing::Call(*stubs_->models, &v1::Models::Stub::UpdateModel, request);
  }
  template <typename Request, typename Reply>
  void SetPaused(grpc::Status (v1::Models::Stub::*method)(grpc::ClientContext*, const Request&,
                                                          Reply*)) {
    Request request;
    request.set_name("toy");
    ASSERT_TRUE(testing::Call(*stubs_->models, method, request).ok());
  }

  ToyModel model_{nullptr, "toy"};
};

TEST_F(LifecycleTest, EndpointsAreWrittenAndAnswer) {
  const auto json =
      nlohmann::json::parse(testing::ReadWholeFile(options_.data_dir + "/endpoints.json"));
  EXPECT_EQ(json.at("grpc"), server_->grpc_address());
  const auto live = testing::HttpGet(json.at("http"), "/healthz");
  ASSERT_TRUE(live.ok()) << live.status();
  EXPECT_EQ(live->code, 200);
  const auto ready = testing::HttpGet(json.at("http"), "/readyz");
  ASSERT_TRUE(ready.ok()) << ready.status();
  EXPECT_EQ(ready->code, 200);
  const auto nothing = testing::HttpGet(json.at("http"), "/no-such-page");
  ASSERT_TRUE(nothing.ok()) << nothing.status();
  EXPECT_EQ(nothing->code, 404);
  EXPECT_NE(server_->Output().find(server_->grpc_address()), std::string::npos)
      << "the ports in use are printed";
}

TEST_F(LifecycleTest, APausedModelAcksAndPredictsButDoesNotTrain) {
  model_.Create(ToySpec());
  model_.Learn(kLabels, 200);
  model_.WaitApplied();
  const std::string before = ScoreBits(model_.Predict(kProbe));
  SetPaused(&v1::Models::Stub::PauseTraining);
  const uint64_t version = model_.Describe().version();
  const uint64_t durable = model_.Learn(kLabels, 300);
  EXPECT_TRUE(model_.Describe().paused());
  EXPECT_GE(model_.Describe().durable_sequence(), durable);
  EXPECT_EQ(model_.Predict(kProbe).model_version(), version);
  EXPECT_EQ(ScoreBits(model_.Predict(kProbe)), before);
  Restart(/*kill=*/false, &model_);
  EXPECT_TRUE(model_.Describe().paused()) << "survives a restart";
  EXPECT_EQ(ScoreBits(model_.Predict(kProbe)), before);
  SetPaused(&v1::Models::Stub::ResumeTraining);
  model_.WaitApplied();
  EXPECT_EQ(model_.Report().train_examples(), 500);
  EXPECT_NE(ScoreBits(model_.Predict(kProbe)), before);
}

TEST_F(LifecycleTest, ALearningRateChangesLiveAndIsARecord) {
  v1::ModelSpec spec = ToySpec();
  model_.Create(spec);
  model_.Learn(kLabels, 100);
  model_.WaitApplied();
  spec.mutable_optimizer()->set_learning_rate(0.001);
  const auto updated = Update(spec);
  ASSERT_TRUE(updated.ok()) << updated.status.error_message();
  EXPECT_GT(updated->sequence(), 100u);
  model_.Learn(kLabels, 100);
  model_.WaitApplied();
  const v1::Checkpoint checkpoint = model_.Checkpoint();
  Restart(/*kill=*/true, &model_);
  EXPECT_EQ(model_.Describe().spec().optimizer().learning_rate(), 0.001);
  EXPECT_EQ(model_.Checkpoint().sha256(), checkpoint.sha256()) << "recovery repeats the change";
}

TEST_F(LifecycleTest, WhatIsNotLiveCannotChange) {
  v1::ModelSpec spec = ToySpec();
  model_.Create(spec);
  spec.mutable_mlp()->set_hidden(0, 64);
  const auto refused = Update(spec);
  EXPECT_EQ(refused.status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_NE(refused.status.error_message().find("hidden"), std::string::npos)
      << refused.status.error_message();
}

TEST_F(LifecycleTest, AKilledServerComesBackAsItWas) {
  v1::ModelSpec spec = ToySpec();
  spec.add_strategies()->mutable_experience_replay()->set_memory_size(100);
  model_.Create(spec);
  model_.HoldOut(kLabels, 30);
  model_.Learn(kLabels, 300);
  model_.Boundary("b");
  model_.Learn({2, 3}, 150);
  model_.WaitApplied(/*evaluated=*/true);
  const v1::Report report = model_.Report();
  const std::string bits = ScoreBits(model_.Predict(kProbe));
  Restart(/*kill=*/true, &model_);
  EXPECT_EQ(ScoreBits(model_.Predict(kProbe)), bits);
  const v1::Report again = model_.Report();
  EXPECT_EQ(again.train_examples(), report.train_examples());
  EXPECT_EQ(again.model_version(), report.model_version());
  EXPECT_EQ(again.durable_sequence(), report.durable_sequence());
  ASSERT_EQ(again.rows_size(), 1);
  EXPECT_EQ(again.rows(0).SerializeAsString(), report.rows(0).SerializeAsString());
  EXPECT_EQ(again.prequential_accuracy(), report.prequential_accuracy());
  model_.Learn({2, 3}, 50);
  model_.WaitApplied();
  EXPECT_EQ(model_.Report().train_examples(), 500);
}

TEST_F(LifecycleTest, ADrainFinishesAndLeavesACheckpointOfTheEnd) {
  model_.Create(ToySpec());
  const uint64_t durable = model_.Learn(kLabels, 537);
  Restart(/*kill=*/false, &model_);
  const auto checkpoints = model_.Checkpoints();
  ASSERT_FALSE(checkpoints.empty());
  EXPECT_GE(checkpoints[0].applied_sequence(), durable);
  EXPECT_TRUE(checkpoints[0].automatic());
  EXPECT_EQ(model_.Report().train_examples(), 537);
}

TEST_F(LifecycleTest, ASecondServerOnTheFolderIsRefused) {
  const auto finished = testing::RunToEnd(testing::ServerCommand(options_), absl::Seconds(10),
                                          scratch_.path() + "/second.log");
  ASSERT_TRUE(finished.ok()) << finished.status();
  EXPECT_EQ(finished->code, 73);  // EX_CANTCREAT
  EXPECT_NE(finished->output.find("in use"), std::string::npos) << finished->output;
  EXPECT_NE(finished->output.find(std::to_string(server_->pid())), std::string::npos)
      << "names the process: " << finished->output;
  model_.Create(ToySpec());
  model_.Learn(kLabels, 10);
}

TEST_F(LifecycleTest, AFlagThatNobodyKnowsStopsTheStart) {
  testing::ServerOptions other;
  other.data_dir = scratch_.Subfolder("other");
  other.flags = {"--no_such_flag=1"};
  const auto finished = testing::RunToEnd(testing::ServerCommand(other), absl::Seconds(10),
                                          scratch_.path() + "/other.log");
  ASSERT_TRUE(finished.ok()) << finished.status();
  EXPECT_NE(finished->code, 0);
}

TEST_F(LifecycleTest, ModelsOfTheConfigurationExistAtStart) {
  testing::ServerOptions other;
  other.data_dir = scratch_.Subfolder("configured");
  other.config =
      "models { name: \"ready\" spec { feature_count: 16 mlp { hidden: 8 } } }\n"
      "limits { examples_per_message: 50 }\n";
  auto server = testing::ServerProcess::Start(other);
  ASSERT_TRUE(server.ok()) << server.status();
  const testing::Stubs stubs((*server)->NewChannel());
  ToyModel model(&stubs, "ready");
  EXPECT_EQ(model.Describe().spec().feature_count(), 16);
  v1::LearnBatchRequest request;
  for (uint64_t i = 0; i < 51; ++i) *request.add_examples() = testing::ToyExample({}, 0, i);
  EXPECT_EQ(model.Send(request).status.error_code(), grpc::INVALID_ARGUMENT)
      << "the limit of the configuration";
}

TEST_F(LifecycleTest, ADeletedModelIsGoneAndItsNameIsFree) {
  model_.Create(ToySpec());
  model_.Learn(kLabels, 200);
  model_.WaitApplied();
  v1::DeleteModelRequest request;
  request.set_name("toy");
  ASSERT_TRUE(testing::Call(*stubs_->models, &v1::Models::Stub::DeleteModel, request).ok());
  v1::GetModelRequest get;
  get.set_name("toy");
  const auto gone = testing::Call(*stubs_->models, &v1::Models::Stub::GetModel, get);
  EXPECT_EQ(gone.status.error_code(), grpc::NOT_FOUND);
  ToyModel fresh(stubs_.get(), "toy");
  fresh.Create(ToySpec());
  EXPECT_EQ(fresh.Describe().durable_sequence(), 0u);
  EXPECT_EQ(fresh.Checkpoints().size(), 0u);
  fresh.Learn(kLabels, 10);
  Restart(/*kill=*/true, &fresh);
  fresh.WaitApplied();
  EXPECT_EQ(fresh.Report().train_examples(), 10);
}

TEST_F(LifecycleTest, CheckpointsAreListedNewestFirstFoundByLabelAndDeleted) {
  model_.Create(ToySpec());
  model_.Learn(kLabels, 100);
  model_.WaitApplied();
  const v1::Checkpoint first = model_.Checkpoint("first");
  EXPECT_EQ(first.id().size(), 26u);
  EXPECT_EQ(first.sha256().size(), 64u);
  EXPECT_GT(first.bytes(), 0);
  EXPECT_FALSE(first.compute().empty());
  model_.Learn(kLabels, 100);
  model_.WaitApplied();
  const v1::Checkpoint second = model_.Checkpoint("second");
  const auto listed = model_.Checkpoints();
  ASSERT_EQ(listed.size(), 2u);
  EXPECT_EQ(listed[0].id(), second.id());
  v1::GetCheckpointRequest get;
  get.set_model("toy");
  get.set_id("first");
  EXPECT_EQ(testing::Call(*stubs_->checkpoints, &v1::Checkpoints::Stub::GetCheckpoint, get)->id(),
            first.id());
  v1::DeleteCheckpointRequest remove;
  remove.set_model("toy");
  remove.set_id(first.id());
  EXPECT_TRUE(
      testing::Call(*stubs_->checkpoints, &v1::Checkpoints::Stub::DeleteCheckpoint, remove).ok());
  EXPECT_EQ(model_.Checkpoints().size(), 1u);
}

}  // namespace
}  // namespace engram::integration
