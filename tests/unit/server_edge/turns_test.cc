// A crowd is told to come back one after the other, within two seconds, and one alone at once.
#include "server/turns.h"

#include "gtest/gtest.h"

namespace engram::server {
namespace {

constexpr absl::Duration kNow = absl::Seconds(1000);

TEST(TurnsTest, ACrowdComesBackOneAfterTheOther) {
  Turns turns;
  const absl::Duration first = turns.Next(kNow);
  for (int i = 2; i <= 100; ++i) EXPECT_EQ(turns.Next(kNow), i * first);
}

TEST(TurnsTest, NobodyWaitsForThoseWhoseTurnIsOver) {
  Turns turns;
  const absl::Duration alone = turns.Next(kNow);
  for (int i = 0; i < 10; ++i) turns.Next(kNow);
  EXPECT_EQ(turns.Next(kNow + absl::Seconds(1)), alone);
}

TEST(TurnsTest, NoTurnIsFarAway) {
  Turns turns;
  for (int i = 0; i < 10'000; ++i) EXPECT_LE(turns.Next(kNow), absl::Seconds(2));
}

}  // namespace
}  // namespace engram::server
