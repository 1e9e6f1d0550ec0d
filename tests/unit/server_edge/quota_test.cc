// The ledger of what callers take: exact rates, holds that come back, texts that say what to do.
#include "server/quota.h"

#include <vector>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "google/rpc/error_details.pb.h"
#include "gtest/gtest.h"
#include "server/config.h"
#include "server/errors.h"
#include "tests/testing/process/status_details.h"

namespace engram::server {
namespace {

using ::testing::HasSubstr;

constexpr absl::Duration kNow = absl::Seconds(1000);

v1::ServerConfig Config(const std::string& text) { return *CompleteConfig(*ParseConfig(text)); }

Identity Writer(const std::string& name) { return {Role::kWriter, name}; }

void ExpectMet(const absl::Status& status, const std::string& limit,
               const std::vector<std::string>& words) {
  EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
  EXPECT_THAT(std::string(status.message()), HasSubstr(limit + ": "));
  for (const std::string& word : words) {
    EXPECT_THAT(std::string(status.message()), HasSubstr(word));
  }
  const auto quota = testing::FindDetail<google::rpc::QuotaFailure>(ToRpcStatus(status));
  ASSERT_TRUE(quota.has_value());
  EXPECT_EQ(quota->violations(0).subject(), limit);
  EXPECT_GT(RetryDelay(status).count(), 0);
}

TEST(TokenBucketTest, ADebtIsPaidBeforeMoreIsTaken) {
  TokenBucket bucket(100, 100);
  EXPECT_EQ(bucket.Wait(kNow), absl::ZeroDuration());
  bucket.Take(350);
  EXPECT_NEAR(absl::ToDoubleSeconds(bucket.Wait(kNow)), 2.51, 1e-6);
  EXPECT_GT(bucket.Wait(kNow + absl::Seconds(2.5)), absl::ZeroDuration());
  EXPECT_EQ(bucket.Wait(kNow + absl::Seconds(2.52)), absl::ZeroDuration());
}

TEST(TokenBucketTest, OverTimeTheRateIsExact) {
  TokenBucket bucket(1000, 1000);
  int64_t taken = 0;
  for (absl::Duration now = kNow; now < kNow + absl::Seconds(20); now += absl::Milliseconds(1)) {
    if (bucket.Wait(now) > absl::ZeroDuration()) continue;
    bucket.Take(300);
    taken += 300;
  }
  EXPECT_NEAR(static_cast<double>(taken), 21'000, 300);  // a second's worth at once, then 20 s
}

TEST(TokenBucketTest, WithoutARateItNeverRunsOut) {
  TokenBucket bucket(0, 0);
  bucket.Take(1e12);
  EXPECT_EQ(bucket.Wait(kNow), absl::ZeroDuration());
  EXPECT_TRUE(bucket.full());
}

TEST(QuotaTest, ARateThatIsUsedUpIsToldAndOthersAreUnaffected) {
  QuotaLedger ledger(Config("quota { examples_per_second: 2000 }"));
  const auto flooder = ledger.Of(Writer("A"));
  EXPECT_TRUE(flooder->CheckExamples(kNow).ok());
  EXPECT_TRUE(flooder->TakeExamples(2000, kNow).ok());
  ExpectMet(flooder->CheckExamples(kNow), "quota.examples_per_second",
            {"2000/s limit for writer \"A\"", "send slower"});
  ExpectMet(flooder->TakeExamples(1, kNow), "quota.examples_per_second", {});
  EXPECT_TRUE(ledger.Of(Writer("B"))->TakeExamples(2000, kNow).ok());
  EXPECT_EQ(ledger.met(QuotaKind::kExamples), 2u);
  // The account is the same whoever asks for it.
  EXPECT_FALSE(ledger.Of(Writer("A"))->TakeExamples(1, kNow).ok());
  EXPECT_TRUE(flooder->TakeExamples(1, kNow + absl::Seconds(1)).ok());
}

TEST(QuotaTest, BoundariesAreCountedByTheMinute) {
  QuotaLedger ledger(Config("quota { boundaries_per_minute: 3 }"));
  const auto account = ledger.Of(Writer("A"));
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(account->TakeBoundary(kNow).ok());
  const absl::Status fourth = account->TakeBoundary(kNow);
  ExpectMet(fourth, "quota.boundaries_per_minute", {"3/min limit for writer \"A\""});
  EXPECT_EQ(RetryDelay(fourth), std::chrono::seconds(20));
  EXPECT_TRUE(account->TakeBoundary(kNow + absl::Seconds(20.1)).ok());
}

TEST(QuotaTest, BytesComeBackWithTheirHold) {
  QuotaLedger ledger(
      Config("limits { message_bytes: 1048576 in_flight_bytes: 3145728 } "
             "quota { in_flight_bytes: 2097152 }"));
  const auto a = ledger.Of(Writer("A"));
  const auto b = ledger.Of(Writer("B"));
  absl::StatusOr<Hold> first = a->HoldBytes(1 << 20);
  const absl::StatusOr<Hold> second = a->HoldBytes(1 << 20);
  ASSERT_TRUE(first.ok() && second.ok()) << second.status();
  ExpectMet(a->HoldBytes(1).status(), "quota.in_flight_bytes", {"2097152", "writer \"A\""});
  const absl::StatusOr<Hold> third = b->HoldBytes(1 << 20);
  ASSERT_TRUE(third.ok());
  ExpectMet(b->HoldBytes(1).status(), "limits.in_flight_bytes", {"3145728", "try again"});
  EXPECT_EQ(ledger.in_flight_bytes(), 3 << 20);
  first->reset();
  EXPECT_TRUE(b->HoldBytes(1 << 20).ok());
  EXPECT_EQ(ledger.in_flight_bytes(), 2 << 20);
}

TEST(QuotaTest, StreamsAndConnectionsComeBackWithTheirHold) {
  QuotaLedger ledger(Config("limits { connections: 2 } quota { learn_streams: 1 }"));
  const auto account = ledger.Of(Writer("A"));
  absl::StatusOr<Hold> stream = account->HoldStream();
  ASSERT_TRUE(stream.ok());
  ExpectMet(account->HoldStream().status(), "quota.learn_streams", {"may have 1", "end one"});
  EXPECT_TRUE(ledger.Of(Writer("B"))->HoldStream().ok());
  stream->reset();
  EXPECT_TRUE(account->HoldStream().ok());

  std::vector<absl::StatusOr<Hold>> connections;
  for (int i = 0; i < 2; ++i) connections.push_back(ledger.HoldConnection());
  ASSERT_TRUE(connections[1].ok());
  ExpectMet(ledger.HoldConnection().status(), "limits.connections", {"2 connections are open"});
  connections.pop_back();
  EXPECT_TRUE(ledger.HoldConnection().ok());
}

TEST(QuotaTest, AHoldOutlivesTheLedger) {
  absl::StatusOr<Hold> bytes = absl::UnknownError("");
  {
    QuotaLedger ledger(Config(""));
    bytes = ledger.Of(Writer("A"))->HoldBytes(100);
  }
  ASSERT_TRUE(bytes.ok());
  bytes->reset();
}

TEST(QuotaTest, WithoutCredentialsNothingButTheTotalHolds) {
  QuotaLedger ledger(Config(""));
  const auto everybody = ledger.Of({Role::kAdmin, ""});
  EXPECT_TRUE(everybody->TakeExamples(1'000'000'000, kNow).ok());
  EXPECT_TRUE(everybody->TakeExamples(1, kNow).ok());
  std::vector<absl::StatusOr<Hold>> held;
  for (int i = 0; i < 5000; ++i) {
    EXPECT_TRUE(everybody->TakeBoundary(kNow).ok());
    held.push_back(everybody->HoldStream());
    EXPECT_TRUE(held.back().ok());
  }
  held.push_back(everybody->HoldBytes(64 << 20));
  EXPECT_TRUE(held.back().ok());
  ExpectMet(everybody->HoldBytes(1).status(), "limits.in_flight_bytes", {});
}

TEST(QuotaTest, ACallerMayHaveAQuotaOfItsOwn) {
  const v1::ServerConfig config = Config(
      "authentication { token_file: 't' } "
      "caller_quotas { role: 'writer' name: 'big' quota { examples_per_second: 500000 } }");
  EXPECT_EQ(config.quota().examples_per_second(), 20'000);
  EXPECT_EQ(config.quota().boundaries_per_minute(), 60);
  EXPECT_EQ(config.quota().learn_streams(), 8);
  EXPECT_EQ(config.quota().in_flight_bytes(), 16 << 20);
  EXPECT_EQ(config.caller_quotas(0).quota().learn_streams(), 8);
  QuotaLedger ledger(config);
  EXPECT_TRUE(ledger.Of(Writer("big"))->TakeExamples(400'000, kNow).ok());
  EXPECT_TRUE(ledger.Of(Writer("big"))->TakeExamples(1, kNow).ok());
  EXPECT_TRUE(ledger.Of({Role::kAdmin, "big"})->TakeExamples(20'000, kNow).ok());
  EXPECT_FALSE(ledger.Of({Role::kAdmin, "big"})->TakeExamples(1, kNow).ok());
}

TEST(QuotaTest, WhoHoldsNothingIsForgottenBeforeThereAreTooMany) {
  QuotaLedger ledger(Config("quota { learn_streams: 1 }"));
  const absl::StatusOr<Hold> kept = ledger.Of(Writer("kept"))->HoldStream();
  ASSERT_TRUE(kept.ok());
  const std::weak_ptr<QuotaLedger::Account> idle = ledger.Of(Writer("idle"));
  for (int i = 0; i < 4096; ++i) ledger.Of(Writer(absl::StrCat(i)));
  EXPECT_TRUE(idle.expired());
  EXPECT_FALSE(ledger.Of(Writer("kept"))->HoldStream().ok());
}

struct BadQuota {
  const char* text;
  const char* words;
};

class QuotaConfigTest : public ::testing::TestWithParam<BadQuota> {};

TEST_P(QuotaConfigTest, OutOfRangeValuesNameFieldAndRange) {
  const auto config = CompleteConfig(*ParseConfig(GetParam().text));
  EXPECT_EQ(config.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(config.status().message()), HasSubstr(GetParam().words));
}

INSTANTIATE_TEST_SUITE_P(
    Fields, QuotaConfigTest,
    ::testing::Values(
        BadQuota{"quota { examples_per_second: -1 }", "quota.examples_per_second: must be in [1, "},
        BadQuota{"quota { in_flight_bytes: 5 }", "quota.in_flight_bytes: must be in [4194304, "},
        BadQuota{"limits { in_flight_bytes: 2097152 }",
                 "limits.in_flight_bytes: must be at least limits.message_bytes 4194304"},
        BadQuota{"limits { connections: 65537 }", "limits.connections: must be in [1, 65536]"},
        BadQuota{"caller_quotas { role: 'king' name: 'a' }", "caller_quotas[0].role: expected"},
        BadQuota{"caller_quotas { role: 'writer' name: '/' }", "caller_quotas[0].name: expected"},
        BadQuota{"caller_quotas { role: 'writer' name: 'a' quota { learn_streams: -2 } }",
                 "caller_quotas[0].quota.learn_streams: must be in"}));

}  // namespace
}  // namespace engram::server
