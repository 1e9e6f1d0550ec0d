// Limits through a real listener: connections, streams that are slowed, pools that keep apart.
#include <unistd.h>

#include <atomic>
#include <thread>

#include "absl/synchronization/notification.h"
#include "absl/time/clock.h"
#include "gmock/gmock.h"
#include "grpcpp/create_channel.h"
#include "grpcpp/security/credentials.h"
#include "gtest/gtest.h"
#include "server/config.h"
#include "server/process_env.h"
#include "tests/testing/process/health.h"
#include "tests/testing/process/learn_session.h"
#include "tests/testing/process/status_details.h"
#include "tests/testing/process/stubs.h"
#include "tests/testing/server_edge/edge_rig.h"

namespace engram::testing {
namespace {

using ::testing::HasSubstr;
using Commits = FakeModel::Commits;
using server::QuotaKind;

v1::ServerConfig Config(const std::string& text) { return *server::ParseConfig(text); }

v1::LearnMessage Message(uint64_t sequence, int examples = 1) {
  v1::LearnMessage message;
  message.set_producer_sequence(sequence);
  for (int i = 0; i < examples; ++i) message.add_examples()->mutable_label()->set_number(i);
  return message;
}

v1::LearnMessage Boundary(uint64_t sequence) {
  v1::LearnMessage message;
  message.set_producer_sequence(sequence);
  message.mutable_boundary();
  return message;
}

std::shared_ptr<grpc::Channel> OwnConnection(const EdgeRig& rig) {
  grpc::ChannelArguments arguments;
  arguments.SetInt("grpc.use_local_subchannel_pool", 1);
  return grpc::CreateCustomChannel(rig.address(), grpc::InsecureChannelCredentials(), arguments);
}

void AwaitConnections(EdgeRig* rig, int64_t count) {
  const absl::Time end = absl::Now() + absl::Seconds(10);
  while (rig->edge().quotas->connections() != count && absl::Now() < end) {
    absl::SleepFor(absl::Milliseconds(1));
  }
  EXPECT_EQ(rig->edge().quotas->connections(), count);
}

void ExpectQuota(const grpc::Status& status, const std::string& limit) {
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << status.error_message();
  EXPECT_THAT(status.error_message(), HasSubstr(limit));
  const auto quota = FindDetail<google::rpc::QuotaFailure>(status);
  ASSERT_TRUE(quota.has_value());
  EXPECT_EQ(quota->violations(0).subject(), limit);
  EXPECT_TRUE(FindDetail<google::rpc::RetryInfo>(status).has_value());
}

TEST(ConnectionLimitTest, OneTooManyIsClosedAndAFreedPlaceIsTaken) {
  EdgeRig rig({}, Config("limits { connections: 2 }"));
  auto first = OwnConnection(rig);
  const auto second = OwnConnection(rig);
  EXPECT_TRUE(CheckHealth(first, "").ok());
  EXPECT_TRUE(CheckHealth(second, "").ok());
  EXPECT_EQ(rig.edge().quotas->connections(), 2);
  EXPECT_EQ(CheckHealth(OwnConnection(rig), "").status().code(), absl::StatusCode::kUnavailable);
  EXPECT_GT(rig.edge().quotas->met(QuotaKind::kConnections), 0u);
  EXPECT_TRUE(CheckHealth(second, "").ok()) << "who is in stays in";
  first.reset();
  AwaitConnections(&rig, 1);
  EXPECT_TRUE(CheckHealth(OwnConnection(rig), "").ok());
}

TEST(ConnectionLimitTest, AConnectionThatTheServerEndsIsCountedNoMore) {
  EdgeRig rig({}, Config("limits { connection_age_seconds: 1 connection_grace_seconds: 1 }"));
  rig.AddDigits();
  const auto channel = OwnConnection(rig);
  LearnSession session(channel);
  ASSERT_TRUE(session.Open("digits", "old"));
  AwaitConnections(&rig, 1);
  const grpc::Status status = session.Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE) << status.error_message();
  AwaitConnections(&rig, 0);
}

TEST(ConnectionLimitTest, AUnixSocketIsListenedOnAndRemoved) {
  EdgeRig rig;
  const std::string path = ::testing::TempDir() + "/engram_limits.socket";
  for (int i = 0; i < 2; ++i) {
    const auto server = server::GrpcServer::Start("unix:" + path, rig.edge(), &rig.board());
    ASSERT_TRUE(server.ok()) << server.status();
    const auto channel = grpc::CreateChannel("unix:" + path, grpc::InsecureChannelCredentials());
    EXPECT_TRUE(CheckHealth(channel, "").ok());
  }
  EXPECT_NE(access(path.c_str(), F_OK), 0);
}

TEST(StreamLimitTest, OneStreamTooManyIsRefusedUntilOneEnds) {
  EdgeRig rig({}, Config("quota { learn_streams: 1 }"));
  rig.AddDigits();
  {
    LearnSession first(rig.channel());
    ASSERT_TRUE(first.Open("digits", "a"));
    LearnSession second(rig.channel());
    EXPECT_FALSE(second.Open("digits", "b"));
    ExpectQuota(second.Finish(), "quota.learn_streams");
    ASSERT_TRUE(first.End());
    EXPECT_TRUE(first.Finish().ok());
  }
  const absl::Time end = absl::Now() + absl::Seconds(10);
  bool opened = false;
  while (!opened && absl::Now() < end) {
    LearnSession third(rig.channel());
    opened = third.Open("digits", "c");
  }
  EXPECT_TRUE(opened);
}

TEST(StreamLimitTest, AStreamOverItsRateIsSlowedNotRefused) {
  EdgeRig rig({}, Config("quota { examples_per_second: 100 }"));
  rig.AddDigits();
  LearnSession session(rig.channel());
  ASSERT_TRUE(session.Open("digits", "fast"));
  const absl::Time began = absl::Now();
  for (uint64_t i = 1; i <= 6; ++i) ASSERT_TRUE(session.Write(Message(i, 30)));
  v1::LearnAck merged;
  ASSERT_TRUE(session.ReadUntil(6, &merged));
  EXPECT_EQ(merged.rejections_size(), 0);
  // 180 examples; after 120 there is a debt of 20, after 150 one of 30 more.
  EXPECT_GE(absl::Now() - began, absl::Milliseconds(480));
  EXPECT_GT(rig.edge().quotas->met(QuotaKind::kExamples), 0u);
  ASSERT_TRUE(session.End());
  EXPECT_TRUE(session.Finish().ok());
}

TEST(StreamLimitTest, ARateThatStaysUsedUpEndsTheStreamWithWhatWasTaken) {
  server::StreamLimits streams;
  streams.retry_patience = absl::Milliseconds(50);
  EdgeRig rig(streams, Config("quota { examples_per_second: 1 }"));
  rig.AddDigits();
  LearnSession session(rig.channel());
  ASSERT_TRUE(session.Open("digits", "fast"));
  ASSERT_TRUE(session.Write(Message(1, 600)));
  ASSERT_TRUE(session.Write(Message(2)));
  v1::LearnAck ack;
  ASSERT_TRUE(session.ReadAck(&ack));
  EXPECT_EQ(ack.producer_sequence(), 1u);
  ExpectQuota(session.Finish(), "quota.examples_per_second");
}

TEST(StreamLimitTest, ABoundaryTooManyIsToldAtOnce) {
  EdgeRig rig({}, Config("quota { boundaries_per_minute: 2 }"));
  const auto model = rig.AddDigits();
  LearnSession session(rig.channel());
  ASSERT_TRUE(session.Open("digits", "spam"));
  for (uint64_t i = 1; i <= 3; ++i) session.Write(Boundary(i));
  v1::LearnAck merged;
  EXPECT_TRUE(session.ReadUntil(2, &merged));
  ExpectQuota(session.Finish(), "quota.boundaries_per_minute");
  EXPECT_EQ(model->messages(), 2);
}

TEST(StreamLimitTest, BytesInFlightHoldAStreamUntilTheyAreDurable) {
  EdgeRig rig({}, Config("limits { message_bytes: 1048576 in_flight_bytes: 1048576 }"));
  const auto model = rig.AddDigits(Commits::kByHand);
  LearnSession session(rig.channel());
  ASSERT_TRUE(session.Open("digits", "large"));
  v1::LearnMessage large = Message(1);
  large.mutable_examples(0)->set_id(std::string(700'000, 'x'));
  ASSERT_TRUE(session.Write(large));
  large.set_producer_sequence(2);
  ASSERT_TRUE(session.Write(large));
  model->AwaitMessages(1);
  const absl::Time end = absl::Now() + absl::Seconds(10);
  while (rig.edge().quotas->met(QuotaKind::kInFlightBytes) == 0 && absl::Now() < end) {
    absl::SleepFor(absl::Milliseconds(1));
  }
  EXPECT_GT(rig.edge().quotas->met(QuotaKind::kInFlightBytes), 0u);
  EXPECT_EQ(model->messages(), 1);
  EXPECT_EQ(model->Commit(), 1u);
  model->AwaitMessages(2);
  EXPECT_EQ(model->Commit(), 1u);
  v1::LearnAck merged;
  EXPECT_TRUE(session.ReadUntil(2, &merged));
  ASSERT_TRUE(session.End());
  EXPECT_TRUE(session.Finish().ok());
  EXPECT_EQ(rig.edge().quotas->in_flight_bytes(), 0);
}

v1::LearnBatchRequest Batch(uint64_t sequence, int examples, size_t features = 4) {
  v1::LearnBatchRequest request;
  request.set_model("digits");
  request.set_producer("tester");
  request.set_producer_sequence(sequence);
  for (int i = 0; i < examples; ++i) {
    v1::Example* example = request.add_examples();
    example->mutable_label()->set_number(i);
    example->mutable_features()->set_dense(std::string(features * sizeof(float), '\0'));
  }
  return request;
}

class RefusedBatchTest : public ::testing::Test {
 protected:
  void Start(server::StreamLimits streams) {
    rig_ = std::make_unique<EdgeRig>(streams, Config("quota { examples_per_second: 1 }"));
    rig_->AddDigits();
    stubs_ = std::make_unique<Stubs>(rig_->channel());
    ASSERT_TRUE(Learn(Batch(1, 600)).ok());
  }
  grpc::Status Learn(const v1::LearnBatchRequest& request,
                     absl::Duration deadline = absl::Seconds(10)) {
    return Call(*stubs_->learning, &v1::Learning::Stub::LearnBatch, request, deadline).status;
  }

  std::unique_ptr<EdgeRig> rig_;
  std::unique_ptr<Stubs> stubs_;
};

TEST_F(RefusedBatchTest, WaitsForItsRefusalAndHoldsNothingAfterwards) {
  server::StreamLimits streams;
  streams.refused_bytes = static_cast<int64_t>(Batch(2, 8).ByteSizeLong());
  Start(streams);
  for (int i = 0; i < 3; ++i) {
    const absl::Time began = absl::Now();
    ExpectQuota(Learn(Batch(2, 8)), "quota.examples_per_second");
    EXPECT_GE(absl::Now() - began, streams.rejected_pause);
  }
}

TEST_F(RefusedBatchTest, IsToldAtOnceWhereNoMoreMayWait) {
  server::StreamLimits streams;
  streams.rejected_pause = absl::Hours(1);
  streams.refused_bytes = static_cast<int64_t>(Batch(2, 8).ByteSizeLong()) - 1;
  Start(streams);
  ExpectQuota(Learn(Batch(2, 8)), "quota.examples_per_second");
}

TEST_F(RefusedBatchTest, IsGoneWithItsCaller) {
  server::StreamLimits streams;
  streams.rejected_pause = absl::Hours(1);
  Start(streams);
  EXPECT_EQ(Learn(Batch(2, 8), absl::Milliseconds(50)).error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
  while (rig_->edge().gate->OpenCalls() > 0) std::this_thread::yield();
}

class CallPoolsTest : public ::testing::Test {
 protected:
  CallPoolsTest() { rig_.AddDigits()->Apply(1, 2); }

  // Keeps both threads of a pool busy until told.
  void Block(server::CallPool* pool) {
    for (int i = 0; i < 2; ++i) {
      ASSERT_TRUE(pool->Run([this] {
                        ++blocked_;
                        release_.WaitForNotification();
                      })
                      .ok());
    }
    while (blocked_ < 2) std::this_thread::yield();
  }
  // More rows than a gRPC thread answers.
  grpc::Status PredictMany(absl::Duration deadline) {
    v1::PredictRequest request;
    request.set_model("digits");
    request.mutable_features()->set_dense(std::string(4 * 20'000 * sizeof(float), '\0'));
    return Call(*stubs_.prediction, &v1::Prediction::Stub::Predict, request, deadline).status;
  }

  std::atomic<int> blocked_{0};
  absl::Notification release_;
  EdgeRig rig_;
  Stubs stubs_{rig_.channel()};
};

TEST_F(CallPoolsTest, PredictionsDoNotWaitBehindOtherCalls) {
  Block(rig_.edge().pool);
  // Too many rows: the answer is a refusal, but it is an answer.
  EXPECT_EQ(PredictMany(absl::Seconds(10)).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  release_.Notify();
}

TEST_F(CallPoolsTest, WhatNobodyWaitsForIsNotWorkedOut) {
  Block(rig_.edge().prediction_pool);
  v1::PredictRequest old;
  old.set_model("digits");
  old.set_version(7);
  old.mutable_features()->set_dense(std::string(4 * sizeof(float), '\0'));
  rig_.digits()->Keep(7, 2);
  EXPECT_EQ(Call(*stubs_.prediction, &v1::Prediction::Stub::Predict, old, absl::Milliseconds(50))
                .status.error_code(),
            grpc::StatusCode::DEADLINE_EXCEEDED);
  release_.Notify();
  // First in, first out: once this one is answered, the abandoned one had its turn.
  EXPECT_TRUE(Call(*stubs_.prediction, &v1::Prediction::Stub::Predict, old).ok());
  EXPECT_EQ(rig_.digits()->statistics().predict_calls.load(), 1u);
}

TEST_F(CallPoolsTest, ManyExamplesKeepNoGrpcThreadFromAFewAndAreNeverRefusedForWantOfRoom) {
  Block(rig_.edge().learning_pool);
  const auto learn = [this](const v1::LearnBatchRequest& request, absl::Duration deadline) {
    return Call(*stubs_.learning, &v1::Learning::Stub::LearnBatch, request, deadline)
        .status.error_code();
  };
  const v1::LearnBatchRequest many = Batch(1, 100, 100);
  EXPECT_EQ(learn(many, absl::Milliseconds(50)), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_EQ(learn(Batch(1, 1), absl::Seconds(10)), grpc::StatusCode::OK);
  while (rig_.edge().learning_pool->Run([] {}).ok()) {
  }
  EXPECT_EQ(learn(Batch(2, 100, 100), absl::Seconds(10)), grpc::StatusCode::OK) << "at once";
  release_.Notify();
}

TEST(OpenFilesTest, TooFewForTheConnectionsAreRefused) {
  EXPECT_TRUE(server::CheckOpenFileLimit(4096, 1024).ok());
  const absl::Status status = server::CheckOpenFileLimit(4095, 1024);
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("is 4095, limits.connections 1024 needs 4096: raise it"));
}

}  // namespace
}  // namespace engram::testing
