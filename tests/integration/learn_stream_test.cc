// The Learn stream, frame by frame: acks, repeats, fences, and every way in which it may end.
#include <fstream>

#include "tests/integration/server_test.h"
#include "tests/testing/process/learn_session.h"
#include "tests/testing/process/status_details.h"

namespace engram::integration {
namespace {

using testing::LearnSession;
using testing::Reason;

v1::LearnMessage Examples(uint64_t sequence, int count = 3) {
  v1::LearnMessage message;
  message.set_producer_sequence(sequence);
  for (int i = 0; i < count; ++i) {
    *message.add_examples() =
        testing::ToyExample({}, i % 2, sequence * 1000 + static_cast<uint64_t>(i));
  }
  return message;
}

class LearnStreamTest : public ServerTest {
 protected:
  void SetUp() override {
    ServerTest::SetUp();
    model_.UseStubs(stubs_.get());
    model_.Create(ToySpec());
  }

  std::unique_ptr<LearnSession> NewSession() {
    return std::make_unique<LearnSession>(stubs_->channel);
  }
  std::unique_ptr<LearnSession> Opened(const std::string& producer = "s", uint64_t acked = 0) {
    auto session = NewSession();
    EXPECT_TRUE(session->Open("toy", producer, acked));
    return session;
  }

  ToyModel model_{nullptr, "toy"};
};

TEST_F(LearnStreamTest, EverythingIsAckedAndTheEndMatches) {
  auto session = Opened();
  EXPECT_EQ(session->welcome().last_producer_sequence(), 0u);
  EXPECT_GT(session->welcome().epoch(), 0u);
  for (uint64_t i = 1; i <= 50; ++i) ASSERT_TRUE(session->Write(Examples(i)));
  v1::LearnAck ack;
  ASSERT_TRUE(session->ReadUntil(50, &ack));
  EXPECT_EQ(ack.rejections_size(), 0);
  EXPECT_EQ(ack.duplicates(), 0u);
  EXPECT_GE(ack.durable_sequence(), 150u);
  session->End();
  const grpc::Status status = session->Finish();
  EXPECT_TRUE(status.ok()) << status.error_message();
  model_.WaitApplied();
  EXPECT_EQ(model_.Report().train_examples(), 150);
}

TEST_F(LearnStreamTest, ABoundaryTravelsInTheStream) {
  auto session = Opened();
  ASSERT_TRUE(session->Write(Examples(1)));
  v1::LearnMessage boundary;
  boundary.set_producer_sequence(2);
  boundary.mutable_boundary()->set_next_task("next");
  ASSERT_TRUE(session->Write(boundary));
  v1::LearnAck ack;
  ASSERT_TRUE(session->ReadUntil(2, &ack));
  EXPECT_EQ(ack.rejections_size(), 0);
  EXPECT_EQ(model_.Describe().current_task(), "next");
}

TEST_F(LearnStreamTest, ARejectedMessageUsesItsSequenceAndTheStreamGoesOn) {
  auto session = Opened();
  ASSERT_TRUE(session->Write(Examples(1)));
  v1::LearnMessage bad = Examples(2);
  bad.mutable_examples(1)->clear_label();
  ASSERT_TRUE(session->Write(bad));
  ASSERT_TRUE(session->Write(Examples(3)));
  v1::LearnMessage both = Examples(4);
  both.mutable_boundary()->set_next_task("x");
  ASSERT_TRUE(session->Write(both));
  v1::LearnAck ack;
  ASSERT_TRUE(session->ReadUntil(4, &ack));
  ASSERT_EQ(ack.rejections_size(), 2);
  EXPECT_EQ(ack.rejections(0).producer_sequence(), 2u);
  EXPECT_EQ(ack.rejections(0).status().code(), grpc::INVALID_ARGUMENT);
  EXPECT_NE(ack.rejections(0).status().message().find("label"), std::string::npos);
  EXPECT_TRUE(testing::FindDetail<google::rpc::BadRequest>(ack.rejections(0).status()).has_value());
  EXPECT_EQ(ack.rejections(1).producer_sequence(), 4u);
  session->End();
  EXPECT_TRUE(session->Finish().ok());
  model_.WaitApplied();
  EXPECT_EQ(model_.Report().train_examples(), 6);
}

TEST_F(LearnStreamTest, RepeatsAreAckedAndNotAppliedAgainAlsoAfterAKill) {
  auto session = Opened();
  for (uint64_t i = 1; i <= 5; ++i) ASSERT_TRUE(session->Write(Examples(i)));
  v1::LearnAck ack;
  ASSERT_TRUE(session->ReadUntil(5, &ack));
  session.reset();
  Restart(/*kill=*/true, &model_);
  auto again = Opened("s", 2);
  EXPECT_EQ(again->welcome().last_producer_sequence(), 5u);
  for (uint64_t i = 3; i <= 7; ++i) ASSERT_TRUE(again->Write(Examples(i)));
  v1::LearnAck repeated;
  ASSERT_TRUE(again->ReadUntil(7, &repeated));
  EXPECT_EQ(repeated.duplicates(), 3u);
  model_.WaitApplied();
  EXPECT_EQ(model_.Report().train_examples(), 21);
}

TEST_F(LearnStreamTest, TheSameSequenceWithOtherContentIsRejected) {
  auto session = Opened();
  ASSERT_TRUE(session->Write(Examples(1, 3)));
  ASSERT_TRUE(session->Write(Examples(1, 2)));
  ASSERT_TRUE(session->Write(Examples(2)));
  v1::LearnAck ack;
  ASSERT_TRUE(session->ReadUntil(2, &ack));
  ASSERT_EQ(ack.rejections_size(), 1);
  EXPECT_EQ(ack.rejections(0).status().code(), grpc::ALREADY_EXISTS);
  model_.WaitApplied();
  EXPECT_EQ(model_.Report().train_examples(), 6);
}

TEST_F(LearnStreamTest, AGapClosesTheStreamAndNamesWhatWasExpected) {
  auto session = Opened();
  ASSERT_TRUE(session->Write(Examples(1)));
  session->Write(Examples(3));
  const grpc::Status status = session->Finish();
  EXPECT_EQ(status.error_code(), grpc::ABORTED) << status.error_message();
  const auto why = testing::FindDetail<google::rpc::ErrorInfo>(status);
  ASSERT_TRUE(why.has_value());
  EXPECT_EQ(why->reason(), "SEQUENCE_GAP");
  EXPECT_EQ(why->metadata().at("expectedSequence"), "2");
}

TEST_F(LearnStreamTest, AGarbageFrameClosesTheStreamAndWhatWasAckedStays) {
  auto session = Opened();
  ASSERT_TRUE(session->Write(Examples(1)));
  v1::LearnAck ack;
  ASSERT_TRUE(session->ReadUntil(1, &ack));
  session->WriteFrame(absl::string_view("\x0a\xff\xff\xff\xff\x0f", 6));
  session->Write(Examples(2));
  const grpc::Status status = session->Finish();
  EXPECT_EQ(status.error_code(), grpc::INVALID_ARGUMENT) << status.error_message();
  EXPECT_NE(status.error_message().find("not a valid"), std::string::npos)
      << status.error_message();
  model_.WaitApplied();
  EXPECT_EQ(model_.Report().train_examples(), 3);
}

TEST_F(LearnStreamTest, AStreamWithoutItsEndIsAborted) {
  auto session = Opened();
  ASSERT_TRUE(session->Write(Examples(1)));
  session->CloseWithoutEnd();
  const grpc::Status status = session->Finish();
  EXPECT_EQ(status.error_code(), grpc::ABORTED) << status.error_message();
  EXPECT_EQ(Reason(status), "NO_END");
  model_.WaitApplied();
  EXPECT_EQ(model_.Report().train_examples(), 3) << "what came is kept";
}

TEST_F(LearnStreamTest, AnEndThatDoesNotMatchIsDataLoss) {
  for (const bool wrong_crc : {true, false}) {
    auto session = Opened(wrong_crc ? "crc" : "count");
    ASSERT_TRUE(session->Write(Examples(1)));
    session->End(wrong_crc ? 0 : 1, wrong_crc ? 1 : 0);
    const grpc::Status status = session->Finish();
    EXPECT_EQ(status.error_code(), grpc::DATA_LOSS) << status.error_message();
    EXPECT_EQ(Reason(status), "END_MISMATCH");
  }
}

TEST_F(LearnStreamTest, ANewStreamFencesTheOldOne) {
  auto old_stream = Opened();
  ASSERT_TRUE(old_stream->Write(Examples(1)));
  v1::LearnAck ack;
  ASSERT_TRUE(old_stream->ReadUntil(1, &ack));
  auto fresh = Opened();
  EXPECT_GT(fresh->welcome().epoch(), old_stream->welcome().epoch());
  EXPECT_EQ(fresh->welcome().last_producer_sequence(), 1u);
  old_stream->Write(Examples(2));
  const grpc::Status status = old_stream->Finish();
  EXPECT_EQ(status.error_code(), grpc::ABORTED) << status.error_message();
  EXPECT_EQ(Reason(status), "STALE_EPOCH");
  ASSERT_TRUE(fresh->Write(Examples(2)));
  v1::LearnAck again;
  ASSERT_TRUE(fresh->ReadUntil(2, &again));
  EXPECT_EQ(again.duplicates(), 0u);
}

TEST_F(LearnStreamTest, AProducerThatSawMoreAckedThanIsStoredIsTold) {
  auto session = NewSession();
  EXPECT_FALSE(session->Open("toy", "s", 99));
  const grpc::Status status = session->Finish();
  EXPECT_EQ(status.error_code(), grpc::DATA_LOSS) << status.error_message();
  EXPECT_EQ(Reason(status), "ACK_AHEAD");
}

TEST_F(LearnStreamTest, AHelloComesFirstAndNamesAModel) {
  auto unknown = NewSession();
  EXPECT_FALSE(unknown->Open("nobody", "s"));
  EXPECT_EQ(unknown->Finish().error_code(), grpc::NOT_FOUND);
  auto bad_producer = NewSession();
  EXPECT_FALSE(bad_producer->Open("toy", "../s"));
  EXPECT_EQ(bad_producer->Finish().error_code(), grpc::INVALID_ARGUMENT);
  auto no_hello = NewSession();
  no_hello->Write(Examples(1));
  EXPECT_EQ(no_hello->Finish().error_code(), grpc::INVALID_ARGUMENT);
}

TEST_F(LearnStreamTest, LearnBatchAndTheStreamShareOneCounter) {
  auto session = Opened("p");
  ASSERT_TRUE(session->Write(Examples(1)));
  v1::LearnAck ack;
  ASSERT_TRUE(session->ReadUntil(1, &ack));
  v1::LearnBatchRequest request;
  request.set_model("toy");
  request.set_producer("p");
  request.set_producer_sequence(2);
  request.set_epoch(session->welcome().epoch());
  *request.add_examples() = testing::ToyExample({}, 0, 1);
  EXPECT_TRUE(testing::Call(*stubs_->learning, &v1::Learning::Stub::LearnBatch, request).ok());
  ASSERT_TRUE(session->Write(Examples(3)));
  ASSERT_TRUE(session->ReadUntil(3, &ack));
}

int ThreadsOf(pid_t pid) {
  std::ifstream status("/proc/" + std::to_string(pid) + "/status");
  std::string word;
  int threads = 0;
  while (status >> word) {
    if (word == "Threads:") status >> threads;
  }
  return threads;
}

TEST_F(LearnStreamTest, IdleStreamsCostNoThreadsAndPredictionsGoOn) {
  model_.Learn({0, 1}, 100);
  model_.WaitApplied();
  const int before = ThreadsOf(server_->pid());
  std::vector<std::shared_ptr<grpc::Channel>> channels;
  std::vector<std::unique_ptr<LearnSession>> idle;
  for (int i = 0; i < 300; ++i) {
    if (i % 50 == 0) channels.push_back(server_->NewChannel());  // 100 streams a connection
    idle.push_back(std::make_unique<LearnSession>(channels.back()));
    ASSERT_TRUE(idle.back()->Open("toy", "idle-" + std::to_string(i)));
  }
  EXPECT_LT(ThreadsOf(server_->pid()), before + 20);
  EXPECT_EQ(model_.Predict({0, 1}).predictions_size(), 2);
}

TEST_F(LearnStreamTest, ACutConnectionLosesNothingThatWasAcked) {
  for (int life = 0; life < 5; ++life) {
    const testing::Stubs own(server_->NewChannel());
    LearnSession session(own.channel);
    ASSERT_TRUE(session.Open("toy", "s", static_cast<uint64_t>(life) * 4));
    const uint64_t first = session.welcome().last_producer_sequence() + 1;
    for (uint64_t i = first; i < first + 4; ++i) ASSERT_TRUE(session.Write(Examples(i)));
    v1::LearnAck ack;
    ASSERT_TRUE(session.ReadUntil(first + 3, &ack));
    session.Cancel();
  }
  model_.WaitApplied();
  EXPECT_EQ(model_.Report().train_examples(), 60);
}

}  // namespace
}  // namespace engram::integration
