// When memory is given back to the system.
#include "server/memory_return.h"

#include "gtest/gtest.h"

namespace engram::testing {
namespace {

using server::MemoryReturn;

constexpr uint64_t kMiB = uint64_t{1} << 20;

int SecondsUntilDue(MemoryReturn* memory, uint64_t committed) {
  for (int second = 1; second <= 1000; ++second) {
    if (memory->IsDue(committed)) return second;
  }
  return 0;
}

TEST(MemoryReturnTest, IsDueAfterAFloodAndAgainWhenItStaysQuiet) {
  MemoryReturn memory;
  for (uint64_t second = 1; second <= 20; ++second) {
    EXPECT_FALSE(memory.IsDue(second * 50 * kMiB)) << "learning goes on";
  }
  EXPECT_EQ(SecondsUntilDue(&memory, 1000 * kMiB), 5);
  EXPECT_EQ(SecondsUntilDue(&memory, 1000 * kMiB), 55);
  EXPECT_EQ(SecondsUntilDue(&memory, 1000 * kMiB), 540);
  EXPECT_EQ(SecondsUntilDue(&memory, 1000 * kMiB), 0) << "nothing came since";
  EXPECT_EQ(SecondsUntilDue(&memory, 1100 * kMiB), 6);
}

TEST(MemoryReturnTest, ATrickleIsQuietAndNoFlood) {
  MemoryReturn memory;
  int due = 0;
  uint64_t committed = 0;
  for (; committed < 64 * kMiB; committed += kMiB / 2) due += memory.IsDue(committed) ? 1 : 0;
  EXPECT_EQ(due, 1) << "after a minute";
  EXPECT_TRUE(memory.IsDue(committed));
}

}  // namespace
}  // namespace engram::testing
