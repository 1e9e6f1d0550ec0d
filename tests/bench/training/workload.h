// What the training benches train on, and the network that they train: MLP 784-256-256-10, SGD
// 0.05.
//
// Threading: one thread. Failure: Must prints the status and aborts.
#pragma once

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "strategies/api/learner.h"

namespace engram::strategies {

constexpr int64_t kFeatures = 784;
constexpr int64_t kClasses = 10;
constexpr int64_t kExamples = 4096;
inline const std::vector<int64_t> kHidden = {256, 256};

// Digit-like: four pixels of five are zero, the others in (0, 1].
struct Examples {
  std::vector<float> features;
  std::vector<int32_t> classes;
  std::vector<int64_t> long_classes;
  std::vector<int32_t> tasks;
  std::vector<uint64_t> sequences;
};

inline const Examples& SharedExamples() {
  static const Examples* const shared = [] {
    auto* examples = new Examples;
    std::mt19937_64 random(7);
    std::uniform_real_distribution<float> uniform(0, 1);
    examples->features.resize(kExamples * kFeatures);
    for (float& value : examples->features) value = uniform(random) < 0.8f ? 0 : uniform(random);
    for (int64_t i = 0; i < kExamples; ++i) {
      const int32_t cls = static_cast<int32_t>(random() % kClasses);
      examples->classes.push_back(cls);
      examples->long_classes.push_back(cls);
      examples->tasks.push_back(0);
    }
    return examples;
  }();
  return *shared;
}

// Hands out batch after batch, with ever new sequences.
class Stream {
 public:
  explicit Stream(int64_t rows) : rows_(rows), sequences_(static_cast<size_t>(rows)) {}

  BatchView Next() {
    const Examples& examples = SharedExamples();
    const size_t at = static_cast<size_t>(at_), rows = static_cast<size_t>(rows_);
    for (uint64_t& sequence : sequences_) sequence = ++sequence_;
    BatchView view;
    view.rows = rows_;
    view.feature_count = kFeatures;
    view.features =
        absl::MakeConstSpan(examples.features).subspan(at * kFeatures, rows * kFeatures);
    view.classes = absl::MakeConstSpan(examples.classes).subspan(at, rows);
    view.tasks = absl::MakeConstSpan(examples.tasks).subspan(at, rows);
    view.sequences = sequences_;
    at_ = at_ + 2 * rows_ > kExamples ? 0 : at_ + rows_;
    return view;
  }

 private:
  int64_t rows_;
  int64_t at_ = 0;
  uint64_t sequence_ = 0;
  std::vector<uint64_t> sequences_;
};

inline ModelOptions Model(int64_t batch, std::vector<StrategySpec> strategies) {
  ModelOptions options;
  options.feature_count = kFeatures;
  options.hidden = kHidden;
  options.batch_size = batch;
  options.strategies = std::move(strategies);
  return options;
}

template <typename T>
T Must(absl::StatusOr<T> value) {
  if (value.ok()) return *std::move(value);
  std::fprintf(stderr, "%s\n", value.status().ToString().c_str());
  std::abort();
}

}  // namespace engram::strategies
