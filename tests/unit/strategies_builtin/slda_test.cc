// slda against the same sums over the whole batch, and what it serves.
#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "strategies/core/class_moments.h"
#include "tests/unit/strategies_builtin/prototype_rig.h"

namespace engram::strategies {
namespace {

constexpr int64_t kWidth = 12;

ClassMoments MomentsOf(const CloudBatch& batch, const std::vector<int64_t>& order) {
  ClassMoments moments(kWidth);
  for (const int64_t row : order) {
    moments.Add(batch.features[row].data_ptr<float>(), batch.classes[row], 1);
  }
  return moments;
}

std::vector<int64_t> InOrder(int64_t rows) {
  std::vector<int64_t> order;
  for (int64_t i = 0; i < rows; ++i) order.push_back(i);
  return order;
}

// Class means, and the mean of (x - mu)(x - mu)^T, of the whole batch at once.
struct BatchMoments {
  explicit BatchMoments(const CloudBatch& batch) {
    const at::Tensor features = batch.features.to(at::kDouble);
    const at::Tensor classes = torch::tensor(batch.classes);
    at::Tensor centred = features.clone();
    std::vector<at::Tensor> rows;
    for (int32_t cls = 0; cls < 3; ++cls) {
      const at::Tensor own = classes.eq(cls);
      rows.push_back(features.index({own}).mean(0));
      centred.index_put_({own}, features.index({own}) - rows.back());
    }
    means = torch::stack(rows);
    covariance = centred.t().matmul(centred) / static_cast<double>(batch.rows());
  }
  at::Tensor means;
  at::Tensor covariance;
};

double Largest(const at::Tensor& difference) { return difference.abs().max().item<double>(); }

TEST(ClassMomentsTest, EqualTheBatchSolution) {
  Clouds clouds(kWidth, 3, 1);
  const CloudBatch batch = clouds.Next(Cycle({0, 1, 2, 2}, 400));
  const BatchMoments expected(batch);
  const ClassMoments moments = MomentsOf(batch, InOrder(batch.rows()));
  EXPECT_LT(Largest(moments.Means() - expected.means), 1e-9);
  EXPECT_LT(Largest((moments.Covariance() - expected.covariance).tril()), 1e-9);

  const double shrinkage = 1e-3;
  const LinearScores solved = moments.Solve(shrinkage);
  const at::Tensor lambda = torch::linalg_inv(
      (1 - shrinkage) * expected.covariance + shrinkage * torch::eye(kWidth, torch::kDouble));
  const at::Tensor weights = expected.means.matmul(lambda);
  const at::Tensor bias = (weights * expected.means).sum(1) * -0.5;
  EXPECT_LT(Largest(solved.weights() - weights) / Largest(weights), 1e-6);
  EXPECT_LT(Largest(solved.bias() - bias) / Largest(bias), 1e-6);
}

TEST(ClassMomentsTest, DoNotDependOnTheOrder) {
  Clouds clouds(kWidth, 3, 2);
  const CloudBatch batch = clouds.Next(Cycle({0, 1, 2}, 300));
  std::vector<int64_t> by_class;
  for (int32_t cls = 0; cls < 3; ++cls) {
    for (int64_t row = cls; row < batch.rows(); row += 3) by_class.push_back(row);
  }
  const ClassMoments mixed = MomentsOf(batch, InOrder(batch.rows()));
  const ClassMoments sorted = MomentsOf(batch, by_class);
  EXPECT_LT(Largest((mixed.Covariance() - sorted.Covariance()).tril()), 1e-9);
  EXPECT_LT(Largest(mixed.Means() - sorted.Means()), 1e-9);
}

TEST(ClassMomentsTest, TheFirstExampleOfAClassAddsNothing) {
  Clouds clouds(kWidth, 3, 3);
  ClassMoments moments = MomentsOf(clouds.Next({0, 1}), {0, 1});
  EXPECT_EQ(Largest(moments.Covariance().tril()), 0);
  moments = MomentsOf(clouds.Next({0, 1, 1, 0}), {0, 1, 2, 3});
  const at::Tensor before = moments.Covariance() * 4;
  const CloudBatch third = clouds.Next({2});
  moments.Add(third.features.data_ptr<float>(), 2, 1);
  EXPECT_LT(Largest((moments.Covariance() * 5 - before).tril()), 1e-12);
}

TEST(ClassMomentsTest, AWeightCountsAsThatManyExamples) {
  Clouds clouds(kWidth, 3, 4);
  const CloudBatch batch = clouds.Next({0, 1, 0, 1, 0});
  ClassMoments weighted(kWidth), repeated(kWidth);
  for (int64_t row = 0; row < batch.rows(); ++row) {
    const float* input = batch.features[row].data_ptr<float>();
    weighted.Add(input, batch.classes[row], 3);
    weighted.Add(input, batch.classes[row], 0);
    for (int i = 0; i < 3; ++i) repeated.Add(input, batch.classes[row], 1);
  }
  EXPECT_LT(Largest((weighted.Covariance() - repeated.Covariance()).tril()), 1e-9);
  EXPECT_LT(Largest(weighted.Means() - repeated.Means()), 1e-9);
}

TEST(ClassMomentsTest, ASingularCovarianceIsSolvedAllTheSame) {
  ClassMoments moments(kWidth);
  const std::vector<float> large(kWidth, 1e8f), small(kWidth, 1e-3f);
  for (int i = 0; i < 3; ++i) {
    moments.Add(large.data(), 0, 1);
    moments.Add(small.data(), 0, 1);
    moments.Add(small.data(), 1, 1);
  }
  EXPECT_TRUE(at::isfinite(moments.Solve(1e-4).weights()).all().item<bool>());
}

class SldaTest : public testing::TestWithParam<std::string> {
 protected:
  SldaTest()
      : clouds_(kWidth, 4, 5),
        learner_(*MakeLearner(CloudModel(kWidth, "slda", {{"input", GetParam()}}))) {}

  std::string SavedTensors() {
    return learner_->Save([](const MemberKey&) { return true; })->tensors;
  }

  Clouds clouds_;
  std::unique_ptr<Learner> learner_;
};

TEST_P(SldaTest, ClassesThatCameOneAfterTheOtherAreAllRemembered) {
  for (const int32_t cls : {0, 1, 2, 3}) {
    for (int step = 0; step < 20; ++step) {
      ASSERT_TRUE(learner_->Train(clouds_.Next(Cycle({cls}, 16)).View()).ok());
    }
  }
  const auto snapshot = *learner_->TakeSnapshot(1);
  EXPECT_GT(Accuracy(*snapshot, clouds_.Next(Cycle({0, 1, 2, 3}, 400))), 0.95);
}

TEST_P(SldaTest, ASnapshotKnowsTheLatestExample) {
  for (int step = 0; step < 20; ++step) {
    ASSERT_TRUE(learner_->Train(clouds_.Next(Cycle({0, 1}, 16)).View()).ok());
  }
  ASSERT_TRUE(learner_->Train(clouds_.Next(Cycle({2}, 3)).View()).ok());
  EXPECT_GT(Accuracy(**learner_->TakeSnapshot(1), clouds_.Next(Cycle({2}, 100))), 0.95);
}

TEST_P(SldaTest, SnapshotsLeaveNoTraceInTheState) {
  auto quiet = *MakeLearner(CloudModel(kWidth, "slda", {{"input", GetParam()}}));
  for (int step = 0; step < 40; ++step) {
    const CloudBatch batch = clouds_.Next(Cycle({0, 1, step % 4}, 9));
    const auto report = learner_->Train(batch.View());
    ASSERT_TRUE(report.ok()) << report.status();
    ASSERT_TRUE(learner_->TakeSnapshot(step).ok());
    EXPECT_EQ(report->correct, quiet->Train(batch.View())->correct);
  }
  EXPECT_EQ(SavedTensors(), quiet->Save([](const MemberKey&) { return true; })->tensors);
}

TEST_P(SldaTest, TestThenTrainScoresImproveOnTheWay) {
  int64_t correct = 0;
  for (int step = 0; step < 100; ++step) {
    const auto report = learner_->Train(clouds_.Next(Cycle({0, 1, 2, 3}, 16)).View());
    if (step >= 50) correct += report->correct;
  }
  EXPECT_GT(correct, 50 * 16 * 0.9);
}

INSTANTIATE_TEST_SUITE_P(Inputs, SldaTest, testing::Values("features", "embeddings"),
                         [](const auto& test) { return test.param; });

TEST(SldaStepTest, TheNetworkIsNotTrained) {
  Clouds clouds(kWidth, 2, 6);
  Rig rig(CloudModel(kWidth, "slda"));
  rig.Load(clouds.Next({0, 1}).View());
  const auto strategy = MakeStrategy(&rig, {"slda", {}});
  const at::Tensor before = rig.arena.flat().clone();
  for (int step = 0; step < 5; ++step) Step(&rig, strategy.get(), clouds.Next({0, 1, 0, 1}));
  EXPECT_TRUE(rig.arena.flat().equal(before));
}

TEST(SldaStepTest, WhatCannotBeHeldIsRefused) {
  EXPECT_EQ(MakeLearner(CloudModel(60000, "slda")).status().code(),
            absl::StatusCode::kResourceExhausted);
}

}  // namespace
}  // namespace engram::strategies
