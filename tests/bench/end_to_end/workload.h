// What the bench sends: 28x28 images as floats, ten classes, always the same.
//
// Threading: free functions and immutable values. Failure: none.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engram/v1/model.pb.h"
#include "grpcpp/support/byte_buffer.h"

namespace engram::bench {

constexpr int64_t kFeatureCount = 784;
constexpr int64_t kClassCount = 10;
constexpr size_t kExamplesPerMessage = 256;

// The reference network: 784-256-256-10, SGD 0.05, one growing head.
v1::ModelSpec ReferenceSpec(int64_t batch);

// A serialised LearnRequest, and its CRC-32 for the end record.
struct Frame {
  grpc::ByteBuffer buffer;
  uint32_t crc = 0;
};
// Messages `first` to `first + count - 1` of a producer, made before any clock runs.
std::vector<Frame> MakeFrames(uint64_t first, size_t count, size_t examples = kExamplesPerMessage);

// A serialised PredictRequest of one row.
std::string PredictBody(const std::string& model);

// The same examples as flat arrays, for what runs in process.
struct FlatExamples {
  std::vector<float> features;
  std::vector<int32_t> classes;
  std::vector<int32_t> tasks;
  std::vector<uint64_t> sequences;
};
FlatExamples MakeFlat(size_t count);

}  // namespace engram::bench
