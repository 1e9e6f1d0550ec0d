#include "client/clients.h"

#include <cstdio>
#include <fstream>

#include "client/status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/client/fake_engram.h"

namespace engram::client {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

v1::LearnBatchRequest Batch(uint64_t sequence) {
  v1::LearnBatchRequest request;
  request.set_model("digits");
  request.set_producer("camera-1");
  request.set_producer_sequence(sequence);
  return request;
}

TEST(LearningClientTest, RepeatsWithTheSameProducerSequence) {
  google::rpc::RetryInfo retry;
  retry.mutable_retry_delay()->set_nanos(1000);
  FakeEngram server;
  server.learning().FailLearnBatchWith(
      {grpc::Status(grpc::StatusCode::UNAVAILABLE, "gone"),
       RichStatus(grpc::StatusCode::RESOURCE_EXHAUSTED, "queue full", {&retry})});
  const auto learned = LearningClient(server.Connect()).LearnBatch(Batch(17));
  ASSERT_TRUE(learned.ok()) << learned.status();
  const auto batches = server.learning().batches();
  ASSERT_THAT(batches, SizeIs(3));
  for (const auto& batch : batches) EXPECT_EQ(batch.producer_sequence(), 17u);
}

TEST(ModelsClientTest, AFileGoesInChunksAndItsRefusalComesBack) {
  FakeEngram server;
  const ModelsClient models(server.Connect());
  v1::ModelSpec spec;
  spec.set_feature_count(3);
  const std::string file(3'500'000, 'w');
  const auto made = models.CreateFromWeights("m", spec, v1::PretrainedWeights::STRICT, file);
  ASSERT_TRUE(made.ok()) << made.status();
  EXPECT_EQ(made->spec().feature_count(), 3);
  EXPECT_EQ(made->spec().weights().scope(), v1::PretrainedWeights::STRICT);
  EXPECT_EQ(made->spec().weights().bytes(), 3'500'000);
  EXPECT_EQ(made->spec().weights().sha256(), "4 chunks");
  const auto refused = models.CreateFromWeights("m", spec, v1::PretrainedWeights::TRUNK, "hostile");
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(refused.status().message()), HasSubstr("weights: hostile"));
}

TEST(CheckpointsClientTest, AnExportedFileIsWholeOrNothing) {
  FakeEngram server;
  const CheckpointsClient checkpoints(server.Connect());
  v1::ExportRequest request;
  const auto file = checkpoints.Export(request, absl::Seconds(20));
  ASSERT_TRUE(file.ok()) << file.status();
  EXPECT_EQ(file->bytes, "model");
  request.set_checkpoint("cut");
  const auto cut = checkpoints.Export(request, absl::Seconds(20));
  EXPECT_EQ(cut.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(cut.status().message()), HasSubstr("3 bytes, the server announced 5"));
  request.set_checkpoint("garbled");
  const auto garbled = checkpoints.Export(request, absl::Seconds(20));
  EXPECT_EQ(garbled.status().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(garbled.status().message()), HasSubstr("SHA-256"));
}

TEST(CheckpointsClientTest, AFileIsImportedInChunksWithItsEnd) {
  FakeEngram server;
  v1::ImportRequest::Header header;
  header.set_name("copy");
  const auto model =
      CheckpointsClient(server.Connect()).Import(header, std::string(2'500'000, 'w'));
  ASSERT_TRUE(model.ok()) << model.status();
  EXPECT_EQ(model->name(), "copy");
  EXPECT_EQ(model->spec().weights().bytes(), 2'500'000);
}

TEST(ConnectionTest, ATokenLeavesTheMachineOverTlsOnly) {
  ConnectionOptions options;
  options.token = "secret";
  for (const char* target : {"127.0.0.1:1", "dns:///127.8.8.8:1", "localhost:1", "[::1]:1",
                             "unix:/run/engram"}) {
    options.target = target;
    EXPECT_TRUE(Connection::Open(options).ok()) << target;
  }
  for (const char* target : {"127.example.com:1", "127.0.0.1.example.com:1", "host:1",
                             "localhost.example.com:1"}) {
    options.target = target;
    EXPECT_EQ(Connection::Open(options).status().code(), absl::StatusCode::kInvalidArgument)
        << target;
  }
}

TEST(LearningClientTest, GivesUpAfterItsAttempts) {
  FakeEngram server;
  server.learning().FailLearnBatchWith(
      std::vector<grpc::Status>(10, grpc::Status(grpc::StatusCode::UNAVAILABLE, "gone")));
  ConnectionOptions options;
  options.target = server.target();
  options.retry = QuickRetry();
  options.retry.attempts = 3;
  std::vector<absl::Duration> waits;
  options.retry.sleep = [&waits](absl::Duration wait) { waits.push_back(wait); };
  const auto learned = LearningClient(*Connection::Open(options)).LearnBatch(Batch(1));
  EXPECT_EQ(learned.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(server.learning().batches(), SizeIs(3));
  EXPECT_THAT(waits, SizeIs(2));
}

TEST(LearningClientTest, DoesNotRepeatWhatCannotSucceed) {
  FakeEngram server;
  server.learning().FailLearnBatchWith(
      {grpc::Status(grpc::StatusCode::INVALID_ARGUMENT, "batch is empty")});
  const auto learned = LearningClient(server.Connect()).LearnBatch(Batch(1));
  EXPECT_EQ(learned.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(server.learning().batches(), SizeIs(1));
}

TEST(LearningClientTest, DoesNotWaitBeyondTheDeadline) {
  FakeEngram server;
  server.learning().FailLearnBatchWith(
      std::vector<grpc::Status>(10, grpc::Status(grpc::StatusCode::UNAVAILABLE, "gone")));
  ConnectionOptions options;
  options.target = server.target();
  options.retry.delay_first = absl::Hours(1);
  options.retry.delay_max = absl::Hours(1);
  const auto learned = LearningClient(*Connection::Open(options)).LearnBatch(Batch(1));
  EXPECT_EQ(learned.status().code(), absl::StatusCode::kUnavailable);
  EXPECT_THAT(server.learning().batches(), SizeIs(1));
}

TEST(ModelsClientTest, NamesTheModelThatIsMissing) {
  FakeEngram server;
  const auto model = ModelsClient(server.Connect()).Get("letters");
  EXPECT_EQ(model.status().code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(model.status().message()), HasSubstr("letters"));
}

TEST(ModelsClientTest, AMethodTheServerLacksIsUnimplemented) {
  FakeEngram server;
  EXPECT_EQ(ModelsClient(server.Connect()).List().status().code(),
            absl::StatusCode::kUnimplemented);
}

TEST(ConnectionTest, RefusesToSendATokenInTheClear) {
  ConnectionOptions options;
  options.token = "secret";
  options.target = "192.0.2.1:7401";
  const auto remote = Connection::Open(options);
  EXPECT_EQ(remote.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(std::string(remote.status().message()).find("secret"), std::string::npos);
  options.target = "127.0.0.1:7401";
  EXPECT_TRUE(Connection::Open(options).ok());
}

TEST(ConnectionTest, RefusesOptionsThatCannotWork) {
  ConnectionOptions options;
  options.target = "";
  EXPECT_EQ(Connection::Open(options).status().code(), absl::StatusCode::kInvalidArgument);
  options.target = "127.0.0.1:1";
  options.tls_ca_file = "/nonexistent/ca.pem";
  EXPECT_EQ(Connection::Open(options).status().code(), absl::StatusCode::kNotFound);
}

TEST(ConnectionTest, ReadsTheFirstLineOfATokenFile) {
  const std::string path = ::testing::TempDir() + "/engram_token";
  std::ofstream(path) << "  abc123 \nsecond line\n";
  EXPECT_EQ(*ReadTokenFile(path), "abc123");
  std::ofstream(path) << "\n";
  EXPECT_EQ(ReadTokenFile(path).status().code(), absl::StatusCode::kInvalidArgument);
  std::remove(path.c_str());
  EXPECT_EQ(ReadTokenFile(path).status().code(), absl::StatusCode::kNotFound);
}

}  // namespace
}  // namespace engram::client
