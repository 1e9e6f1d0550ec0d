#include "strategies/core/kernels.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <limits>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "strategies/api/compute.h"

namespace engram::strategies {
namespace {

double Difference(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

// Widths around the vector lengths; row counts around the block sizes.
const int64_t kWidths[] = {1, 3, 8, 15, 16, 17, 64, 113, 784};
const int64_t kRows[] = {1, 2, 3, 4, 5, 6, 9, 10, 33};

TEST(KernelsTest, TheVariantFollowsACapabilityAskedForByName) {
  const ComputeIdentity identity = DescribeCompute();
  EXPECT_EQ(identity.kernels, ActiveKernels().name);
  if (std::getenv("ATEN_CPU_CAPABILITY") == nullptr) {
    EXPECT_TRUE(identity.kernels == "AVX512" || identity.kernels == "AVX2" ||
                identity.kernels == "baseline");
    return;
  }
  const std::string wanted =
      identity.capability.substr(0, 3) == "AVX" ? identity.capability : "baseline";
  EXPECT_EQ(identity.kernels, wanted);
}

TEST(KernelsTest, ThinProductsEqualTheBlas) {
  for (int64_t in : kWidths) {
    for (int64_t rows : kRows) {
      for (int64_t out : {1, 2, 7, 16}) {
        const at::Tensor x = torch::randn({rows, in}), w = torch::randn({out, in});
        const at::Tensor y = torch::empty({rows, out});
        ActiveKernels().thin_product(x.data_ptr<float>(), w.data_ptr<float>(), rows, out, in,
                                     y.data_ptr<float>());
        EXPECT_LT(Difference(y, x.mm(w.t())), 2e-4) << rows << "x" << in << "x" << out;
        const at::Tensor delta = torch::relu(torch::randn({rows, out}));
        const at::Tensor back = torch::empty({rows, in});
        ActiveKernels().thin_backward(delta.data_ptr<float>(), w.data_ptr<float>(), rows, out, in,
                                      back.data_ptr<float>());
        EXPECT_LT(Difference(back, delta.mm(w)), 2e-4) << rows << "x" << in << "x" << out;
      }
    }
  }
}

TEST(KernelsTest, ARowOfAThinProductDoesNotDependOnItsNeighbours) {
  for (int64_t in : kWidths) {
    for (int64_t out : {1, 2, 7, 16, 33}) {
      const at::Tensor x = torch::randn({33, in}), w = torch::randn({out, in});
      const auto product = [&](int64_t begin, int64_t rows) {
        const at::Tensor y = torch::empty({rows, out});
        ActiveKernels().thin_product(x.data_ptr<float>() + begin * in, w.data_ptr<float>(), rows,
                                     out, in, y.data_ptr<float>());
        return y;
      };
      const at::Tensor whole = product(0, 33);
      for (int64_t rows : kRows) {
        const int64_t begin = 33 - rows;
        EXPECT_TRUE(product(begin, rows).equal(whole.narrow(0, begin, rows)))
            << rows << "x" << in << "x" << out;
      }
    }
  }
}

TEST(KernelsTest, RankUpdateEqualsItsFormula) {
  for (int64_t in : kWidths) {
    for (int64_t rows : {1, 10, 64, 65, 200}) {
      const int64_t out = 6;
      const at::Tensor a = torch::randn({rows, in});
      const at::Tensor delta = torch::relu(torch::randn({rows, out}));
      const at::Tensor before = torch::randn({out, in});
      const at::Tensor fraction = torch::rand({out, in}), anchor = torch::randn({out, in});
      const at::Tensor moved = before * 0.9 - delta.t().mm(a) * 0.05;
      RankUpdate update;
      update.input = a.data_ptr<float>();
      update.delta = delta.data_ptr<float>();
      update.rows = rows;
      update.out = out;
      update.in = in;
      update.decay = 0.9f;
      update.rate = 0.05f;
      const at::Tensor plain = before.clone();
      update.weights = plain.data_ptr<float>();
      ActiveKernels().rank_update(update);
      EXPECT_LT(Difference(plain, moved), 1e-4) << rows << "x" << in;
      const at::Tensor pulled = before.clone();
      update.weights = pulled.data_ptr<float>();
      update.fraction = fraction.data_ptr<float>();
      update.anchor = anchor.data_ptr<float>();
      ActiveKernels().rank_update(update);
      EXPECT_LT(Difference(pulled, moved + fraction * (anchor - moved)), 1e-4);
    }
  }
}

// The arrays of a path's sums, with and without an interval's end; the formulas in double.
struct PathArrays {
  explicit PathArrays(const at::Tensor& like)
      : path(torch::randn_like(like)),
        fisher(torch::rand_like(like)),
        score(torch::randn_like(like)),
        start(torch::randn_like(like)) {}

  PathArrays Copy() const {
    PathArrays copy(path);
    copy.path = path.clone();
    copy.fisher = fisher.clone();
    copy.score = score.clone();
    copy.start = start.clone();
    return copy;
  }

  void AddByHand(const at::Tensor& gradient, const at::Tensor& change, const at::Tensor& after,
                 bool interval_ends) {
    const at::Tensor g = gradient.to(at::kDouble), weight = after.to(at::kDouble);
    path = path.to(at::kDouble) - g * change.to(at::kDouble);
    if (!interval_ends) return;
    fisher = fisher + kShare * (g * g - fisher);
    score = score + path / (0.5 * fisher * (weight - start).square() + kDamping);
    path = torch::zeros_like(path);
    start = weight;
  }

  PathSums Sums(bool interval_ends) const {
    PathSums sums;
    sums.path = path.data_ptr<float>();
    sums.share = kShare;
    sums.damping = kDamping;
    if (!interval_ends) return sums;
    sums.fisher = fisher.data_ptr<float>();
    sums.score = score.data_ptr<float>();
    sums.start = start.data_ptr<float>();
    return sums;
  }

  void ExpectNear(const PathArrays& expected, double tolerance) const {
    for (auto [actual, wanted] : {std::pair(path, expected.path), {fisher, expected.fisher},
                                  {score, expected.score}, {start, expected.start}}) {
      const double largest = std::max(wanted.abs().max().item<double>(), 1e-3);
      EXPECT_LT(Difference(actual, wanted), tolerance * largest);
    }
  }

  static constexpr double kShare = 0.2, kDamping = 1e-3;
  at::Tensor path, fisher, score, start;
};

class PathSumsTest : public testing::TestWithParam<bool> {};

TEST_P(PathSumsTest, AreThoseOfTheScalarFormulaInTheUpdateAndBesideIt) {
  for (int64_t in : kWidths) {
    for (int64_t rows : {1, 10, static_cast<int>(kPathRows)}) {
      SCOPED_TRACE(absl::StrCat(rows, "x", in));
      const int64_t out = 6;
      const at::Tensor a = torch::randn({rows, in});
      const at::Tensor delta = torch::relu(torch::randn({rows, out}));
      delta.select(1, 2).zero_();  // an output without a gradient
      const at::Tensor before = torch::randn({out, in});
      const at::Tensor fraction = torch::rand({out, in}), anchor = torch::randn({out, in});
      const at::Tensor gradient = delta.t().mm(a);
      const at::Tensor weights = before.clone();
      const PathArrays begun(before), inside = begun.Copy(), beside = begun.Copy();
      RankUpdate update;
      update.weights = weights.data_ptr<float>();
      update.sums = inside.Sums(GetParam());
      update.input = a.data_ptr<float>();
      update.delta = delta.data_ptr<float>();
      update.rows = rows;
      update.out = out;
      update.in = in;
      update.decay = 0.9f;
      update.rate = 0.05f;
      update.fraction = fraction.data_ptr<float>();
      update.anchor = anchor.data_ptr<float>();
      ActiveKernels().rank_update(update);
      const at::Tensor moved = before * 0.9 - gradient * 0.05;
      EXPECT_LT(Difference(weights, moved + fraction * (anchor - moved)), 1e-4);
      PathArrays expected = begun.Copy();
      expected.AddByHand(gradient, weights - before, weights, GetParam());
      inside.ExpectNear(expected, 1e-3);
      ActiveKernels().sum_path(beside.Sums(GetParam()), gradient.data_ptr<float>(),
                               before.data_ptr<float>(), weights.data_ptr<float>(), out * in);
      beside.ExpectNear(expected, 1e-4);
    }
  }
}

INSTANTIATE_TEST_SUITE_P(IntervalEnds, PathSumsTest, testing::Bool());

TEST(KernelsTest, ARowWithoutDeltaIsStillDecayedAndPulled) {
  const at::Tensor weights = torch::ones({1, 20}), delta = torch::zeros({2, 1});
  const at::Tensor input = torch::randn({2, 20});
  const at::Tensor fraction = torch::full({1, 20}, 0.5f), anchor = torch::zeros({1, 20});
  RankUpdate update;
  update.weights = weights.data_ptr<float>();
  update.input = input.data_ptr<float>();
  update.delta = delta.data_ptr<float>();
  update.rows = 2;
  update.out = 1;
  update.in = 20;
  update.fraction = fraction.data_ptr<float>();
  update.anchor = anchor.data_ptr<float>();
  ActiveKernels().rank_update(update);
  EXPECT_LT(Difference(weights, torch::full({1, 20}, 0.5f)), 1e-6);
}

TEST(KernelsTest, BiasReluAndMask) {
  const at::Tensor values = torch::randn({5, 13}), bias = torch::randn({13});
  const at::Tensor plain = values.clone(), cut = values.clone();
  ActiveKernels().add_bias(plain.data_ptr<float>(), bias.data_ptr<float>(), 5, 13, false);
  ActiveKernels().add_bias(cut.data_ptr<float>(), bias.data_ptr<float>(), 5, 13, true);
  EXPECT_TRUE(plain.equal(values + bias));
  EXPECT_TRUE(cut.equal(torch::relu(values + bias)));
  const at::Tensor gradient = torch::randn({5, 13});
  const at::Tensor masked = gradient.clone();
  ActiveKernels().mask_by_activation(masked.data_ptr<float>(), cut.data_ptr<float>(), 65);
  EXPECT_TRUE(masked.equal(gradient * (cut > 0)));
}

TEST(KernelsTest, ReluKeepsANaNForTheGuard) {
  const at::Tensor values = torch::full({1, 40}, std::numeric_limits<float>::quiet_NaN());
  const at::Tensor bias = torch::zeros({40});
  ActiveKernels().add_bias(values.data_ptr<float>(), bias.data_ptr<float>(), 1, 40, true);
  EXPECT_TRUE(values.isnan().all().item<bool>());
}

TEST(KernelsTest, LargestMagnitudeSeesEveryPlace) {
  for (float bad :
       {std::numeric_limits<float>::quiet_NaN(), -std::numeric_limits<float>::infinity()}) {
    for (int64_t place = 0; place < 70; ++place) {
      std::vector<float> values(70, 1.0f);
      values[static_cast<size_t>(place)] = bad;
      EXPECT_TRUE(std::isinf(ActiveKernels().largest_magnitude(values.data(), 70))) << place;
      values[static_cast<size_t>(place)] = -2.5f;
      EXPECT_EQ(ActiveKernels().largest_magnitude(values.data(), 70), 2.5f) << place;
    }
  }
  EXPECT_EQ(ActiveKernels().largest_magnitude(nullptr, 0), 0.0f);
}

TEST(KernelsTest, ColumnSumsEqualTorch) {
  for (int64_t rows : kRows) {
    const at::Tensor values = torch::randn({rows, 21});
    const at::Tensor sums = torch::full({21}, 99.0f);
    ActiveKernels().column_sums(values.data_ptr<float>(), rows, 21, sums.data_ptr<float>());
    EXPECT_LT(Difference(sums, values.sum(0)), 1e-5);
  }
}

}  // namespace
}  // namespace engram::strategies
