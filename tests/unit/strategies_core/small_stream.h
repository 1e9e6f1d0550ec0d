// Tiny seeded batches for the learner's tests.
#pragma once

#include <cstdint>
#include <vector>

#include "strategies/api/batch_view.h"
#include "strategies/api/learner.h"

namespace engram::strategies {

// Owns what a BatchView borrows.
struct SmallBatch {
  int64_t feature_count = 0;
  std::vector<float> features;
  std::vector<int32_t> classes;
  std::vector<int32_t> tasks;
  std::vector<uint64_t> sequences;
  std::vector<float> weights;

  BatchView View() const;
};

// Rows around one centre a class, so that they can be learned.
class SmallStream {
 public:
  SmallStream(int64_t feature_count, uint64_t seed);

  // One row for each class given, of `task`.
  SmallBatch Next(const std::vector<int32_t>& classes, int32_t task = 0);

 private:
  int64_t feature_count_;
  uint64_t seed_;
  uint64_t draws_ = 0;
  uint64_t sequence_ = 0;
};

// A small model: MLP feature_count-8-6, growing head, SGD 0.1, batches of 8.
ModelOptions SmallModel(int64_t feature_count);

// Tensors of a Save that stores no payload.
std::string SavedTensors(const Learner& learner);

// Every payload of what was saved, in the order of its members.
std::vector<MemberPayload> AllPayloads(const SavedLearner& saved);

}  // namespace engram::strategies
