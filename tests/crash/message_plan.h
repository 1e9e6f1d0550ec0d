// What a producer of the crash test sends: message n is a pure function of (seed, producer, n), so
// a resent message is the same message, and the oracle can make it again.
//
// Threading: const after construction. Failure: none.
#pragma once

#include <cstdint>
#include <string>

#include "engram/v1/learning.pb.h"

namespace engram::crash {

constexpr int64_t kFeatureCount = 16;

struct MessagePlan {
  uint64_t seed = 1;
  std::string producer;
  // This producer also ends tasks.
  bool marks_boundaries = false;

  bool IsBoundary(uint64_t sequence) const;
  // 0 for a boundary.
  int ExampleCount(uint64_t sequence) const;
  engram::v1::LearnMessage Message(uint64_t sequence) const;
  // Example.id; also the name of the task that a boundary opens.
  std::string Id(uint64_t sequence, int index) const;
};

}  // namespace engram::crash
