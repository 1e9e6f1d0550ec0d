// The proximal step of a quadratic penalty lambda/2 sum_i A_i (theta_i - m_i)^2:
//   theta <- (theta' + eta lambda A m) / (1 + eta lambda A) = theta' + s (m - theta')
// with s = eta lambda A / (1 + eta lambda A) in [0, 1): stable for any lambda, where the explicit
// gradient step blows up at eta lambda A > 2. An A below 0 (a path integral may end there) pulls
// nothing: as a penalty it would push away from the anchor without bound.
//
// A strategy owns one, fills importance() and anchor() at consolidation, and before each step calls
// set_lambda and StepContext::AddPull. The innermost update then applies it to each block of
// parameters while that block is still in cache, so two arrays are read a step whatever the number
// of tasks. eta is the learning rate of the parameter's group (ParameterArena::SetRateFactor).
// Under SGD s is precomputed; under Adam and AdamW eta_i = lr / (sqrt(v_i) + eps) is taken from the
// optimizer, so that lambda means the same there.
//
// Threading: one thread. Ownership: its three arrays are companions of the arena.
// Bounds: 3 * arena.size() floats; importance and anchor are saved, the fraction is derived.
#pragma once

#include <cstdint>
#include <string>

#include "strategies/core/optimizer.h"
#include "strategies/core/parameter_arena.h"

namespace engram::strategies {

class ProximalPull {
 public:
  // Adds companions NAME.importance, NAME.anchor (saved) and NAME.fraction (derived).
  ProximalPull(ParameterArena* arena, const std::string& name);

  // Flat, arena layout: A and m. Call Invalidate after writing A.
  const at::Tensor& importance() const { return arena_->Companion(importance_); }
  const at::Tensor& anchor() const { return arena_->Companion(anchor_); }
  void Invalidate() { prepared_ = false; }

  // s, valid after Prepare under an optimizer that is not adaptive.
  const at::Tensor& fraction() const { return arena_->Companion(fraction_); }

  // Of the updates that follow.
  void set_lambda(double lambda) { lambda_ = lambda; }

  // The optimizer, before an update: recomputes the fraction if lambda, a learning rate or the
  // importance changed.
  void Prepare(const Optimizer& optimizer);

  // Pulls flat()[begin, begin + count), which learns at `rate`. After Prepare.
  void Apply(int64_t begin, int64_t count, double rate, const Optimizer& optimizer) const;

 private:
  ParameterArena* arena_;
  CompanionId importance_;
  CompanionId anchor_;
  CompanionId fraction_;
  double lambda_ = 0;
  // What the fraction was computed for.
  bool prepared_ = false;
  double strength_ = 0;
  uint64_t generation_ = 0;
};

}  // namespace engram::strategies
