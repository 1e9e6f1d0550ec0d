#include "client/retry.h"

#include "client/status.h"
#include "gtest/gtest.h"
#include "tests/unit/client/fake_engram.h"

namespace engram::client {
namespace {

absl::Status WithRetryInfo(grpc::StatusCode code) {
  google::rpc::RetryInfo retry;
  retry.mutable_retry_delay()->set_seconds(1);
  return FromGrpcStatus(RichStatus(code, "later", {&retry}));
}

TEST(RetryTest, UnavailableIsRepeatedWhenRepeatingIsSafe) {
  const absl::Status status = absl::UnavailableError("gone");
  EXPECT_TRUE(IsRetryable(status, true));
  EXPECT_FALSE(IsRetryable(status, false));
  EXPECT_TRUE(IsRetryable(WithRetryInfo(grpc::StatusCode::UNAVAILABLE), false));
}

TEST(RetryTest, ResourceExhaustedIsRepeatedOnlyWhenAsked) {
  EXPECT_FALSE(IsRetryable(absl::ResourceExhaustedError("class budget"), true));
  EXPECT_TRUE(IsRetryable(WithRetryInfo(grpc::StatusCode::RESOURCE_EXHAUSTED), false));
}

TEST(RetryTest, OtherCodesAreNotRepeated) {
  EXPECT_FALSE(IsRetryable(absl::InvalidArgumentError("no"), true));
  EXPECT_FALSE(IsRetryable(absl::DeadlineExceededError("late"), true));
  EXPECT_FALSE(IsRetryable(WithRetryInfo(grpc::StatusCode::INTERNAL), true));
}

TEST(BackoffTest, GrowsToItsBoundWithinTheJitter) {
  RetryOptions options;
  options.delay_first = absl::Milliseconds(100);
  options.delay_max = absl::Milliseconds(400);
  options.jitter = 0.2;
  Backoff backoff(options);
  for (const int nominal : {100, 200, 400, 400, 400}) {
    const absl::Duration delay = backoff.Next(absl::nullopt);
    EXPECT_GE(delay, absl::Milliseconds(nominal) * 0.799);
    EXPECT_LE(delay, absl::Milliseconds(nominal) * 1.201);
  }
  backoff.Reset();
  EXPECT_LE(backoff.Next(absl::nullopt), absl::Milliseconds(121));
}

TEST(BackoffTest, NeverComesBeforeTheServerAsked) {
  Backoff backoff(RetryOptions{});
  EXPECT_GE(backoff.Next(absl::Seconds(3)), absl::Seconds(3));
}

}  // namespace
}  // namespace engram::client
