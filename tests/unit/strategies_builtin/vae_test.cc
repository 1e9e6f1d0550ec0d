// The closed-form gradients of the evidence lower bound against autograd, and the estimate of a
// row's likelihood against numeric integration.
#include "strategies/models/vae.h"

#include <cmath>
#include <vector>

#include "gtest/gtest.h"
#include "tests/unit/strategies_builtin/generative_rig.h"

namespace engram::strategies {
namespace {

namespace F = torch::nn::functional;

GenerativeModelOptions Small(int64_t latent) {
  GenerativeModelOptions options;
  options.feature_count = kCornerFeatures;
  options.hidden = 8;
  options.latent = latent;
  options.learning_rate = 5e-3;
  return options;
}

TEST(VaeTest, GradientsEqualThoseOfAutogradOfTheSameBoundAndNoise) {
  Generator generator(1);
  Vae vae(Small(3), &generator);
  const at::Tensor rows = BothCorners(5, &generator);
  const std::vector<float> coefficients = {0.1f, 0.3f, 0.2f, 0.35f, 0.05f};
  const auto encoder = CloneParameters(vae.encoder().arena());
  const auto decoder = CloneParameters(vae.decoder().arena());
  Generator same = generator;
  const double loss = vae.Backward(rows, coefficients, &generator);

  const torch::Tensor noise = torch::empty({5, 3});
  same.FillNormal(noise.data_ptr<float>(), noise.numel());
  const torch::Tensor code = ReferenceForward(encoder, rows);
  const torch::Tensor mean = code.narrow(1, 0, 3), log_variance = code.narrow(1, 3, 3);
  const torch::Tensor logits =
      ReferenceForward(decoder, mean + torch::exp(0.5 * log_variance) * noise);
  const torch::Tensor reconstruction =
      F::binary_cross_entropy_with_logits(
          logits, rows, F::BinaryCrossEntropyWithLogitsFuncOptions().reduction(torch::kNone))
          .mean(1);
  const torch::Tensor divergence =
      -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(1) / kCornerFeatures;
  const torch::Tensor expected =
      (torch::tensor(coefficients) * (reconstruction + divergence)).sum();
  expected.backward();

  EXPECT_NEAR(loss, expected.item<double>(), 1e-6);
  EXPECT_LT(GradientDifference(vae.encoder().network(), encoder), 1e-7);
  EXPECT_LT(GradientDifference(vae.decoder().network(), decoder), 1e-7);
}

class VaeScoreTest : public testing::Test {
 protected:
  VaeScoreTest() : generator_(1), vae_(Small(1), &generator_) {}

  void Learn(int steps) {
    for (int step = 0; step < steps; ++step) {
      vae_.Learn(BothCorners(16, &generator_), EqualCoefficients(16), &generator_);
    }
  }

  std::vector<float> Score(const VaePass& pass, const at::Tensor& rows, int64_t samples) {
    Generator draws(4);
    const at::Tensor noise = at::zeros({samples, 1});
    draws.FillNormal(noise.data_ptr<float>(), samples);
    std::vector<float> scores(static_cast<size_t>(rows.size(0)));
    pass.Score(rows, noise, &scratch_, scores.data(), 1);
    return scores;
  }

  // log of the integral of p(x|z) N(z; 0, 1) over a grid of z.
  double Integrated(const at::Tensor& row) {
    const int64_t points = 4001;
    const at::Tensor grid = at::linspace(-8, 8, points).unsqueeze(1);
    const auto parameters = CloneParameters(vae_.decoder().arena());
    const at::Tensor logits = ReferenceForward(parameters, grid).detach();
    const at::Tensor likelihood = (logits * row - at::softplus(logits)).sum(1).to(at::kDouble);
    const at::Tensor prior = -0.5 * grid.squeeze(1).square().to(at::kDouble) -
                             0.5 * std::log(2 * 3.14159265358979);
    return (likelihood + prior).logsumexp(0).item<double>() + std::log(16.0 / (points - 1));
  }

  Generator generator_;
  Vae vae_;
  ForwardScratch scratch_;
};

// After few steps: the sharper the posterior, the wilder the estimate's variance.
TEST_F(VaeScoreTest, TheEstimateApproachesTheIntegralOverTheLatent) {
  Learn(20);
  const at::Tensor rows = BothCorners(6, &generator_);
  const std::vector<float> scores = Score(vae_.live(), rows, 50000);
  for (int64_t row = 0; row < rows.size(0); ++row) {
    EXPECT_NEAR(scores[static_cast<size_t>(row)], Integrated(rows[row]), 0.02) << row;
  }
}

TEST_F(VaeScoreTest, ACopyKeepsItsScoresWhileTheLivePassFollows) {
  Learn(5);
  const at::Tensor rows = BothCorners(4, &generator_);
  const auto copy = vae_.Copy();
  const std::vector<float> before = Score(*copy, rows, 10);
  EXPECT_EQ(Score(vae_.live(), rows, 10), before);
  Learn(5);
  EXPECT_EQ(Score(*copy, rows, 10), before);
  EXPECT_NE(Score(vae_.live(), rows, 10), before);
}

TEST_F(VaeScoreTest, WhatItLearnedIsLikelierThanWhatItNeverSaw) {
  Learn(300);
  const at::Tensor known = BothCorners(20, &generator_);
  const at::Tensor strange = known.sub(0.5).mul_(at::tensor({1, -1, 1, -1, 1, -1})).add_(0.5);
  const std::vector<float> high = Score(vae_.live(), known, 50);
  const std::vector<float> low = Score(vae_.live(), strange, 50);
  for (size_t row = 0; row < high.size(); ++row) EXPECT_GT(high[row], low[row] + 1) << row;
}

}  // namespace
}  // namespace engram::strategies
