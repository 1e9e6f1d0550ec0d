// max_update_norm: what is measured, where the cap lies, and what a refused step says.
#include "strategies/core/update_norm.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "strategies/api/learner.h"
#include "strategies/core/state_archive.h"
#include "tests/unit/strategies_core/small_stream.h"

namespace engram::strategies {
namespace {

// Every parameter of a saved learner.
at::Tensor FlatParameters(const Learner& learner) {
  const std::string bytes = SavedTensors(learner);
  const auto reader = StateReader::Open(bytes);
  std::vector<at::Tensor> parts;
  for (const StateReader::TensorInfo& tensor : reader->Tensors()) {
    if (!absl::StartsWith(tensor.name, "parameter/")) continue;
    parts.push_back(reader->GetTensor(tensor.name)->clone().flatten());
  }
  return at::cat(parts).to(at::kDouble);
}

// How far one batch moves a fresh model.
double FirstMove(const ModelOptions& options, const SmallBatch& batch) {
  const auto learner = *MakeLearner(options);
  EXPECT_TRUE(learner->Train(batch.View()).ok());
  const at::Tensor after = FlatParameters(*learner);
  // The same model with a cap that nothing keeps has grown its head but not moved.
  ModelOptions still = options;
  still.max_update_norm = 1e-30;
  const auto standing = *MakeLearner(still);
  EXPECT_TRUE(standing->Train(batch.View())->skipped);
  return (after - FlatParameters(*standing)).norm().item<double>();
}

TEST(UpdateNormTest, TheCapIsTheDistanceThatTheParametersMove) {
  const SmallBatch batch = SmallStream(6, 2).Next({0, 1, 2});
  for (const OptimizerKind kind : {OptimizerKind::kSgd, OptimizerKind::kAdam}) {
    ModelOptions options = SmallModel(6);
    options.optimizer.kind = kind;
    const double moved = FirstMove(options, batch);
    ASSERT_GT(moved, 0);
    options.max_update_norm = moved * (1 + 1e-9);
    EXPECT_FALSE((*MakeLearner(options))->Train(batch.View())->skipped);
    options.max_update_norm = moved * (1 - 1e-9);
    const StepReport refused = *(*MakeLearner(options))->Train(batch.View());
    EXPECT_TRUE(refused.skipped);
    EXPECT_TRUE(absl::StartsWith(refused.skip_reason, "the update's norm "));
    EXPECT_TRUE(absl::StrContains(refused.skip_reason, " exceeds max_update_norm "));
  }
}

TEST(UpdateNormTest, AnOutlierIsLeftOutAndTheStreamGoesOn) {
  ModelOptions options = SmallModel(6);
  options.optimizer.momentum = 0.9;
  options.max_update_norm = 2;
  const auto learner = *MakeLearner(options);
  const auto never_saw_it = *MakeLearner(options);
  SmallStream stream(6, 2);
  for (int step = 0; step < 20; ++step) {
    const SmallBatch batch = stream.Next({0, 1, 2});
    ASSERT_FALSE(learner->Train(batch.View())->skipped);
    ASSERT_FALSE(never_saw_it->Train(batch.View())->skipped);
    SmallBatch outlier = batch;
    for (float& feature : outlier.features) feature *= 1000;
    std::rotate(outlier.classes.begin(), outlier.classes.begin() + 1, outlier.classes.end());
    if (step % 5 == 0) {
      EXPECT_TRUE(learner->Train(outlier.View())->skipped);
    }
  }
  EXPECT_TRUE(FlatParameters(*learner).equal(FlatParameters(*never_saw_it)));
}

TEST(UpdateNormTest, WhatIsNotFiniteIsBeyondEveryCap) {
  EXPECT_FALSE(BeyondUpdateNorm(1, 1).has_value());
  EXPECT_TRUE(BeyondUpdateNorm(std::nextafter(1.0, 2.0), 1).has_value());
  for (const double norm : {std::numeric_limits<double>::infinity(), std::nan("")}) {
    const auto reason = BeyondUpdateNorm(norm, 1e9);
    ASSERT_TRUE(reason.has_value());
    EXPECT_EQ(*reason, "the update's norm is not finite (max_update_norm 1e+09)");
  }
}

TEST(UpdateNormTest, IsFixedAndWithinItsRange) {
  const ModelOptions options = SmallModel(6);
  for (const double outside : {-1.0, 1.1e9, std::nan("")}) {
    ModelOptions bad = options;
    bad.max_update_norm = outside;
    EXPECT_TRUE(absl::StrContains(ValidateOptions(bad).message(), "max_update_norm: must be in"));
  }
  ModelOptions next = options;
  next.max_update_norm = 1;
  EXPECT_TRUE(absl::StrContains(ValidateLiveChange(options, next).message(),
                                "max_update_norm: cannot change on a live model"));
}

}  // namespace
}  // namespace engram::strategies
