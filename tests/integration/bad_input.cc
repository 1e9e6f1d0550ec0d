#include "tests/integration/bad_input.h"

#include "gtest/gtest.h"
#include "tests/testing/process/toy_examples.h"

namespace engram::integration {
namespace {

bool HasDetail(const grpc::Status& status, Detail detail) {
  switch (detail) {
    case Detail::kNone:
      return true;
    case Detail::kBadRequest: {
      const auto found = testing::FindDetail<google::rpc::BadRequest>(status);
      return found.has_value() && found->field_violations_size() > 0 &&
             !found->field_violations(0).field().empty() &&
             !found->field_violations(0).description().empty();
    }
    case Detail::kResource:
      return testing::FindDetail<google::rpc::ResourceInfo>(status).has_value();
    case Detail::kPrecondition:
      return testing::FindDetail<google::rpc::PreconditionFailure>(status).has_value();
    case Detail::kQuota:
      return testing::FindDetail<google::rpc::QuotaFailure>(status).has_value();
    case Detail::kReason:
      return testing::FindDetail<google::rpc::ErrorInfo>(status).has_value();
  }
  return false;
}

}  // namespace

void ExpectRefused(const BadInput& input, const testing::Stubs& stubs) {
  SCOPED_TRACE(input.name);
  const grpc::Status status = input.call(stubs);
  EXPECT_EQ(status.error_code(), input.code) << status.error_message();
  for (const std::string& word : input.words) {
    EXPECT_NE(status.error_message().find(word), std::string::npos)
        << "\"" << word << "\" is not in: " << status.error_message();
  }
  EXPECT_TRUE(HasDetail(status, input.detail)) << testing::RpcStatus(status).ShortDebugString();
  if (!input.reason.empty()) {
    EXPECT_EQ(testing::Reason(status), input.reason);
  }
}

v1::Example GoodExample() { return testing::ToyExample({}, 0, 31337); }

grpc::Status LearnOnce(const testing::Stubs& stubs, const std::string& producer,
                       const std::function<void(v1::LearnBatchRequest*)>& edit) {
  v1::LearnBatchRequest request;
  request.set_model("toy");
  request.set_producer(producer);
  request.set_producer_sequence(1);
  *request.add_examples() = GoodExample();
  edit(&request);
  return testing::Call(*stubs.learning, &v1::Learning::Stub::LearnBatch, request).status;
}

}  // namespace engram::integration
