#include "strategies/core/small_qp.h"

#include <algorithm>
#include <cmath>

namespace engram::strategies {
namespace {

// A slope nearer to 0 than this, relative to the program's numbers, is rounding.
constexpr double kSlopeMin = 1e-13;

std::vector<double> Slope(const BoundedQp& qp, absl::Span<const double> v) {
  std::vector<double> slope = qp.linear;
  for (size_t i = 0; i < qp.size(); ++i) {
    for (size_t j = 0; j < qp.size(); ++j) slope[i] += qp.quadratic[i * qp.size() + j] * v[j];
  }
  return slope;
}

double Scale(const BoundedQp& qp, absl::Span<const double> v) {
  double scale = 1;
  for (size_t i = 0; i < qp.size(); ++i) {
    scale = std::max({scale, 1 + std::abs(v[i]), 1 + std::abs(qp.linear[i])});
  }
  return scale;
}

// Solves A x = b in place for a symmetric positive definite A, [n, n], by Cholesky's factors.
// False when A is not.
bool SolveInPlace(std::vector<double>* a, std::vector<double>* b) {
  const size_t n = b->size();
  const auto at = [&](size_t i, size_t j) -> double& { return (*a)[i * n + j]; };
  for (size_t j = 0; j < n; ++j) {
    for (size_t k = 0; k < j; ++k) at(j, j) -= at(j, k) * at(j, k);
    if (!(at(j, j) > 0)) return false;
    at(j, j) = std::sqrt(at(j, j));
    for (size_t i = j + 1; i < n; ++i) {
      for (size_t k = 0; k < j; ++k) at(i, j) -= at(i, k) * at(j, k);
      at(i, j) /= at(j, j);
    }
  }
  for (size_t i = 0; i < n; ++i) {
    for (size_t k = 0; k < i; ++k) (*b)[i] -= at(i, k) * (*b)[k];
    (*b)[i] /= at(i, i);
  }
  for (size_t i = n; i-- > 0;) {
    for (size_t k = i + 1; k < n; ++k) (*b)[i] -= at(k, i) * (*b)[k];
    (*b)[i] /= at(i, i);
  }
  return true;
}

class ActiveSet {
 public:
  explicit ActiveSet(const BoundedQp& qp) : qp_(qp), v_(qp.lower), is_free_(qp.size(), false) {}

  const std::vector<double>& v() const { return v_; }

  // Frees the bound variable that falls most steeply; false when none does.
  bool FreeSteepest() {
    const std::vector<double> slope = Slope(qp_, v_);
    double steepest = -kSlopeMin * Scale(qp_, v_);
    size_t freed = qp_.size();
    for (size_t i = 0; i < qp_.size(); ++i) {
      if (is_free_[i] || slope[i] >= steepest) continue;
      steepest = slope[i];
      freed = i;
    }
    if (freed == qp_.size()) return false;
    is_free_[freed] = true;
    return true;
  }

  // Moves the free variables to their joint minimum; those that meet their bound stay there. False
  // when the program is not positive definite.
  bool Descend() {
    std::vector<double> goal;
    double step = 0;
    while (step < 1) {
      if (!Minimise(&goal)) return false;
      step = LongestStep(goal);
      for (size_t i = 0; i < v_.size(); ++i) {
        if (!is_free_[i]) continue;
        const bool hits = goal[i] <= qp_.lower[i] && Reach(goal, i) <= step;
        v_[i] = hits ? qp_.lower[i] : v_[i] + step * (goal[i] - v_[i]);
        is_free_[i] = !hits;
      }
    }
    return true;
  }

 private:
  // The share of the way to `goal` after which variable i meets its bound.
  double Reach(const std::vector<double>& goal, size_t i) const {
    const double way = v_[i] - goal[i];
    return way > 0 ? (v_[i] - qp_.lower[i]) / way : 0;
  }

  double LongestStep(const std::vector<double>& goal) const {
    double step = 1;
    for (size_t i = 0; i < v_.size(); ++i) {
      if (is_free_[i] && goal[i] <= qp_.lower[i]) step = std::min(step, Reach(goal, i));
    }
    return step;
  }

  // Writes the minimum over the free variables, the others at their bounds.
  bool Minimise(std::vector<double>* goal) const {
    std::vector<double> fixed = v_;
    std::vector<size_t> free;
    for (size_t i = 0; i < v_.size(); ++i) {
      if (!is_free_[i]) continue;
      free.push_back(i);
      fixed[i] = 0;
    }
    const std::vector<double> slope = Slope(qp_, fixed);
    std::vector<double> matrix, right;
    for (const size_t i : free) {
      right.push_back(-slope[i]);
      for (const size_t j : free) matrix.push_back(qp_.quadratic[i * v_.size() + j]);
    }
    if (!SolveInPlace(&matrix, &right)) return false;
    *goal = v_;
    for (size_t k = 0; k < free.size(); ++k) (*goal)[free[k]] = right[k];
    return true;
  }

  const BoundedQp& qp_;
  std::vector<double> v_;
  std::vector<bool> is_free_;
};

}  // namespace

std::vector<double> SolveBoundedQp(const BoundedQp& qp) {
  ActiveSet set(qp);
  for (size_t round = 0; round < 10 * qp.size() + 10; ++round) {
    if (!set.FreeSteepest() || !set.Descend()) break;
  }
  return set.v();
}

double KktResidual(const BoundedQp& qp, absl::Span<const double> v) {
  const std::vector<double> slope = Slope(qp, v);
  double largest = 0;
  for (size_t i = 0; i < qp.size(); ++i) {
    if (std::isnan(slope[i])) return slope[i];
    largest = std::max(largest, std::abs(std::min(v[i] - qp.lower[i], slope[i])));
  }
  return largest / Scale(qp, v);
}

}  // namespace engram::strategies
