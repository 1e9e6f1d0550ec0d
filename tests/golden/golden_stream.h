// What every golden folder was told: the same few calls, whatever the format. The maker sends them,
// the test knows what they must have left.
//
// Threading: free functions. Failure: the status of the first call that failed.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "engram/v1/learning.pb.h"
#include "tests/testing/process/stubs.h"

namespace engram::golden {

constexpr char kModel[] = "golden";
constexpr char kProducer[] = "sensor";
constexpr char kLabel[] = "first";  // of the checkpoint
constexpr uint64_t kMessages = 6;
constexpr uint64_t kDurable = 25;  // 24 examples and the boundary
constexpr uint64_t kApplied = 22;  // the last three wait for a fourth
constexpr int kExamplesOfAnn = 6;  // ids "example-1" ..., subjects in turn: ann, bob, carol, nobody

// Message 4 is the boundary, each of the others has examples.
v1::LearnBatchRequest Message(uint64_t producer_sequence);

absl::Status Tell(const testing::Stubs& stubs);

}  // namespace engram::golden
