// A running mean for each unit and one covariance shared by all: the state of streaming linear
// discriminant analysis (Hayes & Kanan 2020, "Lifelong machine learning with deep streaming LDA").
//
// With an example x of a unit whose weight was n and whose mean was mu:
//   mu' = mu + (x - mu) / (n + 1),   S' = S + (x - mu)(x - mu')^T = S + n/(n+1) (x - mu)(x - mu)^T
// (Welford 1962), so S / N is the covariance of the batch whatever the order, and the first example
// of a unit adds nothing. (With mu = 0 there, as published code has it, x x^T would stay in S.)
//
// Threading: one thread. Ownership: owns its arrays.
// Failure: as SolvableSums.
// Bounds: those of OuterSum and UnitRows.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>

#include "absl/status/status.h"
#include "strategies/core/closed_form.h"
#include "strategies/core/linear_scores.h"
#include "strategies/core/outer_sum.h"
#include "strategies/core/state_archive.h"
#include "strategies/core/unit_rows.h"

namespace engram::strategies {

class ClassMoments final : public SolvableSums {
 public:
  explicit ClassMoments(int64_t width) : scatter_(width), means_(width) {}

  void Add(const float* input, int64_t unit, double weight) override;

  // [units, width] float64; borrows, valid until the next Add.
  at::Tensor Means() const { return means_.rows(); }
  // S / N, lower triangle.
  at::Tensor Covariance() const;

  // w_k = Lambda mu_k, b_k = -1/2 mu_k^T w_k with Lambda = [(1 - shrinkage) S/N + shrinkage I]^-1.
  LinearScores Solve(double shrinkage) const override;

  void SaveState(StateWriter* writer) const override;
  absl::Status LoadState(const StateReader& reader, int64_t units) override;

 private:
  OuterSum scatter_;
  UnitRows means_;
};

}  // namespace engram::strategies
