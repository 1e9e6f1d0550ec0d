#include "server/errors.h"

#include "google/rpc/error_details.pb.h"
#include "gtest/gtest.h"
#include "tests/testing/process/status_details.h"

namespace engram::server {
namespace {

using testing::FindDetail;

TEST(ErrorsTest, BadFieldNamesFieldAndReasonOnTheWire) {
  const grpc::Status status = ToGrpcStatus(BadField("top_k", "must be in [1,10], got 0"));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(), "top_k: must be in [1,10], got 0");
  const auto detail = FindDetail<google::rpc::BadRequest>(status);
  ASSERT_TRUE(detail.has_value());
  EXPECT_EQ(detail->field_violations(0).field(), "top_k");
}

TEST(ErrorsTest, OverLimitSaysWhenToRetryOnlyIfRetryingHelps) {
  const grpc::Status busy =
      ToGrpcStatus(OverLimit("queue", "queue 64 MiB full", std::chrono::milliseconds(1250)));
  const auto retry = FindDetail<google::rpc::RetryInfo>(busy);
  ASSERT_TRUE(retry.has_value());
  EXPECT_EQ(retry->retry_delay().seconds(), 1);
  EXPECT_EQ(retry->retry_delay().nanos(), 250'000'000);
  EXPECT_TRUE(FindDetail<google::rpc::QuotaFailure>(busy).has_value());
  const grpc::Status full =
      ToGrpcStatus(OverLimit("tasks", "task limit 10000", std::chrono::milliseconds(0)));
  EXPECT_FALSE(FindDetail<google::rpc::RetryInfo>(full).has_value());
}

TEST(ErrorsTest, NotFoundNamesWhatIsThere) {
  const absl::Status status = NotFound("version", "9", "700 to 812");
  EXPECT_EQ(status.message(), "version \"9\" not found; there is: 700 to 812");
  const auto detail = FindDetail<google::rpc::ResourceInfo>(ToGrpcStatus(status));
  ASSERT_TRUE(detail.has_value());
  EXPECT_EQ(detail->resource_type(), "version");
}

TEST(ErrorsTest, ReasonCarriesItsMetadata) {
  const grpc::Status status = ToGrpcStatus(WithReason(
      absl::StatusCode::kAborted, "SEQUENCE_GAP", "expected 41, got 43", "expectedSequence", "41"));
  const auto detail = FindDetail<google::rpc::ErrorInfo>(status);
  ASSERT_TRUE(detail.has_value());
  EXPECT_EQ(detail->reason(), "SEQUENCE_GAP");
  EXPECT_EQ(detail->domain(), "engram");
  EXPECT_EQ(detail->metadata().at("expectedSequence"), "41");
}

TEST(ErrorsTest, WrongStateAndTakenNamesCarryTheirDetails) {
  EXPECT_TRUE(FindDetail<google::rpc::PreconditionFailure>(
                  ToGrpcStatus(WrongState("MODEL", "digits", "no class yet")))
                  .has_value());
  EXPECT_TRUE(FindDetail<google::rpc::ResourceInfo>(ToGrpcStatus(AlreadyExists("model", "digits")))
                  .has_value());
}

TEST(ErrorsTest, EchoEscapesAndCuts) {
  EXPECT_EQ(Echo("a\nb\x01"), "a\\nb\\x01");
  EXPECT_EQ(Echo(std::string(500, 'x')).size(), 64u);
  EXPECT_LE(Echo(std::string(64, '\n')).size(), 64u);
}

TEST(ErrorsTest, LongMessagesFitIntoHeaders) {
  const grpc::Status status = ToGrpcStatus(absl::InternalError(std::string(100'000, 'x')));
  EXPECT_LE(status.error_message().size(), 1024u);
}

TEST(ErrorsTest, OkStaysOk) { EXPECT_TRUE(ToGrpcStatus(absl::OkStatus()).ok()); }

}  // namespace
}  // namespace engram::server
