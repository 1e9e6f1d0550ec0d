#include "client/learn_stream.h"

#include <atomic>
#include <numeric>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "client/examples.h"
#include "client/status.h"
#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "gtest/gtest.h"
#include "tests/unit/client/fake_engram.h"

namespace engram::client {
namespace {

using ::testing::Each;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::SizeIs;

LearnStreamOptions Options() {
  LearnStreamOptions options;
  options.model = "digits";
  options.producer = "camera-1";
  options.retry = QuickRetry();
  return options;
}

std::unique_ptr<LearnStream> OpenOrDie(const FakeEngram& server,
                                       LearnStreamOptions options = Options()) {
  auto stream = LearnStream::Open(server.Connect(), std::move(options));
  EXPECT_TRUE(stream.ok()) << stream.status();
  return *std::move(stream);
}

// A message of `examples` examples, each labelled with `mark`.
v1::LearnMessage MessageOf(int examples, int64_t mark) {
  v1::LearnMessage message;
  const std::vector<float> values = {0.5f, static_cast<float>(mark)};
  for (int i = 0; i < examples; ++i) *message.add_examples() = DenseExample(values, mark);
  return message;
}

void SendMarks(int64_t first, int64_t last, LearnStream* stream) {
  for (int64_t mark = first; mark <= last; ++mark) {
    v1::LearnMessage message = MessageOf(1, mark);
    const auto sent = stream->Send(&message);
    ASSERT_TRUE(sent.ok()) << sent.status();
  }
}

std::vector<int64_t> StoredMarks(const FakeLearning& learning) {
  std::vector<int64_t> marks;
  for (const v1::LearnMessage& message : learning.stored()) {
    marks.push_back(message.examples(0).label().number());
  }
  return marks;
}

std::vector<int64_t> OneTo(int64_t last) {
  std::vector<int64_t> marks(static_cast<size_t>(last));
  std::iota(marks.begin(), marks.end(), 1);
  return marks;
}

TEST(LearnStreamTest, NumbersMessagesFromTheServersLastSequence) {
  LearnScript script;
  script.last_sequence = 41;
  FakeEngram server(script);
  const auto stream = OpenOrDie(server);
  v1::LearnMessage message = MessageOf(3, 7);
  EXPECT_EQ(*stream->Send(&message), 42u);
  EXPECT_EQ(*stream->SendBoundary("next"), 43u);
  const auto done = stream->Finish();
  ASSERT_TRUE(done.ok()) << done.status();
  EXPECT_EQ(done->acked_sequence, 43u);
  EXPECT_EQ(done->acked_examples, 3);
  const auto stored = server.learning().stored();
  ASSERT_THAT(stored, SizeIs(2));
  EXPECT_THAT(stored[0].examples(), SizeIs(3));
  EXPECT_EQ(stored[1].boundary().next_task(), "next");
}

TEST(LearnStreamTest, EndRecordHoldsTheCountAndTheChecksumOfTheMessages) {
  FakeEngram server;
  const auto stream = OpenOrDie(server);
  SendMarks(1, 100, stream.get());
  // The fake answers DATA_LOSS when count or checksum differ from its own.
  ASSERT_TRUE(stream->Finish().ok());
  ASSERT_THAT(server.learning().ends(), SizeIs(1));
  EXPECT_EQ(server.learning().ends()[0].message_count(), 100u);
  EXPECT_NE(server.learning().ends()[0].crc32(), 0u);
}

TEST(LearnStreamTest, AnEmptyStreamFinishes) {
  FakeEngram server;
  const auto stream = OpenOrDie(server);
  ASSERT_TRUE(stream->Finish().ok());
  ASSERT_THAT(server.learning().ends(), SizeIs(1));
  EXPECT_EQ(server.learning().ends()[0].message_count(), 0u);
  EXPECT_EQ(server.learning().ends()[0].crc32(), 0u);
}

TEST(LearnStreamTest, TakesCoalescedAcks) {
  LearnScript script;
  script.ack_every = 10;
  FakeEngram server(script);
  std::atomic<int> acks{0};
  LearnStreamOptions options = Options();
  options.on_ack = [&acks](const LearnProgress&) { ++acks; };
  const auto stream = OpenOrDie(server, options);
  SendMarks(1, 35, stream.get());
  const auto done = stream->Finish();
  ASSERT_TRUE(done.ok()) << done.status();
  EXPECT_EQ(done->acked_examples, 35);
  EXPECT_EQ(acks, 4);
}

TEST(LearnStreamTest, SendBlocksWhileTheWindowIsFull) {
  LearnScript script;
  script.hold_acks = true;
  FakeEngram server(script);
  LearnStreamOptions options = Options();
  options.window_messages = 4;
  const auto stream = OpenOrDie(server, options);
  std::thread producer([&stream] { SendMarks(1, 20, stream.get()); });
  server.learning().AwaitReceived(4);
  EXPECT_FALSE(server.learning().ReceivesMoreThan(4, absl::Milliseconds(100)));
  EXPECT_EQ(stream->progress().sent_sequence, 4u);
  // A cut stream is sent again; with acks the window drains.
  server.learning().ReleaseAcks();
  server.Restart();
  producer.join();
  ASSERT_TRUE(stream->Finish().ok());
  EXPECT_EQ(StoredMarks(server.learning()), OneTo(20));
}

TEST(LearnStreamTest, TheWindowAlsoCountsBytes) {
  LearnScript script;
  script.hold_acks = true;
  FakeEngram server(script);
  LearnStreamOptions options = Options();
  v1::LearnMessage message = MessageOf(100, 1);
  options.window_bytes = 2 * static_cast<int64_t>(message.ByteSizeLong()) + 100;
  const auto stream = OpenOrDie(server, options);
  std::thread producer([&] {
    for (int i = 0; i < 3; ++i) EXPECT_TRUE(stream->Send(&message).ok());
  });
  server.learning().AwaitReceived(2);
  EXPECT_FALSE(server.learning().ReceivesMoreThan(2, absl::Milliseconds(100)));
  server.learning().ReleaseAcks();
  server.Restart();
  producer.join();
  EXPECT_TRUE(stream->Finish().ok());
}

TEST(LearnStreamTest, FlushReturnsWhenEverythingIsAcked) {
  FakeEngram server;
  const auto stream = OpenOrDie(server);
  SendMarks(1, 50, stream.get());
  ASSERT_TRUE(stream->Flush().ok());
  EXPECT_EQ(stream->progress().acked_sequence, 50u);
  EXPECT_THAT(server.learning().stored(), SizeIs(50));
}

TEST(LearnStreamTest, ACutStreamIsSentAgainUnderTheSameSequences) {
  LearnScript script;
  script.ack_every = 3;
  script.cut_stream = 1;
  script.cut_after_messages = 5;
  FakeEngram server(script);
  const auto stream = OpenOrDie(server);
  SendMarks(1, 12, stream.get());
  const auto done = stream->Finish();
  ASSERT_TRUE(done.ok()) << done.status();
  EXPECT_EQ(StoredMarks(server.learning()), OneTo(12));
  // 1 to 3 were acked; 4 and 5 were stored without an ack and come again.
  EXPECT_THAT(server.learning().received_sequences(),
              ElementsAre(1, 2, 3, 4, 5, 4, 5, 6, 7, 8, 9, 10, 11, 12));
  EXPECT_EQ(done->duplicate_messages, 2);
  EXPECT_EQ(done->acked_examples, 12);
  EXPECT_EQ(done->reconnects, 1);
  ASSERT_THAT(server.learning().hellos(), SizeIs(2));
  EXPECT_EQ(server.learning().hellos()[1].last_acked_sequence(), 3u);
  // The end record covers the second connection only.
  ASSERT_THAT(server.learning().ends(), SizeIs(1));
  EXPECT_EQ(server.learning().ends()[0].message_count(), 9u);
}

TEST(LearnStreamTest, SurvivesRestartsOfTheServer) {
  FakeEngram server;
  const auto stream = OpenOrDie(server);
  std::thread producer([&stream] { SendMarks(1, 2000, stream.get()); });
  server.learning().AwaitReceived(300);
  server.Restart();
  server.learning().AwaitReceived(1000);
  server.Restart();
  producer.join();
  const auto done = stream->Finish();
  ASSERT_TRUE(done.ok()) << done.status();
  EXPECT_EQ(StoredMarks(server.learning()), OneTo(2000));
  EXPECT_EQ(done->acked_examples, 2000);
  EXPECT_GE(done->reconnects, 1);
}

TEST(LearnStreamTest, ReconnectsWhenTheServerAsksForARetry) {
  google::rpc::RetryInfo retry;
  retry.mutable_retry_delay()->set_nanos(1'000'000);
  LearnScript script;
  script.cut_stream = 1;
  script.cut_after_messages = 2;
  script.cut_status = RichStatus(grpc::StatusCode::RESOURCE_EXHAUSTED, "queue full", {&retry});
  FakeEngram server(script);
  const auto stream = OpenOrDie(server);
  SendMarks(1, 6, stream.get());
  ASSERT_TRUE(stream->Finish().ok());
  EXPECT_EQ(StoredMarks(server.learning()), OneTo(6));
}

TEST(LearnStreamTest, RejectionsReachTheCallbackAndTheStreamGoesOn) {
  LearnScript script;
  script.reject = {2};
  FakeEngram server(script);
  std::vector<v1::Rejection> rejections;
  LearnStreamOptions options = Options();
  options.on_rejection = [&rejections](const v1::Rejection& one) { rejections.push_back(one); };
  const auto stream = OpenOrDie(server, options);
  for (int64_t mark = 1; mark <= 3; ++mark) {
    v1::LearnMessage message = MessageOf(5, mark);
    ASSERT_TRUE(stream->Send(&message).ok());
  }
  const auto done = stream->Finish();
  ASSERT_TRUE(done.ok()) << done.status();
  ASSERT_THAT(rejections, SizeIs(1));
  EXPECT_EQ(rejections[0].producer_sequence(), 2u);
  EXPECT_EQ(FromRpcStatus(rejections[0].status()).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(done->rejected_messages, 1);
  EXPECT_EQ(done->rejected_examples, 5);
  EXPECT_THAT(StoredMarks(server.learning()), ElementsAre(1, 3));
}

TEST(LearnStreamTest, ASequenceGapEndsTheStream) {
  google::rpc::ErrorInfo gap;
  gap.set_reason("SEQUENCE_GAP");
  (*gap.mutable_metadata())["expectedSequence"] = "41";
  LearnScript script;
  script.cut_stream = 1;
  script.cut_after_messages = 1;
  script.cut_status = RichStatus(grpc::StatusCode::ABORTED, "expected 41, got 43", {&gap});
  FakeEngram server(script);
  const auto stream = OpenOrDie(server);
  v1::LearnMessage message = MessageOf(1, 1);
  ASSERT_TRUE(stream->Send(&message).ok());
  const absl::Status flushed = stream->Flush();
  EXPECT_EQ(flushed.code(), absl::StatusCode::kAborted);
  EXPECT_THAT(std::string(flushed.message()), HasSubstr("expectedSequence=41"));
  EXPECT_EQ(stream->Send(&message).status().code(), absl::StatusCode::kAborted);
  EXPECT_EQ(stream->Finish().status().code(), absl::StatusCode::kAborted);
  EXPECT_THAT(server.learning().hellos(), SizeIs(1));
}

TEST(LearnStreamTest, AServerThatForgotAckedMessagesIsDataLoss) {
  LearnScript script;
  script.cut_stream = 1;
  script.cut_after_messages = 3;
  script.forget_from_stream = 2;
  FakeEngram server(script);
  const auto stream = OpenOrDie(server);
  SendMarks(1, 2, stream.get());
  ASSERT_TRUE(stream->Flush().ok());
  SendMarks(3, 3, stream.get());
  const absl::Status flushed = stream->Flush();
  EXPECT_EQ(flushed.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(flushed.message()), HasSubstr("holds ack 2, the server has 0"));
}

TEST(LearnStreamTest, AnAckKeptByTheCallerIsCheckedAtOpening) {
  FakeEngram server;
  LearnStreamOptions options = Options();
  options.last_acked_sequence = 9;
  const auto stream = LearnStream::Open(server.Connect(), options);
  EXPECT_EQ(stream.status().code(), absl::StatusCode::kDataLoss);
}

TEST(LearnStreamTest, AnAbsentServerIsUnavailable) {
  ConnectionOptions options;
  options.target = "127.0.0.1:1";
  const auto connection = Connection::Open(options);
  ASSERT_TRUE(connection.ok());
  const auto stream = LearnStream::Open(*connection, Options());
  EXPECT_EQ(stream.status().code(), absl::StatusCode::kUnavailable);
}

TEST(LearnStreamTest, AMessageAboveTheLimitIsRefusedBeforeItIsNumbered) {
  FakeEngram server;
  const auto stream = OpenOrDie(server);
  v1::LearnMessage huge;
  const std::vector<float> values(2'000'000, 1.0f);
  *huge.add_examples() = DenseExample(values, 1);
  EXPECT_EQ(stream->Send(&huge).status().code(), absl::StatusCode::kInvalidArgument);
  SendMarks(1, 1, stream.get());
  ASSERT_TRUE(stream->Finish().ok());
  EXPECT_THAT(server.learning().received_sequences(), ElementsAre(1));
}

TEST(LearnStreamTest, SendsFromManyThreadsKeepSequencesWithoutGaps) {
  FakeEngram server;
  const auto stream = OpenOrDie(server);
  std::vector<std::thread> producers;
  for (int t = 0; t < 4; ++t) {
    producers.emplace_back([&stream] { SendMarks(1, 100, stream.get()); });
  }
  for (std::thread& producer : producers) producer.join();
  // The fake aborts on a gap.
  ASSERT_TRUE(stream->Finish().ok());
  EXPECT_THAT(server.learning().stored(), SizeIs(400));
}

TEST(LearnStreamTest, AfterFinishNothingCanBeSent) {
  FakeEngram server;
  const auto stream = OpenOrDie(server);
  ASSERT_TRUE(stream->Finish().ok());
  v1::LearnMessage message = MessageOf(1, 1);
  EXPECT_EQ(stream->Send(&message).status().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(stream->Finish().status().code(), absl::StatusCode::kFailedPrecondition);
}

TEST(LearnStreamTest, DestroyingAnUnfinishedStreamCancelsIt) {
  LearnScript script;
  script.hold_acks = true;
  FakeEngram server(script);
  auto stream = OpenOrDie(server);
  SendMarks(1, 3, stream.get());
  server.learning().AwaitReceived(3);
  stream.reset();
  EXPECT_THAT(server.learning().ends(), SizeIs(0));
}

}  // namespace
}  // namespace engram::client
