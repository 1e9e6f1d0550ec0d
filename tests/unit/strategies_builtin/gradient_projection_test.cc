// A-GEM's half-space and GEM's cone: what a projection must reach and what it must leave alone.
#include "strategies/core/gradient_projection.h"

#include <limits>

#include "gtest/gtest.h"
#include "tests/unit/strategies_builtin/projection_rig.h"

namespace engram::strategies {
namespace {

class GradientProjectionTest : public testing::Test {
 protected:
  GradientProjectionTest() { torch::manual_seed(4); }

  // A gradient that points against the sum of the rows.
  at::Tensor Conflicting(const at::Tensor& rows) {
    return torch::randn({rows.size(1)}) - 0.5 * rows.sum(0);
  }
};

TEST_F(GradientProjectionTest, AnAgreeingGradientKeepsItsBits) {
  const at::Tensor reference = torch::randn({400});
  const at::Tensor gradient = torch::randn({400}) + 0.5 * reference;
  ASSERT_GT(Dot(gradient, reference), 0);
  const at::Tensor projected = gradient.clone();
  RemoveConflict(reference, projected);
  EXPECT_TRUE(projected.equal(gradient));
}

TEST_F(GradientProjectionTest, AConflictIsRemovedByTheFormulaOfThePaper) {
  const at::Tensor reference = torch::randn({400});
  const at::Tensor gradient = torch::randn({400}) - 0.5 * reference;
  const at::Tensor projected = gradient.clone();
  RemoveConflict(reference, projected);
  const double share = Dot(gradient, reference) / Dot(reference, reference);
  EXPECT_LT(LargestGap(projected, gradient - share * reference), 1e-6);
  EXPECT_GE(Dot(projected, reference), -1e-4);
}

TEST_F(GradientProjectionTest, AReferenceThatSaysNothingConstrainsNothing) {
  const at::Tensor gradient = torch::randn({10});
  for (const float value : {0.0f, 1e-30f, std::numeric_limits<float>::quiet_NaN(),
                            std::numeric_limits<float>::infinity()}) {
    const at::Tensor projected = gradient.clone();
    RemoveConflict(torch::full({10}, value), projected);
    EXPECT_TRUE(projected.equal(gradient)) << value;
  }
}

TEST_F(GradientProjectionTest, NoConstraintOfTheConeIsViolatedAfterwards) {
  for (const int64_t tasks : {1, 2, 5, 19}) {
    for (const double strength : {0.0, 0.5}) {
      const at::Tensor rows = torch::randn({tasks, 400});
      const at::Tensor gradient = Conflicting(rows), projected = gradient.clone();
      ASSERT_LT(at::mv(rows, gradient).min().item<double>(), 0);
      EXPECT_TRUE(ProjectOntoCone(rows, strength, projected));
      EXPECT_GE(at::mv(rows, projected).min().item<double>(), -1e-2);  // of products around 400
    }
  }
}

// With strength 0: g~ is the nearest point of the cone, so g~ - g is a combination of the rows with
// weights >= 0 that are 0 wherever a constraint is slack (Moreau: <g~, g~ - g> = 0).
TEST_F(GradientProjectionTest, WithStrengthZeroItIsTheNearestPointOfTheCone) {
  const at::Tensor rows = torch::randn({6, 400});
  const at::Tensor gradient = torch::randn({400}) - 0.5 * rows[0] + 0.5 * rows[3];
  const at::Tensor projected = gradient.clone();
  ASSERT_TRUE(ProjectOntoCone(rows, 0, projected));
  const at::Tensor change = projected - gradient;
  EXPECT_NEAR(Dot(projected, change), 0, 1e-2);
  const at::Tensor weights = std::get<0>(at::linalg_lstsq(rows.t(), change.unsqueeze(1)));
  EXPECT_GE(weights.min().item<double>(), -1e-4);
  EXPECT_LT(LargestGap(at::mv(rows.t(), weights.squeeze(1)), change), 1e-4);
  EXPECT_NEAR(weights[3].item<double>(), 0, 1e-4);
}

TEST_F(GradientProjectionTest, OneConstraintWithStrengthZeroIsThatOfAGem) {
  const at::Tensor rows = torch::randn({1, 400});
  const at::Tensor gradient = Conflicting(rows), cone = gradient.clone(), half = gradient.clone();
  ASSERT_TRUE(ProjectOntoCone(rows, 0, cone));
  RemoveConflict(rows[0], half);
  EXPECT_LT(LargestGap(cone, half), 1e-5);
}

TEST_F(GradientProjectionTest, TheStrengthIsALowerBoundThatAppliesOnlyInConflict) {
  const at::Tensor row = torch::randn({400});
  const at::Tensor rows = row.unsqueeze(0);
  const at::Tensor agreeing = torch::randn({400}) + row, kept = agreeing.clone();
  EXPECT_TRUE(ProjectOntoCone(rows, 0.5, kept));
  EXPECT_TRUE(kept.equal(agreeing));
  // v = max(strength, -g.r / r.r), whatever the lengths of the rows.
  for (const double length : {0.01, 1.0, 100.0}) {
    for (const double share : {0.1, 3.0}) {
      const at::Tensor gradient = torch::randn({400});
      gradient.sub_(row, Dot(gradient, row) / Dot(row, row)).sub_(row, share * length);
      const at::Tensor projected = gradient.clone();
      EXPECT_TRUE(ProjectOntoCone(length * rows, 0.5, projected));
      EXPECT_LT(LargestGap(projected, gradient + std::max(0.5, share) * length * row),
                1e-4 * (1 + length));
    }
  }
}

TEST_F(GradientProjectionTest, EqualAndEmptyRowsAreNoObstacle) {
  const at::Tensor row = torch::randn({400});
  const at::Tensor rows = torch::stack({row, torch::zeros({400}), row, 2 * row});
  const at::Tensor gradient = torch::randn({400}) - row, projected = gradient.clone();
  EXPECT_TRUE(ProjectOntoCone(rows, 0, projected));
  RemoveConflict(row, gradient);
  EXPECT_LT(LargestGap(projected, gradient), 1e-3);
}

TEST_F(GradientProjectionTest, WhatCannotBeSolvedLeavesAFiniteGradient) {
  const at::Tensor rows = torch::full({2, 8}, 1e25f);  // their products overflow
  const at::Tensor gradient = torch::full({8}, -1e-3f);
  EXPECT_FALSE(ProjectOntoCone(rows, 0.5, gradient));
  EXPECT_TRUE(at::isfinite(gradient).all().item<bool>());
}

}  // namespace
}  // namespace engram::strategies
