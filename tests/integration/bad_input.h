// A row of the bad-input table: one call that must fail, how, and with which words and details.
//
// Threading: plain values. Failure: gtest expectations.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "tests/testing/process/status_details.h"
#include "tests/testing/process/stubs.h"

namespace engram::integration {

enum class Detail { kNone, kBadRequest, kResource, kPrecondition, kQuota, kReason };

struct BadInput {
  std::string name;
  std::function<grpc::Status(const testing::Stubs&)> call;
  grpc::StatusCode code = grpc::INVALID_ARGUMENT;
  // All of these are in the message.
  std::vector<std::string> words;
  Detail detail = Detail::kBadRequest;
  std::string reason = "";  // of an ErrorInfo
};

// Makes the call and compares.
void ExpectRefused(const BadInput& input, const testing::Stubs& stubs);

// LearnBatch of one model by one producer, sequence 1 unless `edit` says otherwise.
grpc::Status LearnOnce(const testing::Stubs& stubs, const std::string& producer,
                       const std::function<void(v1::LearnBatchRequest*)>& edit);
// A valid example of the toy stream.
v1::Example GoodExample();

}  // namespace engram::integration
