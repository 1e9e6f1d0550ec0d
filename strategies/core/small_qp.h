// The small quadratic program of gradient episodic memory, solved exactly in double:
//   min 1/2 v^T Q v + c^T v   subject to   v >= lower,   Q symmetric positive definite.
// An active-set method (Lawson & Hanson 1974, ch. 23, in the form of the normal equations): one
// variable at a time is freed where the slope is steepest, and the free ones move to their joint
// minimum as far as no bound is crossed. It ends after finitely many exact solves; rounding may
// still stop it short, so the caller judges the answer by KktResidual alone.
//
// Threading: free functions. Failure: none; see above. Bounds: O(n^3) each of at most 10 n + 10
//   rounds, for n of a few dozen.
#pragma once

#include <cstddef>
#include <vector>

#include "absl/types/span.h"

namespace engram::strategies {

struct BoundedQp {
  std::vector<double> quadratic;  // Q, [n, n]
  std::vector<double> linear;     // c, [n]
  std::vector<double> lower;      // [n]
  size_t size() const { return linear.size(); }
};

std::vector<double> SolveBoundedQp(const BoundedQp& qp);

// How far v is from the Karush-Kuhn-Tucker conditions: with the slope s = Q v + c, the largest
// |min(v_k - lower_k, s_k)|, over 1 + the largest |v_k|, |c_k|. It is 0 if and only if v >= lower,
// s >= 0 and (v - lower)_k s_k = 0. NaN when v holds one.
double KktResidual(const BoundedQp& qp, absl::Span<const double> v);

}  // namespace engram::strategies
