// The adversarial net's gradient through the critic against autograd, and the critic's bound.
#include "strategies/models/gan.h"

#include <vector>

#include "gtest/gtest.h"
#include "tests/unit/strategies_builtin/generative_rig.h"

namespace engram::strategies {
namespace {

class GanTest : public testing::Test {
 protected:
  GanTest() : generator_(1), gan_(Options(), &generator_) { gan_.Reinitialise(&generator_); }

  static GenerativeModelOptions Options() {
    GenerativeModelOptions options;
    options.feature_count = kCornerFeatures;
    options.hidden = 24;
    options.latent = 3;
    options.learning_rate = 5e-3;
    return options;
  }

  void Learn(int steps) {
    for (int step = 0; step < steps; ++step) {
      gan_.Learn(BothCorners(16, &generator_), EqualCoefficients(16), &generator_);
    }
  }

  // The largest spectral norm among the critic's matrices.
  double LargestNorm() {
    double largest = 0;
    for (const LayerTrace& trace : gan_.critic().network().traces()) {
      const at::Tensor weight = gan_.critic().arena().View(trace.weight);
      largest = std::max(largest, at::linalg_matrix_norm(weight, 2).item<double>());
    }
    return largest;
  }

  Generator generator_;
  Gan gan_;
};

TEST_F(GanTest, TheDecoderDescendsTheGradientOfTheCriticsScore) {
  Learn(20);
  const auto decoder = CloneParameters(gan_.decoder().arena());
  const at::Tensor rows = BothCorners(8, &generator_);
  Generator same = generator_;
  gan_.Learn(rows, EqualCoefficients(8), &generator_);

  const torch::Tensor noise = torch::empty({8, 3});
  same.FillNormal(noise.data_ptr<float>(), noise.numel());
  const auto critic = CloneParameters(gan_.critic().arena());  // the decoder's step came after
  const torch::Tensor drawn = torch::sigmoid(ReferenceForward(decoder, noise));
  const torch::Tensor loss = -ReferenceForward(critic, drawn).mean();
  loss.backward();
  EXPECT_LT(GradientDifference(gan_.decoder().network(), decoder), 1e-7);
}

TEST_F(GanTest, TheCriticsLossIsTheHingeOfBothSides) {
  Learn(20);
  const auto critic = CloneParameters(gan_.critic().arena());
  const auto decoder = CloneParameters(gan_.decoder().arena());
  const at::Tensor rows = BothCorners(4, &generator_);
  const std::vector<float> coefficients = {0.4f, 0.1f, 0.3f, 0.2f};
  Generator same = generator_;
  const double loss = gan_.Learn(rows, coefficients, &generator_);

  const torch::Tensor noise = torch::empty({4, 3});
  same.FillNormal(noise.data_ptr<float>(), noise.numel());
  const torch::Tensor drawn = torch::sigmoid(ReferenceForward(decoder, noise));
  const torch::Tensor real = torch::relu(1 - ReferenceForward(critic, rows)).squeeze(1);
  const torch::Tensor fake = torch::relu(1 + ReferenceForward(critic, drawn));
  const torch::Tensor expected = (torch::tensor(coefficients) * real).sum() + fake.mean();
  EXPECT_NEAR(loss, expected.item<double>(), 1e-5);
}

TEST_F(GanTest, NoMatrixOfTheCriticStretchesByMoreThanOne) {
  EXPECT_LT(LargestNorm(), 1.02);
  for (int round = 0; round < 20; ++round) {
    Learn(10);
    EXPECT_LT(LargestNorm(), 1.02) << round;
  }
}

}  // namespace
}  // namespace engram::strategies
