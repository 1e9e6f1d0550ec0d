// Binary cross-entropy over sigmoid outputs, each against its label or against what another network
// answered.
//
// Threading: a free function. Failure: none; non-finite logits give a non-finite loss.
#pragma once

#include <ATen/ATen.h>

#include <vector>

#include "strategies/core/cross_entropy.h"
#include "strategies/core/unit_map.h"

namespace engram::strategies {

// Outputs whose goal is sigmoid(old_logits) in place of the row's label: 1 at its target, the
// shares of both labels where rows are mixed, 0 elsewhere.
struct DistilledOutputs {
  const float* old_logits = nullptr;         // [rows, units]; null: none is distilled
  const std::vector<bool>* units = nullptr;  // by unit
};

// Sum over the rows of coefficient * sum over the units that the row sees; writes its gradient,
// [rows, units], over `gradient` (0 at units the row does not see).
double BinaryCrossEntropy(const at::Tensor& logits, const LossRows& rows, const UnitMap& units,
                          const DistilledOutputs& distilled, const at::Tensor& gradient);

}  // namespace engram::strategies
