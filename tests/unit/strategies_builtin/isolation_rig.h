// Tasks that share their inputs and permute their labels, and a learner with a head a task: what
// the tests of progressive, packnet and pathnet have in common.
//
// Threading: one thread. Ownership: a batch owns its rows; View() borrows them.
// Failure: EXPECT. Bounds: none.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "strategies/api/learner.h"
#include "strategies/core/generator.h"
#include "strategies/core/state_archive.h"

namespace engram::strategies {

constexpr int64_t kIsolationFeatures = 8;

struct IsolationBatch {
  std::vector<float> features;
  std::vector<int32_t> classes;
  std::vector<int32_t> tasks;
  std::vector<uint64_t> sequences;

  BatchView View(int64_t begin, int64_t rows) const {
    BatchView view;
    view.rows = rows;
    view.feature_count = kIsolationFeatures;
    view.features = absl::MakeConstSpan(features).subspan(begin * kIsolationFeatures,
                                                          rows * kIsolationFeatures);
    view.classes = absl::MakeConstSpan(classes).subspan(begin, rows);
    view.tasks = absl::MakeConstSpan(tasks).subspan(begin, rows);
    view.sequences = absl::MakeConstSpan(sequences).subspan(begin, rows);
    return view;
  }
};

// Four classes by the signs of x0 x1 and x2 x3: no linear map of the features tells them apart, so
// a few hundred examples are too few without help. Task t calls class c (c + t) mod 4.
class IsolationStream {
 public:
  explicit IsolationStream(uint64_t seed) : generator_(seed) {}

  IsolationBatch Next(int32_t task, int64_t rows) {
    IsolationBatch batch;
    for (int64_t row = 0; row < rows; ++row) {
      std::vector<float> x(kIsolationFeatures);
      for (float& value : x) value = 2 * generator_.Uniform() - 1;
      const int cls = (x[0] * x[1] > 0 ? 1 : 0) + (x[2] * x[3] > 0 ? 2 : 0);
      batch.features.insert(batch.features.end(), x.begin(), x.end());
      batch.classes.push_back((cls + task) % 4);
      batch.tasks.push_back(task);
      batch.sequences.push_back(++sequence_);
    }
    return batch;
  }

 private:
  Generator generator_;
  uint64_t sequence_ = 0;
};

inline ModelOptions IsolationModel(const StrategySpec& strategy) {
  ModelOptions options;
  options.feature_count = kIsolationFeatures;
  options.hidden = {48, 24};
  options.head.kind = HeadKind::kPerTask;
  options.optimizer.learning_rate = 0.1;
  options.strategies = {strategy};
  options.seed = 5;
  options.batch_size = 10;
  return options;
}

inline std::unique_ptr<Learner> MakeIsolated(const ModelOptions& options) {
  auto learner = MakeLearner(options);
  EXPECT_TRUE(learner.ok()) << learner.status();
  return std::move(learner).value();
}

// `passes` over the batch in steps of ten rows.
inline void TrainOn(Learner* learner, const IsolationBatch& batch, int passes = 1) {
  const int64_t rows = static_cast<int64_t>(batch.classes.size());
  for (int pass = 0; pass < passes; ++pass) {
    for (int64_t begin = 0; begin < rows; begin += 10) {
      const auto report = learner->Train(batch.View(begin, std::min<int64_t>(10, rows - begin)));
      ASSERT_TRUE(report.ok()) << report.status();
      ASSERT_FALSE(report->skipped) << report->skip_reason;
    }
  }
}

inline void EndTask(Learner* learner, int32_t task) {
  const auto report = learner->MarkBoundary({task, task + 1, 0});
  ASSERT_TRUE(report.ok()) << report.status();
}

inline std::vector<float> ScoresOf(Learner* learner, const IsolationBatch& batch) {
  auto snapshot = learner->TakeSnapshot(1);
  EXPECT_TRUE(snapshot.ok()) << snapshot.status();
  std::vector<float> scores;
  const absl::Status status = (*snapshot)->Predict(
      batch.features, static_cast<int64_t>(batch.classes.size()), batch.tasks, &scores);
  EXPECT_TRUE(status.ok()) << status;
  return scores;
}

inline double AccuracyOn(Learner* learner, const IsolationBatch& batch) {
  const std::vector<float> scores = ScoresOf(learner, batch);
  const size_t rows = batch.classes.size(), classes = scores.size() / rows;
  double correct = 0;
  for (size_t row = 0; row < rows; ++row) {
    const auto begin = scores.begin() + static_cast<int64_t>(row * classes);
    const int64_t best = std::max_element(begin, begin + static_cast<int64_t>(classes)) - begin;
    correct += best == batch.classes[row] ? 1 : 0;
  }
  return correct / static_cast<double>(rows);
}

// One saved array of the learner's state, as "parameter/hidden0.weight".
inline at::Tensor Saved(const Learner& learner, const std::string& name) {
  const auto saved = learner.Save([](const MemberKey&) { return true; });
  EXPECT_TRUE(saved.ok()) << saved.status();
  const auto reader = StateReader::Open(saved->tensors);
  EXPECT_TRUE(reader.ok()) << reader.status();
  auto tensor = reader->GetTensor(name);
  EXPECT_TRUE(tensor.ok()) << tensor.status();
  return std::move(tensor).value();
}

// Plain SGD, momentum with decay, Adam and AdamW with decay.
inline std::vector<OptimizerOptions> EveryOptimizer() {
  std::vector<OptimizerOptions> all(4);
  all[0].learning_rate = all[1].learning_rate = 0.05;
  all[1].momentum = 0.9;
  all[2].kind = OptimizerKind::kAdam;
  all[3].kind = OptimizerKind::kAdamW;
  all[2].learning_rate = all[3].learning_rate = 0.005;
  for (size_t i = 1; i < 4; ++i) all[i].weight_decay = 0.01;
  return all;
}

}  // namespace engram::strategies
