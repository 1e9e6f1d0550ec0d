#include "strategies/core/distillation.h"

#include <torch/torch.h>

#include <cmath>
#include <vector>

#include "gtest/gtest.h"

namespace engram::strategies {
namespace {

namespace F = torch::nn::functional;

const std::vector<int64_t> kUnits = {0, 2, 3, 5};

TEST(DistillationTest, EqualOutputsGiveExactlyNothingAtAnyTemperature) {
  const std::vector<float> outputs = {3.5f, -2, 0.25f, 80, 1e4f, -90};
  for (const double temperature : {0.1, 0.5, 1.0, 2.0, 20.0}) {
    std::vector<float> gradient(outputs.size(), 0.0f);
    EXPECT_EQ(AddDistillation(outputs.data(), outputs.data(), kUnits, temperature, 3,
                              gradient.data()),
              0);
    for (const float slope : gradient) EXPECT_EQ(slope, 0);
  }
}

TEST(DistillationTest, ValueAndGradientAreThoseOfAutograd) {
  torch::manual_seed(3);
  const torch::Tensor index = torch::tensor(kUnits);
  for (const double temperature : {0.5, 2.0}) {
    const torch::Tensor teacher = 3 * torch::randn({6});
    const torch::Tensor student = (3 * torch::randn({6})).set_requires_grad(true);
    const auto softened = [&](const torch::Tensor& z) {
      return torch::log_softmax(z.index_select(0, index) / temperature, 0);
    };
    const torch::Tensor expected =
        0.7 * F::kl_div(softened(student), softened(teacher),
                        F::KLDivFuncOptions().reduction(torch::kSum).log_target(true));
    expected.backward();
    std::vector<float> gradient(6, 1.0f);
    const double value = AddDistillation(teacher.data_ptr<float>(), student.data_ptr<float>(),
                                         kUnits, temperature, 0.7, gradient.data());
    EXPECT_NEAR(value, expected.item<double>(), 1e-5);
    for (int64_t i = 0; i < 6; ++i) {
      EXPECT_NEAR(gradient[i] - 1, student.grad()[i].item<float>(), 1e-5) << i;
    }
  }
}

TEST(DistillationTest, OutputsFarApartStayFinite) {
  const std::vector<float> teacher = {1e5f, -1e5f}, student = {-1e5f, 1e5f};
  const std::vector<int64_t> units = {0, 1};
  std::vector<float> gradient(2, 0.0f);
  const double value =
      AddDistillation(teacher.data(), student.data(), units, 0.5, 1, gradient.data());
  EXPECT_TRUE(std::isfinite(value));
  EXPECT_FLOAT_EQ(gradient[0], -2);
  EXPECT_FLOAT_EQ(gradient[1], 2);
}

}  // namespace
}  // namespace engram::strategies
