// The Learn stream over a real connection, before a model whose commits happen by hand.
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/errors.h"
#include "tests/testing/process/learn_session.h"
#include "tests/testing/process/status_details.h"
#include "tests/testing/server_edge/edge_rig.h"

namespace engram::testing {
namespace {

using ::testing::HasSubstr;
using Commits = FakeModel::Commits;

v1::LearnMessage Message(uint64_t sequence, int examples = 1) {
  v1::LearnMessage message;
  message.set_producer_sequence(sequence);
  for (int i = 0; i < examples; ++i) message.add_examples()->mutable_label()->set_number(i);
  return message;
}

class LearnStreamTest : public ::testing::Test {
 protected:
  void Start(Commits commits, server::StreamLimits limits = {}) {
    rig_ = std::make_unique<EdgeRig>(limits);
    model_ = rig_->AddDigits(commits);
    session_ = std::make_unique<LearnSession>(rig_->channel());
  }
  void StartAndOpen(Commits commits, server::StreamLimits limits = {}) {
    Start(commits, limits);
    ASSERT_TRUE(session_->Open("digits", "tester"));
  }

  std::unique_ptr<EdgeRig> rig_;
  std::shared_ptr<FakeModel> model_;
  std::unique_ptr<LearnSession> session_;
};

TEST_F(LearnStreamTest, WelcomesAcksAndEndsWithItsRecord) {
  StartAndOpen(Commits::kInline);
  EXPECT_EQ(session_->welcome().epoch(), 1u);
  ASSERT_TRUE(session_->Write(Message(1, 3)));
  v1::LearnAck ack;
  ASSERT_TRUE(session_->ReadAck(&ack));
  EXPECT_EQ(ack.producer_sequence(), 1u);
  EXPECT_EQ(ack.durable_sequence(), 3u);
  ASSERT_TRUE(session_->End());
  const grpc::Status status = session_->Finish();
  EXPECT_TRUE(status.ok()) << status.error_message();
}

TEST_F(LearnStreamTest, MessagesOfOneCommitShareOneAck) {
  StartAndOpen(Commits::kByHand);
  for (uint64_t i = 1; i <= 20; ++i) ASSERT_TRUE(session_->Write(Message(i)));
  model_->AwaitMessages(20);
  EXPECT_EQ(model_->Commit(), 20u);
  v1::LearnAck ack;
  ASSERT_TRUE(session_->ReadAck(&ack));
  EXPECT_EQ(ack.producer_sequence(), 20u);
  EXPECT_EQ(ack.durable_sequence(), 20u);
}

TEST_F(LearnStreamTest, NothingIsAckedBeforeItIsDurable) {
  StartAndOpen(Commits::kByHand);
  ASSERT_TRUE(session_->Write(Message(1)));
  // Rejected at once, but its ack would cover message 1.
  ASSERT_TRUE(session_->Write(Message(2, 0)));
  model_->AwaitMessages(2);
  model_->Commit();
  v1::LearnAck ack;
  ASSERT_TRUE(session_->ReadAck(&ack));
  EXPECT_GE(ack.durable_sequence(), 1u);
  v1::LearnAck merged = ack;
  if (ack.producer_sequence() < 2) {
    ASSERT_TRUE(session_->ReadUntil(2, &merged));
  }
  ASSERT_EQ(merged.rejections_size(), 1);
  EXPECT_EQ(merged.rejections(0).producer_sequence(), 2u);
}

TEST_F(LearnStreamTest, ARejectionLeavesTheStreamOpen) {
  StartAndOpen(Commits::kInline);
  ASSERT_TRUE(session_->Write(Message(1, 0)));
  ASSERT_TRUE(session_->Write(Message(2)));
  v1::LearnAck merged;
  ASSERT_TRUE(session_->ReadUntil(2, &merged));
  ASSERT_EQ(merged.rejections_size(), 1);
  EXPECT_EQ(merged.rejections(0).status().code(), 3);
  EXPECT_THAT(merged.rejections(0).status().message(), HasSubstr("batch is empty"));
  ASSERT_TRUE(session_->End());
  EXPECT_TRUE(session_->Finish().ok());
}

TEST_F(LearnStreamTest, AnUnparseableFrameClosesWithItsNumber) {
  StartAndOpen(Commits::kInline);
  ASSERT_TRUE(session_->Write(Message(1)));
  ASSERT_TRUE(session_->WriteFrame("\x0a\xff\xff\xff\xff\x0f"));
  v1::LearnAck ack;
  EXPECT_TRUE(session_->ReadAck(&ack));  // what came before stays
  const grpc::Status status = session_->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("message 3 is not a valid LearnRequest"));
}

TEST_F(LearnStreamTest, AMissingEndRecordIsAborted) {
  StartAndOpen(Commits::kInline);
  ASSERT_TRUE(session_->Write(Message(1)));
  session_->CloseWithoutEnd();
  const grpc::Status status = session_->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(Reason(status), "NO_END");
  EXPECT_THAT(status.error_message(), HasSubstr("after 1 messages; durable_sequence=1"));
}

TEST_F(LearnStreamTest, AWrongCrcIsDataLoss) {
  StartAndOpen(Commits::kInline);
  ASSERT_TRUE(session_->Write(Message(1)));
  ASSERT_TRUE(session_->End(0, 1));
  const grpc::Status status = session_->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DATA_LOSS);
  EXPECT_EQ(Reason(status), "END_MISMATCH");
}

TEST_F(LearnStreamTest, AWrongCountIsDataLoss) {
  StartAndOpen(Commits::kInline);
  ASSERT_TRUE(session_->Write(Message(1)));
  ASSERT_TRUE(session_->End(1, 0));
  const grpc::Status status = session_->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DATA_LOSS);
  EXPECT_THAT(status.error_message(), HasSubstr("client sent 2 messages, server received 1"));
}

TEST_F(LearnStreamTest, TheEndWaitsForWhatIsNotDurableYet) {
  StartAndOpen(Commits::kByHand);
  ASSERT_TRUE(session_->Write(Message(1)));
  ASSERT_TRUE(session_->End());
  model_->AwaitMessages(1);
  model_->Commit();
  v1::LearnAck ack;
  ASSERT_TRUE(session_->ReadAck(&ack));
  EXPECT_EQ(ack.producer_sequence(), 1u);
  EXPECT_TRUE(session_->Finish().ok());
}

TEST_F(LearnStreamTest, ASecondHelloCloses) {
  StartAndOpen(Commits::kInline);
  v1::LearnRequest again;
  again.mutable_hello()->set_model("digits");
  ASSERT_TRUE(session_->WriteFrame(again.SerializeAsString()));
  const grpc::Status status = session_->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("message 2: a second hello"));
}

TEST_F(LearnStreamTest, TheFirstFrameMustBeTheHello) {
  Start(Commits::kInline);
  ASSERT_TRUE(session_->Write(Message(1)));
  const grpc::Status status = session_->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_THAT(status.error_message(), HasSubstr("message 1: expected the hello"));
}

TEST_F(LearnStreamTest, AnEmptyFrameCloses) {
  StartAndOpen(Commits::kInline);
  ASSERT_TRUE(session_->WriteFrame(""));
  EXPECT_EQ(session_->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(LearnStreamTest, AnUnknownModelIsNotFound) {
  Start(Commits::kInline);
  EXPECT_FALSE(session_->Open("letters", "tester"));
  EXPECT_EQ(session_->Finish().error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(LearnStreamTest, AnAckAheadOfTheServerIsDataLoss) {
  Start(Commits::kInline);
  EXPECT_FALSE(session_->Open("digits", "tester", 5));
  const grpc::Status status = session_->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DATA_LOSS);
  EXPECT_EQ(Reason(status), "ACK_AHEAD");
}

TEST_F(LearnStreamTest, AGapClosesAndNamesWhatWasExpected) {
  StartAndOpen(Commits::kInline);
  ASSERT_TRUE(session_->Write(Message(1)));
  ASSERT_TRUE(session_->Write(Message(3)));
  const grpc::Status status = session_->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::ABORTED);
  EXPECT_EQ(Reason(status), "SEQUENCE_GAP");
}

TEST_F(LearnStreamTest, RepeatsAreCountedAndAcked) {
  StartAndOpen(Commits::kInline);
  ASSERT_TRUE(session_->Write(Message(1)));
  ASSERT_TRUE(session_->Write(Message(1)));
  ASSERT_TRUE(session_->End());
  v1::LearnAck ack;
  uint64_t duplicates = 0;
  while (session_->ReadAck(&ack)) duplicates += ack.duplicates();
  EXPECT_EQ(duplicates, 1u);
  EXPECT_TRUE(session_->Finish().ok());
}

TEST_F(LearnStreamTest, AFullQueueIsTriedAgainNotTold) {
  StartAndOpen(Commits::kInline);
  model_->RefuseNext(3,
                     server::OverLimit("log", "queue 64 MiB full", std::chrono::milliseconds(100)));
  ASSERT_TRUE(session_->Write(Message(1)));
  ASSERT_TRUE(session_->Write(Message(2)));
  v1::LearnAck merged;
  ASSERT_TRUE(session_->ReadUntil(2, &merged));
  EXPECT_EQ(model_->messages(), 5);
  ASSERT_TRUE(session_->End());
  EXPECT_TRUE(session_->Finish().ok());
}

TEST_F(LearnStreamTest, AQueueThatStaysFullClosesTheStream) {
  server::StreamLimits limits;
  limits.retry_pause = absl::Milliseconds(1);
  limits.retry_patience = absl::Milliseconds(20);
  StartAndOpen(Commits::kInline, limits);
  model_->RefuseNext(1 << 30,
                     server::OverLimit("log", "queue 64 MiB full", std::chrono::milliseconds(100)));
  ASSERT_TRUE(session_->Write(Message(1)));
  EXPECT_EQ(session_->Finish().error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST_F(LearnStreamTest, AFullDiskIsToldAtOnce) {
  StartAndOpen(Commits::kInline);
  model_->RefuseNext(1, server::OverLimit("log", "free space 91 MiB below reserve 128 MiB",
                                          std::chrono::seconds(5)));
  ASSERT_TRUE(session_->Write(Message(1)));
  const grpc::Status status = session_->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
  EXPECT_EQ(model_->messages(), 1);
}

TEST_F(LearnStreamTest, ReadingStopsAtTheUnackedLimit) {
  server::StreamLimits limits;
  limits.unacked_messages = 4;
  StartAndOpen(Commits::kByHand, limits);
  for (uint64_t i = 1; i <= 12; ++i) ASSERT_TRUE(session_->Write(Message(i)));
  for (uint64_t acked = 4; acked <= 12; acked += 4) {
    model_->AwaitMessages(static_cast<int64_t>(acked));
    // Were the limit not kept, a fifth message could be in this commit.
    EXPECT_EQ(model_->Commit(), 4u);
    v1::LearnAck merged;
    ASSERT_TRUE(session_->ReadUntil(acked, &merged));
  }
}

TEST_F(LearnStreamTest, AProducerOfRejectedMessagesAloneIsReadOneByOne) {
  server::StreamLimits limits;
  limits.rejected_in_row = 4;
  limits.rejected_pause = absl::Milliseconds(20);
  StartAndOpen(Commits::kByHand, limits);
  const absl::Time began = absl::Now();
  for (uint64_t i = 1; i <= 12; ++i) ASSERT_TRUE(session_->Write(Message(i, 0)));
  v1::LearnAck merged;
  ASSERT_TRUE(session_->ReadUntil(12, &merged));
  // Two may be on their way when the fourth is rejected; six pauses are left.
  EXPECT_GE(absl::Now() - began, absl::Milliseconds(6 * 20));
  // One that is taken ends it: eight good ones share a commit.
  ASSERT_TRUE(session_->Write(Message(13)));
  model_->AwaitMessages(13);
  EXPECT_EQ(model_->Commit(), 1u);
  for (uint64_t i = 14; i <= 21; ++i) ASSERT_TRUE(session_->Write(Message(i)));
  model_->AwaitMessages(21);
  EXPECT_EQ(model_->Commit(), 8u);
  ASSERT_TRUE(session_->End());
  EXPECT_TRUE(session_->Finish().ok());
}

TEST_F(LearnStreamTest, FewAreInFlightBeforeTheFirstIsTaken) {
  server::StreamLimits limits;
  limits.rejected_in_row = 4;
  StartAndOpen(Commits::kByHand, limits);
  for (uint64_t i = 1; i <= 12; ++i) ASSERT_TRUE(session_->Write(Message(i)));
  model_->AwaitMessages(4);
  // Were there no such limit, a fifth message could be in this commit.
  EXPECT_EQ(model_->Commit(), 4u);
  model_->AwaitMessages(12);
  EXPECT_EQ(model_->Commit(), 8u);
  ASSERT_TRUE(session_->End());
  EXPECT_TRUE(session_->Finish().ok());
}

TEST_F(LearnStreamTest, AcksThatNobodyReadsCloseTheStream) {
  server::StreamLimits limits;
  limits.write_patience = absl::Milliseconds(50);
  limits.rejected_in_row = 1 << 30;
  StartAndOpen(Commits::kInline, limits);
  // Every ack carries a rejection of about 100 bytes; unread, they fill the HTTP/2 window.
  uint64_t sequence = 0;
  while (session_->Write(Message(++sequence, 0)) && sequence < 200'000) {
  }
  const grpc::Status status = session_->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED) << sequence;
}

TEST_F(LearnStreamTest, ADrainAcksWhatWasAcceptedThenLeaves) {
  StartAndOpen(Commits::kByHand);
  ASSERT_TRUE(session_->Write(Message(1)));
  model_->AwaitMessages(1);
  rig_->edge().gate->Drain();
  model_->Commit();
  v1::LearnAck ack;
  ASSERT_TRUE(session_->ReadAck(&ack));
  EXPECT_EQ(ack.producer_sequence(), 1u);
  const grpc::Status status = session_->Finish();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_TRUE(FindDetail<google::rpc::RetryInfo>(status).has_value());
}

TEST_F(LearnStreamTest, ACancelledStreamLeavesNothingBehind) {
  StartAndOpen(Commits::kByHand);
  ASSERT_TRUE(session_->Write(Message(1)));
  model_->AwaitMessages(1);
  session_->Cancel();
  EXPECT_EQ(session_->Finish().error_code(), grpc::StatusCode::CANCELLED);
  rig_->server().Drain(absl::Seconds(5));
  EXPECT_EQ(rig_->edge().gate->OpenCalls(), 0u);
  EXPECT_EQ(model_->Commit(), 1u);  // the model's callback outlives the stream
}

}  // namespace
}  // namespace engram::testing
