// The wall clock is set by a day, or a month, forward and back: nothing but the displayed times may
// change (promises.md P24).
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/applied_waiters.h"
#include "server/clock.h"
#include "tests/testing/server/model_bench.h"

namespace engram::server {
namespace {

using testing::MakeExample;
using testing::ModelBench;
using ::testing::SizeIs;

class ClockJumpTest : public ::testing::TestWithParam<int> {
 protected:
  absl::Duration jump() const { return absl::Hours(24) * GetParam(); }
};

TEST_P(ClockJumpTest, ForgetsNoProducerAndTrimsNothing) {
  ModelBench bench;
  bench.retention().set_log_seconds(3600);
  bench.retention().set_log_bytes(1);
  bench.Restart();
  const std::vector<v1::Example> batch(3, MakeExample(1));
  bench.LearnNow(batch);
  bench.clock().JumpWall(jump());
  bench.LearnNow(batch);
  bench.CheckpointNow();
  bench.Settle();
  EXPECT_THAT(*bench.store().log().Producers(bench.uid()), SizeIs(1));
  EXPECT_EQ(bench.store().log().TrimMark(bench.uid()), 0u);
  // A repeat is still known for one.
  const auto repeat = bench.Send(testing::MakeMessage(1, batch));
  bench.Settle();
  EXPECT_TRUE((*repeat)->value().duplicate);
  // An hour that has passed is another matter.
  bench.clock().JumpWall(-jump());
  bench.clock().Advance(absl::Hours(2));
  bench.CheckpointNow();
  bench.Settle();
  EXPECT_GT(bench.store().log().TrimMark(bench.uid()), 0u);
}

TEST_P(ClockJumpTest, EndsNoWait) {
  ModelBench bench;
  absl::optional<absl::Status> answer;
  bench.model().WaitApplied(5, false, bench.clock().Monotonic() + absl::Seconds(10),
                            [&answer](const absl::StatusOr<v1::WaitAppliedResponse>& reached) {
                              answer = reached.status();
                            });
  bench.clock().JumpWall(jump());
  bench.model().ExpireWaits(bench.clock().Monotonic());
  EXPECT_FALSE(answer.has_value());
  bench.clock().Advance(absl::Seconds(11));
  bench.model().ExpireWaits(bench.clock().Monotonic());
  ASSERT_TRUE(answer.has_value());
  EXPECT_TRUE(absl::IsDeadlineExceeded(*answer));
}

INSTANTIATE_TEST_SUITE_P(Days, ClockJumpTest, ::testing::Values(1, -1, 40, -40));

TEST(SystemClockTest, AgesGoOnWithTheSteadyClock) {
  const absl::Time anchored = SystemClock()->Anchored();
  const absl::Duration steady = SteadyNow();
  EXPECT_LT(absl::AbsDuration(SystemClock()->Now() - anchored), absl::Minutes(1));
  EXPECT_LT(absl::AbsDuration((SystemClock()->Anchored() - anchored) - (SteadyNow() - steady)),
            absl::Milliseconds(100));
}

}  // namespace
}  // namespace engram::server
