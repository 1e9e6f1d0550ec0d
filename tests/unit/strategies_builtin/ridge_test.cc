// ridge: two sums that know no order, and the solution over them.
#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

#include "gtest/gtest.h"
#include "strategies/core/outer_sum.h"
#include "strategies/core/random_features.h"
#include "strategies/core/ridge_sums.h"
#include "tests/unit/strategies_builtin/prototype_rig.h"

namespace engram::strategies {
namespace {

constexpr int64_t kWidth = 20;
constexpr int64_t kRows = 300;  // more than two blocks of OuterSum

class RidgeSumsTest : public testing::Test {
 protected:
  RidgeSumsTest() {
    torch::manual_seed(1);
    features_ = torch::relu(torch::randn({kRows, kWidth}));
    for (int64_t row = 0; row < kRows; ++row) units_.push_back(row % 4);
  }

  void Add(const std::vector<int64_t>& rows, RidgeSums* sums) const {
    for (const int64_t row : rows) {
      sums->Add(features_[row].data_ptr<float>(), units_[row], 1);
    }
  }
  static std::vector<int64_t> Rows(int64_t begin, int64_t end) {
    std::vector<int64_t> rows(end - begin);
    std::iota(rows.begin(), rows.end(), begin);
    return rows;
  }

  // Largest difference relative to the largest element.
  static double Difference(const RidgeSums& a, const RidgeSums& b) {
    const auto relative = [](const at::Tensor& x, const at::Tensor& y) {
      return ((x - y).abs().max() / y.abs().max()).item<double>();
    };
    return std::max(relative(a.Gram().tril(), b.Gram().tril()), relative(a.Cross(), b.Cross()));
  }

  at::Tensor features_;
  std::vector<int64_t> units_;
};

TEST_F(RidgeSumsTest, SolveEqualsTheFormulaOverTheWholeBatch) {
  RidgeSums sums(kWidth);
  Add(Rows(0, kRows), &sums);
  const at::Tensor h = features_.to(at::kDouble);
  const at::Tensor y = torch::one_hot(torch::tensor(units_), 4).to(at::kDouble);
  const at::Tensor gram = h.t().matmul(h);
  EXPECT_LT((sums.Gram() - gram).tril().abs().max().item<double>(), 1e-9);
  const at::Tensor weights =
      torch::linalg_solve(gram + 2.5 * torch::eye(kWidth, torch::kDouble), h.t().matmul(y)).t();
  EXPECT_LT((sums.Solve(2.5).weights() - weights).abs().max().item<double>(), 1e-6);
}

TEST_F(RidgeSumsTest, DoNotDependOnTheOrder) {
  RidgeSums forwards(kWidth), backwards(kWidth);
  std::vector<int64_t> rows = Rows(0, kRows);
  Add(rows, &forwards);
  std::reverse(rows.begin(), rows.end());
  Add(rows, &backwards);
  EXPECT_LT(Difference(forwards, backwards), 1e-9);
}

TEST_F(RidgeSumsTest, AnExampleIsForgottenBySubtraction) {
  RidgeSums with(kWidth), without(kWidth);
  Add(Rows(0, kRows), &with);
  Add(Rows(100, kRows), &without);
  for (int64_t row = 0; row < 100; ++row) {
    with.Subtract(features_[row].data_ptr<float>(), units_[row], 1);
  }
  EXPECT_LT(Difference(with, without), 1e-9);
}

TEST_F(RidgeSumsTest, AddThenSubtractLeavesTheSumsAsBefore) {
  RidgeSums sums(kWidth), before(kWidth);
  Add(Rows(0, 200), &sums);
  Add(Rows(0, 200), &before);
  const std::vector<float> large(kWidth, 1000.0f);
  sums.Add(large.data(), 2, 0.5);
  sums.Subtract(large.data(), 2, 0.5);
  EXPECT_LT(Difference(sums, before), 1e-9);
}

TEST_F(RidgeSumsTest, TheSumsOfTwoShardsMerge) {
  RidgeSums first(kWidth), second(kWidth), whole(kWidth);
  Add(Rows(0, 3), &first);  // has not seen every unit
  Add(Rows(3, kRows), &second);
  Add(Rows(0, kRows), &whole);
  first.Merge(second);
  EXPECT_LT(Difference(first, whole), 1e-9);
}

TEST(OuterSumTest, AMatrixThatIsNotDefiniteIsSolvedWithALargerRidge) {
  const at::Tensor indefinite = torch::diag(torch::tensor({4.0, -1e-3, 1.0}, torch::kDouble));
  const at::Tensor solved =
      SolveShrunk(indefinite, 1, 1e-6, torch::ones({3, 1}, torch::kDouble));
  EXPECT_TRUE(at::isfinite(solved).all().item<bool>());
}

TEST(RandomFeaturesTest, AreAFunctionOfTheSeedAndNearNormal) {
  const RandomFeatures features(50, 400, 3), same(50, 400, 3), other(50, 400, 4);
  EXPECT_EQ(features.weights(), same.weights());
  EXPECT_NE(features.weights(), other.weights());
  const at::Tensor weights = torch::tensor(features.weights()) * std::sqrt(50.0);
  EXPECT_NEAR(weights.mean().item<double>(), 0, 0.03);
  EXPECT_NEAR(weights.square().mean().item<double>(), 1, 0.03);
}

TEST(RandomFeaturesTest, MapIsTheRectifiedProduct) {
  torch::manual_seed(2);
  const RandomFeatures features(5, 30, 3);
  const at::Tensor inputs = torch::randn({7, 5});
  const at::Tensor mapped = torch::empty({7, 30});
  features.Map(inputs.data_ptr<float>(), 7, mapped.data_ptr<float>());
  const at::Tensor weights = torch::tensor(features.weights()).reshape({30, 5});
  EXPECT_LT((mapped - torch::relu(inputs.matmul(weights.t()))).abs().max().item<double>(), 1e-5);
}

TEST(RidgeTest, AStreamSortedByClassIsLearnedLikeAShuffledOne) {
  Clouds clouds(8, 4, 3);
  auto learner = *MakeLearner(CloudModel(8, "ridge", {{"random_features", int64_t{100}}}));
  for (const int32_t cls : {0, 1, 2, 3}) {
    for (int step = 0; step < 20; ++step) {
      ASSERT_TRUE(learner->Train(clouds.Next(Cycle({cls}, 16)).View()).ok());
    }
  }
  EXPECT_GT(Accuracy(**learner->TakeSnapshot(1), clouds.Next(Cycle({0, 1, 2, 3}, 400))), 0.95);
}

TEST(RidgeTest, LambdaMayChangeLive) {
  Clouds clouds(8, 4, 3);
  ModelOptions options = CloudModel(8, "ridge", {{"random_features", int64_t{100}}});
  auto learner = *MakeLearner(options);
  for (int step = 0; step < 20; ++step) {
    ASSERT_TRUE(learner->Train(clouds.Next(Cycle({0, 1, 2, 3}, 16)).View()).ok());
  }
  const CloudBatch probe = clouds.Next(Cycle({0, 1, 2, 3}, 8));
  std::vector<float> before, after;
  ASSERT_TRUE((*learner->TakeSnapshot(1))->Predict(probe.values(), 8, {}, &before).ok());
  options.strategies[0].parameters["lambda"] = 1e6;
  ASSERT_TRUE(learner->Reconfigure(options).ok());
  ASSERT_TRUE((*learner->TakeSnapshot(2))->Predict(probe.values(), 8, {}, &after).ok());
  EXPECT_NE(before, after);
}

}  // namespace
}  // namespace engram::strategies
