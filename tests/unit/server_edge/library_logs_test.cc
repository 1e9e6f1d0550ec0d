// What gRPC and protobuf write by themselves is in our form and cannot fill the log.
#include "server/library_logs.h"

#include <grpc/support/log.h>

#include "absl/strings/str_split.h"
#include "engram/v1/model.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace engram::server {
namespace {

using ::testing::AllOf;
using ::testing::Each;
using ::testing::HasSubstr;
using ::testing::Le;
using ::testing::SizeIs;

std::vector<std::string> LinesOf(const std::function<void()>& act) {
  ::testing::internal::CaptureStderr();
  act();
  return absl::StrSplit(::testing::internal::GetCapturedStderr(), '\n', absl::SkipEmpty());
}

TEST(LineBudgetTest, WhatIsHeldBackIsCountedInTheNextLineThatPasses) {
  LineBudget budget(1, 2);
  const absl::Duration now = absl::Hours(1);
  EXPECT_EQ(budget.Take(now), 0u);
  EXPECT_EQ(budget.Take(now), 0u);
  for (int i = 0; i < 5; ++i) EXPECT_FALSE(budget.Take(now).has_value());
  EXPECT_EQ(budget.Take(now + absl::Seconds(1)), 5u);
  EXPECT_FALSE(budget.Take(now + absl::Seconds(1)).has_value());
  EXPECT_EQ(budget.Take(now + absl::Seconds(9)), 1u);
}

TEST(LibraryLogsTest, AFloodOfLinesIsCountedNotWritten) {
  TakeLibraryLogs();
  const auto of_protobuf = LinesOf([] {
    v1::GetModelRequest request;
    for (int i = 0; i < 1000; ++i) EXPECT_FALSE(request.ParseFromString("\x0a\x02\xc3\x28"));
  });
  EXPECT_THAT(of_protobuf, SizeIs(Le(40u)));
  EXPECT_FALSE(of_protobuf.empty());
  EXPECT_THAT(of_protobuf,
              Each(AllOf(HasSubstr("level=warning event=protobuf"), HasSubstr("UTF-8"))));
  gpr_log_verbosity_init();
  const auto of_grpc = LinesOf([] {
    for (int i = 0; i < 1000; ++i) gpr_log(GPR_ERROR, "handshake number %d failed", i);
    gpr_log(GPR_ERROR, "assertion failed: the last words");
  });
  ASSERT_FALSE(of_grpc.empty());
  EXPECT_THAT(of_grpc, SizeIs(Le(40u)));
  EXPECT_THAT(of_grpc, Each(HasSubstr("event=grpc")));
  EXPECT_THAT(of_grpc.back(), AllOf(HasSubstr("last words"), HasSubstr("held_back=")));
}

}  // namespace
}  // namespace engram::server
