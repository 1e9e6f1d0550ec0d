// What schedules over steps share: learning_rate.h, penalty_schedule.h.
//
// Threading: pure functions. Failure: none; `period` is at least 1.
#pragma once

#include <cmath>
#include <cstdint>

namespace engram::strategies {

// decay^(step / period), a whole power: the factor stands still for a period.
inline double StepDecay(double decay, int64_t step, int64_t period) {
  return std::pow(decay, static_cast<double>(step / period));
}

// The factor of the step numbered `step`, from 0: the first `warm_up` rise linearly to it.
inline double WarmUp(double factor, int64_t step, int64_t warm_up) {
  if (step >= warm_up) return factor;
  return factor * (static_cast<double>(step + 1) / static_cast<double>(warm_up));
}

}  // namespace engram::strategies
