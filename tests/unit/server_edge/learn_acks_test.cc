#include "server/learn_acks.h"

#include "gtest/gtest.h"
#include "server/errors.h"

namespace engram::server {
namespace {

Accepted Stored(uint64_t first) {
  Accepted accepted;
  accepted.first_sequence = first;
  accepted.count = 1;
  return accepted;
}

TEST(LearnAcksTest, AnAckCoversOnlyAPrefixOfWhatCame) {
  LearnAcks acks;
  const uint64_t first = acks.Add(1, 10);
  const uint64_t second = acks.Add(2, 20);
  acks.Settle(second, Stored(2));
  EXPECT_FALSE(acks.ready());
  acks.Settle(first, Stored(1));
  ASSERT_TRUE(acks.ready());
  EXPECT_EQ(acks.Take().producer_sequence(), 2u);
  EXPECT_FALSE(acks.ready());
}

TEST(LearnAcksTest, BytesInFlightFallAsMessagesSettle) {
  LearnAcks acks;
  const uint64_t first = acks.Add(1, 10);
  acks.Add(2, 20);
  EXPECT_EQ(acks.bytes_in_flight(), 30);
  acks.Settle(first, Stored(1));
  EXPECT_EQ(acks.bytes_in_flight(), 20);
  acks.RemoveLast();
  EXPECT_EQ(acks.bytes_in_flight(), 0);
  EXPECT_EQ(acks.in_flight(), 0u);
}

TEST(LearnAcksTest, RejectionsAndRepeatsAreToldOnce) {
  LearnAcks acks;
  Accepted rejected;
  rejected.rejection = BadField("examples", "batch is empty");
  Accepted repeat;
  repeat.duplicate = true;
  acks.Settle(acks.Add(1, 1), rejected);
  acks.Settle(acks.Add(2, 1), repeat);
  const v1::LearnAck ack = acks.Take();
  ASSERT_EQ(ack.rejections_size(), 1);
  EXPECT_EQ(ack.rejections(0).producer_sequence(), 1u);
  EXPECT_EQ(ack.duplicates(), 1u);
  acks.Settle(acks.Add(3, 1), Stored(1));
  const v1::LearnAck next = acks.Take();
  EXPECT_EQ(next.rejections_size(), 0);
  EXPECT_EQ(next.duplicates(), 0u);
}

TEST(LearnAcksTest, AnOlderRepeatDoesNotTakeAnAckBack) {
  LearnAcks acks;
  Accepted repeat;
  repeat.duplicate = true;
  acks.Settle(acks.Add(7, 1), Stored(1));
  acks.Settle(acks.Add(3, 1), repeat);
  EXPECT_EQ(acks.Take().producer_sequence(), 7u);
}

TEST(LearnAcksTest, NothingBehindAFailureIsAcked) {
  LearnAcks acks;
  const uint64_t first = acks.Add(1, 1);
  const uint64_t second = acks.Add(2, 1);
  acks.Settle(first, absl::AbortedError("gap"));
  acks.Settle(second, Stored(1));
  EXPECT_FALSE(acks.ready());
  EXPECT_EQ(acks.in_flight(), 0u);
}

}  // namespace
}  // namespace engram::server
