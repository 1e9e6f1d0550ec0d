// Knowledge distillation (Hinton et al. 2015): outputs held to a teacher's, softened by a
// temperature T.
//   KL(q || p) = sum_u q_u (log q_u - log p_u),  q = softmax(teacher / T), p = softmax(student / T)
// Reported as the divergence, not the cross-entropy: equal outputs give a value of 0 and a gradient
// of exactly 0 at any T. Logs are of the normalised outputs, never of a softmax that underflowed.
//
// Threading: a free function. Failure: none; non-finite outputs give a non-finite value.
#pragma once

#include <cstdint>

#include "absl/types/span.h"

namespace engram::strategies {

// One row over the outputs at `units`: adds scale (p - q) / T, the gradient at the student's
// outputs, to `gradient` and returns scale * KL.
double AddDistillation(const float* teacher, const float* student, absl::Span<const int64_t> units,
                       double temperature, double scale, float* gradient);

}  // namespace engram::strategies
