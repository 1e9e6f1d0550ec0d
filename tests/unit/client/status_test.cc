#include "client/status.h"

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/unit/client/fake_engram.h"

namespace engram::client {
namespace {

using ::testing::HasSubstr;

std::string Message(const absl::Status& status) { return std::string(status.message()); }

TEST(ClientStatusTest, KeepsCodeAndMessageWithoutDetails) {
  EXPECT_TRUE(FromGrpcStatus(grpc::Status::OK).ok());
  const absl::Status status =
      FromGrpcStatus(grpc::Status(grpc::StatusCode::NOT_FOUND, "model \"x\" is unknown"));
  EXPECT_EQ(status.code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(Message(status), "model \"x\" is unknown");
  EXPECT_EQ(Describe(status), "NOT_FOUND: model \"x\" is unknown");
}

TEST(ClientStatusTest, NamesBadFieldsThatTheMessageDoesNot) {
  google::rpc::BadRequest bad;
  bad.add_field_violations()->set_field("examples[3].label");
  bad.mutable_field_violations(0)->set_description("missing");
  const absl::Status status =
      FromGrpcStatus(RichStatus(grpc::StatusCode::INVALID_ARGUMENT, "bad example", {&bad}));
  EXPECT_EQ(Message(status), "bad example [examples[3].label: missing]");
}

TEST(ClientStatusTest, DoesNotRepeatWhatTheMessageSays) {
  google::rpc::BadRequest bad;
  bad.add_field_violations()->set_field("features");
  bad.mutable_field_violations(0)->set_description("expected 784 values, got 783");
  const absl::Status status = FromGrpcStatus(RichStatus(
      grpc::StatusCode::INVALID_ARGUMENT, "features: expected 784 values, got 783", {&bad}));
  EXPECT_EQ(Message(status), "features: expected 784 values, got 783");
}

TEST(ClientStatusTest, DecodesReasonMetadataAndRetryDelay) {
  google::rpc::ErrorInfo why;
  why.set_reason("SEQUENCE_GAP");
  (*why.mutable_metadata())["expectedSequence"] = "41";
  google::rpc::RetryInfo retry;
  retry.mutable_retry_delay()->set_nanos(250'000'000);
  const absl::Status status =
      FromGrpcStatus(RichStatus(grpc::StatusCode::ABORTED, "gap", {&why, &retry}));
  EXPECT_EQ(Message(status), "gap [SEQUENCE_GAP expectedSequence=41; retry after 250ms]");
  EXPECT_EQ(ReasonOf(status), "SEQUENCE_GAP");
  EXPECT_EQ(ErrorInfoOf(status)->metadata().at("expectedSequence"), "41");
  EXPECT_EQ(*RetryDelayOf(status), absl::Milliseconds(250));
}

TEST(ClientStatusTest, NamesQuotaPreconditionAndResource) {
  google::rpc::QuotaFailure quota;
  quota.add_violations()->set_subject("queue");
  quota.mutable_violations(0)->set_description("64 MiB full");
  google::rpc::PreconditionFailure missing;
  missing.add_violations()->set_description("log is read-only");
  google::rpc::ResourceInfo resource;
  resource.set_resource_name("digits");
  const absl::Status status = FromGrpcStatus(
      RichStatus(grpc::StatusCode::RESOURCE_EXHAUSTED, "full", {&quota, &missing, &resource}));
  EXPECT_THAT(Message(status), HasSubstr("queue: 64 MiB full"));
  EXPECT_THAT(Message(status), HasSubstr("log is read-only"));
  EXPECT_THAT(Message(status), HasSubstr("digits"));
}

TEST(ClientStatusTest, GarbledDetailsLeaveTheMessage) {
  const absl::Status status =
      FromGrpcStatus(grpc::Status(grpc::StatusCode::INTERNAL, "oops", "\xff\xff not a proto"));
  EXPECT_EQ(status.code(), absl::StatusCode::kInternal);
  EXPECT_EQ(Message(status), "oops");
  EXPECT_EQ(ReasonOf(status), "");
  EXPECT_FALSE(RetryDelayOf(status).has_value());
}

TEST(ClientStatusTest, ConvertsTheStatusOfARejection) {
  google::rpc::Status rejected;
  rejected.set_code(8);
  rejected.set_message("full");
  EXPECT_EQ(FromRpcStatus(rejected).code(), absl::StatusCode::kResourceExhausted);
  rejected.set_code(99);
  EXPECT_EQ(FromRpcStatus(rejected).code(), absl::StatusCode::kUnknown);
  EXPECT_TRUE(FromRpcStatus(google::rpc::Status()).ok());
}

}  // namespace
}  // namespace engram::client
