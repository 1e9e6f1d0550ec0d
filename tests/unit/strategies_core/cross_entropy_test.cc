#include "strategies/core/cross_entropy.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>
#include <limits>
#include <vector>

#include "strategies/core/binary_cross_entropy.h"

namespace engram::strategies {
namespace {

namespace F = torch::nn::functional;

UnitMap Growing(int32_t classes) {
  UnitMap map((HeadOptions()));
  std::vector<int32_t> all, tasks(static_cast<size_t>(classes));
  for (int32_t cls = 0; cls < classes; ++cls) all.push_back(cls);
  int64_t added = 0;
  EXPECT_TRUE(map.Admit(all, tasks, &added).ok());
  return map;
}

// Task 0: units 0, 1; task 1: units 2, 4; task 2: unit 3.
UnitMap PerTask() {
  HeadOptions head;
  head.kind = HeadKind::kPerTask;
  UnitMap map(head);
  int64_t added = 0;
  EXPECT_TRUE(map.Admit({0, 1, 0, 0, 1}, {0, 0, 1, 2, 1}, &added).ok());
  return map;
}

TEST(CrossEntropyTest, LossAndGradientEqualTorch) {
  const torch::Tensor logits = torch::randn({6, 9}) * 3;
  const std::vector<int64_t> targets = {0, 8, 3, 3, 1, 7};
  torch::Tensor leaf = logits.clone().set_requires_grad(true);
  const torch::Tensor expected = F::cross_entropy(leaf, torch::tensor(targets));
  expected.backward();
  const at::Tensor gradient = at::empty_like(logits);
  const double loss = CrossEntropy(logits, LossRows{targets}, Growing(9), gradient);
  EXPECT_NEAR(loss, expected.item<double>(), 1e-5);
  EXPECT_LT((gradient - leaf.grad()).abs().max().item<double>(), 1e-6);
}

TEST(CrossEntropyTest, CoefficientsScaleRowsOfTheSum) {
  const torch::Tensor logits = torch::randn({3, 4});
  const std::vector<int64_t> targets = {1, 2, 0};
  const std::vector<float> coefficients = {0.5f, 2.0f, 1.0f};
  torch::Tensor leaf = logits.clone().set_requires_grad(true);
  const auto options = F::CrossEntropyFuncOptions().reduction(torch::kNone);
  const torch::Tensor expected =
      (F::cross_entropy(leaf, torch::tensor(targets), options) * torch::tensor(coefficients)).sum();
  expected.backward();
  const at::Tensor gradient = at::empty_like(logits);
  EXPECT_NEAR(CrossEntropy(logits, LossRows{targets, {}, coefficients}, Growing(4), gradient),
              expected.item<double>(), 1e-5);
  EXPECT_LT((gradient - leaf.grad()).abs().max().item<double>(), 1e-6);
}

TEST(CrossEntropyTest, PerTaskARowSeesItsOwnUnitsOnly) {
  const torch::Tensor logits = torch::randn({2, 5});
  const std::vector<int64_t> targets = {4, 0};
  const std::vector<int32_t> tasks = {1, 0};
  const at::Tensor gradient = at::full_like(logits, 7);
  const double loss = CrossEntropy(logits, LossRows{targets, tasks}, PerTask(), gradient);
  const torch::Tensor first = F::log_softmax(logits[0].index_select(0, torch::tensor({2, 4})), 0);
  const torch::Tensor second = F::log_softmax(logits[1].narrow(0, 0, 2), 0);
  EXPECT_NEAR(loss, -(first[1] + second[0]).item<double>() / 2, 1e-5);
  for (int64_t unit : {0, 1, 3}) EXPECT_EQ(gradient[0][unit].item<float>(), 0) << unit;
  for (int64_t unit : {2, 3, 4}) EXPECT_EQ(gradient[1][unit].item<float>(), 0) << unit;
  EXPECT_NEAR(gradient.sum().item<double>(), 0, 1e-6);
}

TEST(CrossEntropyTest, ALimitedRowSeesItsSetOnly) {
  const torch::Tensor logits = torch::randn({2, 5});
  const std::vector<int64_t> targets = {3, 0};
  const std::vector<int32_t> sets = {0, -1};
  const std::vector<std::vector<int64_t>> unit_sets = {{1, 3}};
  const at::Tensor gradient = at::full_like(logits, 7);
  const double loss =
      CrossEntropy(logits, {targets, {}, {}, sets, unit_sets}, Growing(5), gradient);
  const torch::Tensor first = F::log_softmax(logits[0].index_select(0, torch::tensor({1, 3})), 0);
  const torch::Tensor second = F::log_softmax(logits[1], 0);
  EXPECT_NEAR(loss, -(first[1] + second[0]).item<double>() / 2, 1e-5);
  for (int64_t unit : {0, 2, 4}) EXPECT_EQ(gradient[0][unit].item<float>(), 0) << unit;
  EXPECT_NEAR(gradient.sum().item<double>(), 0, 1e-6);
}

TEST(CrossEntropyTest, SmoothedTargetsEqualTorchs) {
  const torch::Tensor logits = torch::randn({4, 6});
  const std::vector<int64_t> targets = {5, 0, 2, 2};
  torch::Tensor leaf = logits.clone().set_requires_grad(true);
  const torch::Tensor expected = F::cross_entropy(
      leaf, torch::tensor(targets), F::CrossEntropyFuncOptions().label_smoothing(0.2));
  expected.backward();
  LossRows rows{targets};
  rows.label_smoothing = 0.2;
  const at::Tensor gradient = at::empty_like(logits);
  EXPECT_NEAR(CrossEntropy(logits, rows, Growing(6), gradient), expected.item<double>(), 1e-5);
  EXPECT_LT((gradient - leaf.grad()).abs().max().item<double>(), 1e-6);
}

TEST(CrossEntropyTest, AMixedRowIsHeldToBothItsLabels) {
  const torch::Tensor logits = torch::randn({3, 4});
  const std::vector<int64_t> targets = {1, 2, 0}, second_targets = {3, 2, 1};
  const std::vector<float> first_shares = {0.7f, 0.4f, 1.0f};
  const torch::Tensor labels =
      torch::tensor({{0.0f, 0.7f, 0.0f, 0.3f}, {0.0f, 0.0f, 1.0f, 0.0f}, {1.0f, 0.0f, 0.0f, 0.0f}});
  LossRows rows{targets};
  rows.second_targets = second_targets;
  rows.first_shares = first_shares;
  const auto expect_equal = [&](const torch::Tensor& leaf, const torch::Tensor& expected,
                                double loss, const at::Tensor& gradient) {
    expected.backward();
    EXPECT_NEAR(loss, expected.item<double>(), 1e-5);
    EXPECT_LT((gradient - leaf.grad()).abs().max().item<double>(), 1e-6);
  };
  const at::Tensor gradient = at::empty_like(logits);
  for (const double smoothing : {0.0, 0.2}) {
    const torch::Tensor leaf = logits.clone().set_requires_grad(true);
    rows.label_smoothing = smoothing;
    const double loss = CrossEntropy(logits, rows, Growing(4), gradient);
    expect_equal(leaf,
                 F::cross_entropy(leaf, labels,
                                  F::CrossEntropyFuncOptions().label_smoothing(smoothing)),
                 loss, gradient);
  }
  const torch::Tensor leaf = logits.clone().set_requires_grad(true);
  const double loss = BinaryCrossEntropy(logits, rows, Growing(4), {}, gradient);
  expect_equal(leaf, F::binary_cross_entropy_with_logits(leaf, labels) * 4, loss, gradient);
}

TEST(CrossEntropyTest, HugeLogitsStayFinite) {
  const torch::Tensor logits = torch::tensor({{1e30f, -1e30f}});
  const std::vector<int64_t> targets = {0};
  const at::Tensor gradient = at::empty_like(logits);
  EXPECT_EQ(CrossEntropy(logits, LossRows{targets}, Growing(2), gradient), 0);
  EXPECT_TRUE(gradient.isfinite().all().item<bool>());
}

TEST(CrossEntropyTest, NonFiniteLogitsGiveANonFiniteLoss) {
  const std::vector<int64_t> targets = {1};
  for (float bad :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    for (int64_t place = 0; place < 3; ++place) {
      torch::Tensor logits = torch::zeros({1, 3});
      logits[0][place] = bad;
      const at::Tensor gradient = at::empty_like(logits);
      EXPECT_FALSE(std::isfinite(CrossEntropy(logits, LossRows{targets}, Growing(3), gradient)))
          << bad << " at " << place;
    }
  }
}

TEST(SoftmaxTest, WorksInPlaceAndMasks) {
  const torch::Tensor logits = torch::randn({3, 5});
  const std::vector<int32_t> tasks = {0, 1, 2};
  const at::Tensor in_place = logits.clone();
  Softmax(in_place, tasks, PerTask(), in_place);
  const at::Tensor apart = at::empty_like(logits);
  Softmax(logits, tasks, PerTask(), apart);
  EXPECT_TRUE(in_place.equal(apart));
  EXPECT_LT((apart.sum(1) - 1).abs().max().item<double>(), 1e-6);
  EXPECT_EQ(apart[2][3].item<float>(), 1.0f);
  EXPECT_EQ(apart[0][2].item<float>(), 0.0f);
}

}  // namespace
}  // namespace engram::strategies
