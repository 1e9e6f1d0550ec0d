// The diagonal of the Fisher information, per example, from layer traces.
//   exact      F_i = E_x sum_y p(y|x) (d log p(y|x) / d theta_i)^2     (Martens 2014, eq. 12;
//              the form that Kirkpatrick et al. 2017 define; van de Ven 2025 compares the variants)
//   sampled    one y ~ p(y|x) an example
//   empirical  y = the example's label (not the Fisher of the model: it vanishes where p is sure)
// The square is taken per example, never of a batch mean: the mean's square is smaller by the size
// of the batch where gradients average to zero, and would tie lambda to it.
//
// d log p(y|x) / d logits = e_y - p. The exact form takes one backward pass a class, seeded
// sqrt(p_y) (e_y - p). Where heads are per task p runs over the units of the example's own task.
//
// Threading: one thread. Failure: none; examples with non-finite outputs are left out.
// Bounds: as ExampleSums.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "strategies/api/options.h"
#include "strategies/core/example_sums.h"
#include "strategies/core/step_context.h"
#include "strategies/core/strategy.h"

namespace engram::strategies {

enum class FisherEstimator { kExact, kSampled, kEmpirical };

// "exact" | "sampled" | "empirical"; CHECK on any other word.
FisherEstimator ParseFisherEstimator(absl::string_view word);
std::string FisherEstimatorName(FisherEstimator estimator);
// The parameters `fisher` and `fisher_examples` of a strategy that estimates one.
std::vector<ParameterHelp> FisherParameters();
// At what labels the gradients were taken, in words, for ImportanceSnapshot::label_mode.
std::string FisherLabelMode(FisherEstimator estimator);

// Writes the estimate over `importance` (flat, arena layout, float32; 0 wherever no parameter is).
// Returns how many examples it averages; 0 leaves all zero. Only kSampled draws from the generator,
// one number an example in order.
int64_t EstimateFisher(FisherEstimator estimator, const ConsolidationSet& examples,
                       StepContext& context, const at::Tensor& importance,
                       int64_t chunk_rows = kImportanceChunkRows);

}  // namespace engram::strategies
