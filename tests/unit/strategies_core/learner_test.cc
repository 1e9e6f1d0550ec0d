#include "strategies/api/learner.h"

#include <gmock/gmock.h>

#include <cmath>
#include <limits>

#include "strategies/api/compute.h"
#include "strategies/core/state_archive.h"
#include "tests/unit/strategies_core/small_stream.h"

namespace engram::strategies {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kFeatures = 16;

std::unique_ptr<Learner> Fresh(const ModelOptions& options) {
  auto learner = MakeLearner(options);
  EXPECT_TRUE(learner.ok()) << learner.status();
  return *std::move(learner);
}

StepReport Train(Learner& learner, const SmallBatch& batch) {
  const auto report = learner.Train(batch.View());
  EXPECT_TRUE(report.ok()) << report.status();
  return report.ok() ? *report : StepReport();
}

// Every parameter of a learner whose layers are known.
std::vector<at::Tensor> Parameters(const Learner& learner) {
  const std::string bytes = SavedTensors(learner);
  const auto reader = StateReader::Open(bytes);
  std::vector<at::Tensor> parameters;
  for (const char* layer : {"hidden0", "hidden1", "head"}) {
    for (const char* part : {".weight", ".bias"}) {
      const std::string name = std::string("parameter/") + layer + part;
      EXPECT_TRUE(reader->Has(name)) << name;
      parameters.push_back(*reader->GetTensor(name));
    }
  }
  return parameters;
}

bool SameBits(const std::vector<at::Tensor>& a, const std::vector<at::Tensor>& b) {
  for (size_t i = 0; i < a.size(); ++i) {
    if (!a[i].equal(b[i])) return false;
  }
  return a.size() == b.size();
}

TEST(LearnerTest, LearnsASeparableStream) {
  auto learner = Fresh(SmallModel(kFeatures));
  SmallStream stream(kFeatures, 1);
  int64_t correct = 0, rows = 0;
  for (int i = 0; i < 300; ++i) {
    const StepReport report = Train(*learner, stream.Next({0, 1, 2, 3}));
    if (i < 200) continue;
    correct += report.correct;
    rows += report.rows;
  }
  EXPECT_GT(static_cast<double>(correct) / static_cast<double>(rows), 0.95);
}

TEST(LearnerTest, AClassNeverSeenIsWrongAndAddsAnOutput) {
  auto learner = Fresh(SmallModel(kFeatures));
  SmallStream stream(kFeatures, 1);
  const int64_t before = learner->Gauges().parameters;
  EXPECT_EQ(Train(*learner, stream.Next({0, 1})).correct, 0);
  EXPECT_EQ(learner->Gauges().parameters, before + 2 * (6 + 1));
  for (int i = 0; i < 100; ++i) Train(*learner, stream.Next({0, 1}));
  EXPECT_EQ(Train(*learner, stream.Next({0, 1, 2})).correct, 2);
}

TEST(LearnerTest, LossIsMeasuredBeforeTheUpdate) {
  ModelOptions options = SmallModel(kFeatures);
  options.head.kind = HeadKind::kFixed;
  options.head.head_classes = 4;
  auto learner = Fresh(options);
  SmallStream stream(kFeatures, 1);
  EXPECT_NEAR(Train(*learner, stream.Next({0, 1, 2, 3})).loss, std::log(4.0), 0.3);
}

TEST(LearnerTest, WeightsScaleAnExamplesGradient) {
  SmallStream stream(kFeatures, 1);
  SmallBatch single = stream.Next({1});
  ModelOptions fast = SmallModel(kFeatures);
  fast.optimizer.learning_rate *= 3;
  auto weighted = Fresh(SmallModel(kFeatures)), plain = Fresh(fast);
  single.weights = {3.0f};
  Train(*weighted, single);
  single.weights.clear();
  Train(*plain, single);
  const auto a = Parameters(*weighted), b = Parameters(*plain);
  for (size_t i = 0; i < a.size(); ++i) EXPECT_LT((a[i] - b[i]).abs().max().item<double>(), 1e-6);
}

TEST(LearnerTest, EachMalformedBatchIsRefusedAndLeavesTheLearnerUnchanged) {
  auto learner = Fresh(SmallModel(kFeatures));
  SmallStream stream(kFeatures, 1);
  Train(*learner, stream.Next({0, 1}));
  const std::string before = SavedTensors(*learner);
  const SmallBatch good = stream.Next({0, 1, 2});
  const auto expect_refused = [&](const BatchView& view, const std::string& text) {
    const auto report = learner->Train(view);
    EXPECT_EQ(report.status().code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(report.status().message()), HasSubstr(text));
  };
  BatchView view;
  view.feature_count = kFeatures;
  expect_refused(view, "rows: must be in [1, 8], got 0");
  expect_refused(stream.Next({0, 1, 2, 3, 0, 1, 2, 3, 0}).View(), "got 9");
  view = good.View();
  view.feature_count = kFeatures - 1;
  expect_refused(view, "expected 16, got 15");
  view = good.View();
  view.features.remove_suffix(1);
  expect_refused(view, "features: expected 48 values, got 47");
  view = good.View();
  view.classes.remove_suffix(1);
  expect_refused(view, "classes");
  view = good.View();
  view.tasks.remove_suffix(1);
  expect_refused(view, "tasks");
  view = good.View();
  view.sequences.remove_suffix(1);
  expect_refused(view, "sequences");
  const std::vector<float> weights = {1.0f};
  view = good.View();
  view.weights = weights;
  expect_refused(view, "weights");
  SmallBatch negative = good;
  negative.classes[1] = -100;
  expect_refused(negative.View(), "-100");
  EXPECT_EQ(SavedTensors(*learner), before);
}

TEST(LearnerTest, MoreClassesThanTheModelMayHaveIsResourceExhausted) {
  ModelOptions options = SmallModel(kFeatures);
  options.head.max_classes = 2;
  auto learner = Fresh(options);
  SmallStream stream(kFeatures, 1);
  Train(*learner, stream.Next({0, 1}));
  const std::string before = SavedTensors(*learner);
  EXPECT_EQ(learner->Train(stream.Next({0, 2}).View()).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(SavedTensors(*learner), before);
}

TEST(LearnerTest, TheGuardSkipsAStepBeforeAnyWeightIsWritten) {
  for (OptimizerKind kind : {OptimizerKind::kSgd, OptimizerKind::kAdamW}) {
    ModelOptions options = SmallModel(kFeatures);
    options.optimizer.kind = kind;
    options.strategies = {{"experience_replay", {{"memory_size", int64_t{20}}}}};
    auto learner = Fresh(options);
    SmallStream stream(kFeatures, 1);
    for (int i = 0; i < 20; ++i) Train(*learner, stream.Next({0, 1, 2}));
    const auto before = Parameters(*learner);
    const auto members = learner->Save([](const MemberKey&) { return true; })->members;
    for (float bad :
         {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(), 1e30f}) {
      SmallBatch batch = stream.Next({0, 1});
      batch.features[20] = bad;
      const StepReport report = Train(*learner, batch);
      EXPECT_TRUE(report.skipped) << bad;
      EXPECT_FALSE(report.skip_reason.empty());
      EXPECT_EQ(report.rows, 2);
      EXPECT_TRUE(SameBits(Parameters(*learner), before)) << bad;
      EXPECT_TRUE(learner->Save([](const MemberKey&) { return true; })->members == members);
    }
    EXPECT_FALSE(Train(*learner, stream.Next({0, 1})).skipped);
    EXPECT_FALSE(SameBits(Parameters(*learner), before));
  }
}

TEST(LearnerTest, ASkippedRowWithoutFiniteOutputIsNotCorrect) {
  auto learner = Fresh(SmallModel(kFeatures));
  SmallStream stream(kFeatures, 1);
  Train(*learner, stream.Next({0, 1}));
  for (int32_t cls : {0, 1}) {
    SmallBatch batch = stream.Next({cls});
    batch.features.assign(kFeatures, std::numeric_limits<float>::quiet_NaN());
    EXPECT_EQ(Train(*learner, batch).correct, 0) << cls;
  }
}

TEST(LearnerTest, WeightsStayFiniteUnderHostileMagnitudes) {
  ModelOptions options = SmallModel(kFeatures);
  options.optimizer.learning_rate = 10;
  auto learner = Fresh(options);
  SmallStream stream(kFeatures, 1);
  for (int i = 0; i < 2000; ++i) {
    SmallBatch batch = stream.Next({i % 3, (i + 1) % 3});
    for (float& value : batch.features) value *= std::pow(10.0f, static_cast<float>(i % 38));
    Train(*learner, batch);
  }
  for (const at::Tensor& values : Parameters(*learner)) {
    EXPECT_TRUE(values.isfinite().all().item<bool>());
  }
}

TEST(LearnerTest, EqualCallsGiveEqualBits) {
  ModelOptions options = SmallModel(kFeatures);
  options.strategies = {{"experience_replay", {{"memory_size", int64_t{20}}}}, {"ewc", {}}};
  auto a = Fresh(options), b = Fresh(options);
  options.seed = 12;
  auto other = Fresh(options);
  SmallStream stream(kFeatures, 1);
  for (int i = 0; i < 60; ++i) {
    const SmallBatch batch = stream.Next({i % 5, 1, 2});
    for (Learner* learner : {a.get(), b.get(), other.get()}) {
      Train(*learner, batch);
      if (i % 20 != 19) continue;
      ASSERT_TRUE(learner->MarkBoundary({0, 0, 0}).ok());
    }
  }
  EXPECT_EQ(SavedTensors(*a), SavedTensors(*b));
  EXPECT_NE(SavedTensors(*a), SavedTensors(*other));
}

TEST(LearnerTest, LearningRateChangesLiveAndStructureDoesNot) {
  ModelOptions options = SmallModel(kFeatures);
  auto learner = Fresh(options);
  SmallStream stream(kFeatures, 1);
  Train(*learner, stream.Next({0, 1}));
  ModelOptions next = options;
  next.optimizer.learning_rate = 1e-30;
  ASSERT_TRUE(learner->Reconfigure(next).ok());
  const auto before = Parameters(*learner);
  Train(*learner, stream.Next({0, 1}));
  EXPECT_TRUE(SameBits(Parameters(*learner), before));
  next.hidden = {9, 6};
  EXPECT_EQ(learner->Reconfigure(next).code(), absl::StatusCode::kInvalidArgument);
}

TEST(LearnerTest, InvalidOptionsMakeNoLearner) {
  ModelOptions options = SmallModel(kFeatures);
  options.strategies = {{"magic", {}}};
  const auto learner = MakeLearner(options);
  EXPECT_EQ(learner.status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(learner.status().message()), HasSubstr("magic"));
}

TEST(LearnerTest, PerTaskARowIsJudgedAmongItsOwnTasksUnits) {
  ModelOptions options = SmallModel(kFeatures);
  options.head.kind = HeadKind::kPerTask;
  auto learner = Fresh(options);
  SmallStream stream(kFeatures, 1);
  for (int i = 0; i < 150; ++i) Train(*learner, stream.Next({0, 1}, 0));
  for (int i = 0; i < 150; ++i) Train(*learner, stream.Next({2, 3}, 1));
  // Task 0 was not touched for a while, but its head is its own.
  EXPECT_GE(Train(*learner, stream.Next({0, 1, 0, 1}, 0)).correct, 2);
  EXPECT_EQ(Train(*learner, stream.Next({2, 3, 2, 3}, 1)).correct, 4);
  // Class 0 has no unit in task 1 before this batch.
  EXPECT_EQ(Train(*learner, stream.Next({0}, 1)).correct, 0);
}

}  // namespace
}  // namespace engram::strategies
