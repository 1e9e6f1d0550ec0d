// The program of GEM against the enumeration of every active set, and its optimality conditions.
#include "strategies/core/small_qp.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "gtest/gtest.h"

namespace engram::strategies {
namespace {

// Cosines between n random directions of a space of `rank` dimensions, with a ridge.
BoundedQp RandomProgram(size_t n, size_t rank, std::mt19937_64* random) {
  std::normal_distribution<double> normal;
  std::vector<std::vector<double>> rows(n, std::vector<double>(rank));
  for (auto& row : rows) {
    double squared = 0;
    for (double& value : row) {
      value = normal(*random);
      squared += value * value;
    }
    for (double& value : row) value /= std::sqrt(squared);
  }
  BoundedQp qp;
  for (size_t i = 0; i < n; ++i) {
    for (size_t j = 0; j < n; ++j) {
      double cosine = i == j ? 1e-6 : 0;
      for (size_t k = 0; k < rank; ++k) cosine += rows[i][k] * rows[j][k];
      qp.quadratic.push_back(cosine);
    }
    qp.linear.push_back(normal(*random));
    qp.lower.push_back(std::abs(normal(*random)) * (i % 2));
  }
  return qp;
}

double Objective(const BoundedQp& qp, const std::vector<double>& v) {
  double value = 0;
  for (size_t i = 0; i < qp.size(); ++i) {
    value += qp.linear[i] * v[i];
    for (size_t j = 0; j < qp.size(); ++j) {
      value += 0.5 * v[i] * qp.quadratic[i * qp.size() + j] * v[j];
    }
  }
  return value;
}

// Gauss-Jordan with pivoting: other arithmetic than what is tested.
std::vector<double> SolveDense(std::vector<std::vector<double>> rows) {
  const size_t n = rows.size();
  for (size_t column = 0; column < n; ++column) {
    size_t pivot = column;
    for (size_t i = column; i < n; ++i) {
      if (std::abs(rows[i][column]) > std::abs(rows[pivot][column])) pivot = i;
    }
    std::swap(rows[pivot], rows[column]);
    for (size_t i = 0; i < n; ++i) {
      if (i == column) continue;
      const double factor = rows[i][column] / rows[column][column];
      for (size_t j = column; j <= n; ++j) rows[i][j] -= factor * rows[column][j];
    }
  }
  std::vector<double> solution;
  for (size_t i = 0; i < n; ++i) solution.push_back(rows[i][n] / rows[i][i]);
  return solution;
}

// The feasible minimum over all 2^n choices of which variables are at their bound.
std::vector<double> ByEnumeration(const BoundedQp& qp) {
  const size_t n = qp.size();
  std::vector<double> best;
  for (size_t set = 0; set < (size_t{1} << n); ++set) {
    std::vector<std::vector<double>> system;
    std::vector<size_t> free;
    for (size_t i = 0; i < n; ++i) {
      if (set >> i & 1) free.push_back(i);
    }
    for (const size_t i : free) {
      std::vector<double> row;
      double right = -qp.linear[i];
      for (const size_t j : free) row.push_back(qp.quadratic[i * n + j]);
      for (size_t j = 0; j < n; ++j) {
        if (!(set >> j & 1)) right -= qp.quadratic[i * n + j] * qp.lower[j];
      }
      row.push_back(right);
      system.push_back(row);
    }
    const std::vector<double> values = SolveDense(system);
    std::vector<double> v = qp.lower;
    bool feasible = true;
    for (size_t k = 0; k < free.size(); ++k) {
      v[free[k]] = values[k];
      feasible = feasible && values[k] >= qp.lower[free[k]];
    }
    if (feasible && (best.empty() || Objective(qp, v) < Objective(qp, best))) best = v;
  }
  return best;
}

TEST(SmallQpTest, EqualsTheEnumerationOfEveryActiveSet) {
  std::mt19937_64 random(1);
  for (size_t n = 1; n <= 6; ++n) {
    for (int round = 0; round < 50; ++round) {
      const BoundedQp qp = RandomProgram(n, 8, &random);
      const std::vector<double> expected = ByEnumeration(qp), found = SolveBoundedQp(qp);
      for (size_t i = 0; i < n; ++i) {
        EXPECT_NEAR(found[i], expected[i], 1e-8 * (1 + std::abs(expected[i]))) << n << " " << round;
      }
    }
  }
}

TEST(SmallQpTest, MeetsTheOptimalityConditionsUpToFiftyConstraints) {
  std::mt19937_64 random(2);
  for (const size_t rank : {3, 20, 200}) {  // far fewer dimensions than constraints, and far more
    for (size_t n = 1; n <= 50; n += 7) {
      const BoundedQp qp = RandomProgram(n, rank, &random);
      const std::vector<double> v = SolveBoundedQp(qp);
      double scale = 1;
      for (size_t i = 0; i < n; ++i) scale = std::max({scale, std::abs(v[i])});
      EXPECT_LT(KktResidual(qp, v), 1e-9) << n << " of rank " << rank;
      for (size_t i = 0; i < n; ++i) {
        double slope = qp.linear[i];
        for (size_t j = 0; j < n; ++j) slope += qp.quadratic[i * n + j] * v[j];
        EXPECT_GE(v[i], qp.lower[i]);
        EXPECT_GE(slope, -1e-9 * scale);
        EXPECT_LT(std::abs((v[i] - qp.lower[i]) * slope), 1e-9 * scale * scale);
      }
    }
  }
}

TEST(SmallQpTest, TheResidualIsLargeForAnythingElse) {
  std::mt19937_64 random(3);
  const BoundedQp qp = RandomProgram(5, 8, &random);
  const std::vector<double> v = SolveBoundedQp(qp);
  for (size_t i = 0; i < v.size(); ++i) {
    for (const double change : {-0.1, 0.1}) {
      std::vector<double> other = v;
      other[i] += change;
      EXPECT_GT(KktResidual(qp, other), 1e-3);
    }
  }
  std::vector<double> broken = v;
  broken[2] = std::numeric_limits<double>::quiet_NaN();
  EXPECT_FALSE(KktResidual(qp, broken) < 1);
}

TEST(SmallQpTest, AnEmptyProgramHasTheEmptySolution) {
  EXPECT_TRUE(SolveBoundedQp({}).empty());
  EXPECT_EQ(KktResidual({}, {}), 0);
}

}  // namespace
}  // namespace engram::strategies
