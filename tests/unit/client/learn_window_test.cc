#include "client/learn_window.h"

#include <zlib.h>

#include <string>
#include <vector>

#include "client/examples.h"
#include "gtest/gtest.h"

namespace engram::client {
namespace {

v1::LearnMessage Numbered(uint64_t sequence, int examples) {
  v1::LearnMessage message;
  message.set_producer_sequence(sequence);
  const std::vector<float> values(50, 0.25f);
  for (int i = 0; i < examples; ++i) *message.add_examples() = DenseExample(values, i);
  return message;
}

std::string BytesOf(const PendingMessage& pending) {
  grpc::Slice slice;
  EXPECT_TRUE(pending.bytes.DumpToSingleSlice(&slice).ok());
  return std::string(reinterpret_cast<const char*>(slice.begin()), slice.size());
}

TEST(LearnWindowTest, SerialisesTheSameBytesAsTheWholeRequest) {
  const v1::LearnMessage message = Numbered(300, 7);
  v1::LearnRequest request;
  *request.mutable_message() = message;
  const PendingMessage pending = SerialiseMessage(message);
  EXPECT_EQ(BytesOf(pending), request.SerializeAsString());
  EXPECT_EQ(pending.size, static_cast<int64_t>(request.ByteSizeLong()));
  EXPECT_EQ(pending.sequence, 300u);
  EXPECT_EQ(pending.examples, 7);
}

TEST(LearnWindowTest, CombinedChecksumEqualsTheChecksumOfAllBytes) {
  std::string all;
  uint32_t combined = 0;
  for (uint64_t sequence = 1; sequence <= 5; ++sequence) {
    const PendingMessage pending = SerialiseMessage(Numbered(sequence, 3));
    combined = CombineCrc32(combined, pending);
    all += BytesOf(pending);
  }
  EXPECT_EQ(combined,
            crc32(0, reinterpret_cast<const Bytef*>(all.data()), static_cast<uInt>(all.size())));
}

TEST(LearnWindowTest, IsFullAtItsMessagesOrBytes) {
  LearnWindow by_messages(2, 1 << 20);
  by_messages.Push(SerialiseMessage(Numbered(1, 1)));
  EXPECT_TRUE(by_messages.HasRoomFor(10));
  by_messages.Push(SerialiseMessage(Numbered(2, 1)));
  EXPECT_FALSE(by_messages.HasRoomFor(10));

  const PendingMessage first = SerialiseMessage(Numbered(1, 1));
  LearnWindow by_bytes(100, first.size + 10);
  by_bytes.Push(first);
  EXPECT_TRUE(by_bytes.HasRoomFor(10));
  EXPECT_FALSE(by_bytes.HasRoomFor(11));
}

TEST(LearnWindowTest, AMessageLargerThanTheWindowPassesAlone) {
  LearnWindow window(4, 10);
  EXPECT_TRUE(window.HasRoomFor(1000));
  window.Push(SerialiseMessage(Numbered(1, 1)));
  EXPECT_FALSE(window.HasRoomFor(1));
}

TEST(LearnWindowTest, AcksAreCumulative) {
  LearnWindow window(10, 1 << 20);
  for (uint64_t sequence = 5; sequence <= 8; ++sequence) {
    window.Push(SerialiseMessage(Numbered(sequence, 2)));
  }
  EXPECT_EQ(window.AckThrough(7), 6);
  EXPECT_EQ(window.AckThrough(7), 0);
  EXPECT_EQ(window.Find(7), nullptr);
  ASSERT_NE(window.Find(8), nullptr);
  EXPECT_EQ(window.Find(8)->sequence, 8u);
  EXPECT_EQ(window.Find(9), nullptr);
  EXPECT_EQ(window.AckThrough(8), 2);
  EXPECT_TRUE(window.empty());
}

}  // namespace
}  // namespace engram::client
