// What an orchestrator and a stranger with grpcurl see: health, Watch, reflection, server facts.
#include "tests/testing/process/health.h"

#include "tests/integration/server_test.h"
#include "tests/testing/process/raw_call.h"

namespace engram::integration {
namespace {

using testing::CheckHealth;
using testing::ServingStatus;

using HealthTest = ServerTest;

TEST_F(HealthTest, TheServerAndEachModelServe) {
  ToyModel model(stubs_.get(), "toy");
  model.Create(ToySpec());
  const auto server = CheckHealth(stubs_->channel, "");
  ASSERT_TRUE(server.ok()) << server.status();
  EXPECT_EQ(*server, ServingStatus::kServing);
  const auto one = CheckHealth(stubs_->channel, "toy");
  ASSERT_TRUE(one.ok()) << one.status();
  EXPECT_EQ(*one, ServingStatus::kServing);
  EXPECT_EQ(CheckHealth(stubs_->channel, "nobody").status().code(), absl::StatusCode::kNotFound);
}

TEST_F(HealthTest, WatchFollowsAModel) {
  testing::HealthWatch watch(server_->NewChannel(), "toy");
  ServingStatus status = ServingStatus::kUnknown;
  ASSERT_TRUE(watch.Next(&status));
  EXPECT_EQ(status, ServingStatus::kServiceUnknown);
  ToyModel model(stubs_.get(), "toy");
  model.Create(ToySpec());
  ASSERT_TRUE(watch.Next(&status));
  if (status == ServingStatus::kNotServing) {
    ASSERT_TRUE(watch.Next(&status));
  }
  EXPECT_EQ(status, ServingStatus::kServing);
  v1::DeleteModelRequest request;
  request.set_name("toy");
  ASSERT_TRUE(testing::Call(*stubs_->models, &v1::Models::Stub::DeleteModel, request).ok());
  ASSERT_TRUE(watch.Next(&status));
  EXPECT_NE(status, ServingStatus::kServing);
}

TEST_F(HealthTest, ReadinessFallsWhenTheServerDrains) {
  testing::HealthWatch watch(server_->NewChannel(), "");
  ServingStatus status = ServingStatus::kUnknown;
  ASSERT_TRUE(watch.Next(&status));
  EXPECT_EQ(status, ServingStatus::kServing);
  const auto code = server_->Drain();
  ASSERT_TRUE(code.ok()) << code.status();
  EXPECT_EQ(*code, 0) << server_->Output();
  ASSERT_TRUE(watch.Next(&status)) << "the change is told before the stream ends";
  EXPECT_EQ(status, ServingStatus::kNotServing);
}

TEST_F(HealthTest, ReflectionNamesTheServices) {
  grpc::ClientContext context;
  const auto stream = testing::OpenRawStream(
      stubs_->channel, "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo", &context);
  // ServerReflectionRequest{string list_services = 7}.
  ASSERT_TRUE(stream->Write(testing::ToBuffer(absl::string_view(":\x01*", 3))));
  grpc::ByteBuffer reply;
  ASSERT_TRUE(stream->Read(&reply));
  const std::string names = testing::FromBuffer(reply);
  for (const char* service :
       {"engram.v1.Models", "engram.v1.Learning", "engram.v1.Prediction", "engram.v1.Evaluation",
        "engram.v1.Checkpoints", "engram.v1.Admin", "grpc.health.v1.Health"}) {
    EXPECT_NE(names.find(service), std::string::npos) << service;
  }
  stream->WritesDone();
  stream->Finish();
}

TEST_F(HealthTest, TheServerSaysWhatItIsAndWhatItAllows) {
  const auto server =
      testing::Call(*stubs_->admin, &v1::Admin::Stub::GetServerInfo, v1::GetServerInfoRequest());
  ASSERT_TRUE(server.ok()) << server.status.error_message();
  EXPECT_FALSE(server->version().empty());
  EXPECT_FALSE(server->libtorch().empty());
  EXPECT_FALSE(server->compute_fingerprint().empty());
  EXPECT_NE(server->rocksdb().find("RocksDB"), std::string::npos);
  EXPECT_GT(server->disk_free_bytes(), 0);
  const auto strategies =
      testing::Call(*stubs_->admin, &v1::Admin::Stub::ListStrategies, v1::ListStrategiesRequest());
  std::string names;
  for (const auto& strategy : strategies->strategies()) names += strategy.name() + " ";
  for (const char* name : {"finetune", "experience_replay", "ewc", "online_ewc"}) {
    EXPECT_NE(names.find(name), std::string::npos) << name;
  }
  const auto limits =
      testing::Call(*stubs_->admin, &v1::Admin::Stub::GetLimits, v1::GetLimitsRequest());
  EXPECT_GT(limits->limits_size(), 5);
}

}  // namespace
}  // namespace engram::integration
