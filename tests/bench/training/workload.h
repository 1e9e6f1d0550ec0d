// What the training benches train on, and the network that they train: MLP 784-256-256-10, SGD
// 0.05.
//
// Threading: one thread. Failure: Must prints the status and aborts.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <random>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "strategies/api/learner.h"

namespace engram::strategies {

constexpr int64_t kSide = 28;
constexpr int64_t kFeatures = kSide * kSide;
constexpr int64_t kClasses = 10;
constexpr int64_t kExamples = 4096;
inline const std::vector<int64_t> kHidden = {256, 256};

struct Examples {
  std::vector<float> features;
  std::vector<int32_t> classes;
  std::vector<int64_t> long_classes;
  std::vector<int32_t> tasks;
  std::vector<uint64_t> sequences;
};

struct Point {
  float x = 0;
  float y = 0;
};

// Leaves a soft dot around `at` on an image of kSide x kSide pixels.
inline void Dot(Point at, float* image) {
  const int left = static_cast<int>(at.x) - 2, top = static_cast<int>(at.y) - 2;
  for (int y = std::max(top, 0); y < std::min<int>(top + 6, kSide); ++y) {
    for (int x = std::max(left, 0); x < std::min<int>(left + 6, kSide); ++x) {
      const float dx = static_cast<float>(x) - at.x, dy = static_cast<float>(y) - at.y;
      const float value = std::exp(-(dx * dx + dy * dy) / 1.2f);
      float& pixel = image[y * kSide + x];
      if (value > 0.1f) pixel = std::max(pixel, value);
    }
  }
}

// Digit-like: a class is a line through eight points, an example that line shifted and bent. Four
// pixels of five are zero, and the images lie near few directions, as real ones do: 300 need 71 for
// 95 % of their squared length, 300 more 101 in all (MNIST's digits: 69 and 102). One label in ten
// is wrong, so that there is always something to learn.
inline Examples DrawExamples() {
  constexpr int kPoints = 8, kDots = 6;
  std::mt19937_64 random(7);
  std::uniform_real_distribution<float> place(6, 21), share(0, 1);
  std::normal_distribution<float> normal(0, 1);
  std::vector<Point> lines(kClasses * kPoints);
  for (Point& point : lines) point = {place(random), place(random)};
  Examples examples;
  examples.features.resize(kExamples * kFeatures);
  for (int64_t i = 0; i < kExamples; ++i) {
    const int32_t drawn = static_cast<int32_t>(random() % kClasses);
    const Point shift = {normal(random), normal(random)};
    Point bent[kPoints];
    for (int k = 0; k < kPoints; ++k) {
      const Point& point = lines[static_cast<size_t>(drawn * kPoints + k)];
      bent[k] = {point.x + shift.x + normal(random), point.y + shift.y + normal(random)};
    }
    for (int k = 0; k + 1 < kPoints; ++k) {
      for (int dot = 0; dot < kDots; ++dot) {
        const float t = static_cast<float>(dot) / kDots;
        const Point at = {bent[k].x + t * (bent[k + 1].x - bent[k].x),
                          bent[k].y + t * (bent[k + 1].y - bent[k].y)};
        Dot(at, examples.features.data() + i * kFeatures);
      }
    }
    const bool wrong = share(random) < 0.1f;
    const int32_t cls = wrong ? static_cast<int32_t>(random() % kClasses) : drawn;
    examples.classes.push_back(cls);
    examples.long_classes.push_back(cls);
    examples.tasks.push_back(0);
  }
  return examples;
}

inline const Examples& SharedExamples() {
  static const Examples* const shared = new Examples(DrawExamples());
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
