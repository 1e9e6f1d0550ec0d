// The importance of memory aware synapses (Aljundi et al. 2018, eq. 3): how far the network's
// function, not its loss, moves with each parameter.
//   Omega_i = (1/N) sum_n | d ||f(x_n)||^2 / d theta_i |
// f is the logits, of the example's own task where heads are per task. The absolute value is taken
// per example: that of a batch mean loses what cancels, and would tie lambda to the batch. No label
// is read.
//
// Threading: one thread. Failure: none; examples whose outputs are not finite, or beyond what
//   learning ever gives (1e6), are left out.
// Bounds: as ExampleSums; one backward pass.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>

#include "strategies/core/example_sums.h"
#include "strategies/core/step_context.h"
#include "strategies/core/strategy.h"

namespace engram::strategies {

// Writes the estimate over `importance` (flat, arena layout, float32; 0 wherever no parameter is).
// Returns how many examples it averages; 0 leaves all zero.
int64_t EstimateMas(const ConsolidationSet& examples, StepContext& context,
                    const at::Tensor& importance, int64_t chunk_rows = kImportanceChunkRows);

}  // namespace engram::strategies
