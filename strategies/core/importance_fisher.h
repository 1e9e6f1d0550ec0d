// The diagonal of the Fisher information, per example, from layer traces.
//   exact      F_i = E_x sum_y p(y|x) (d log p(y|x) / d theta_i)^2     (Martens 2014, eq. 12;
//              the form that Kirkpatrick et al. 2017 define; van de Ven 2025 compares the variants)
//   sampled    one y ~ p(y|x) an example
//   empirical  y = the example's label (not the Fisher of the model: it vanishes where p is sure)
// The square is taken per example, never of a batch mean: the mean's square is smaller by the size
// of the batch where gradients average to zero, and would tie lambda to it.
//
// d log p(y|x) / d logits = e_y - p. For a linear layer the gradient of one example is delta a^T,
// so a sum of squares over examples is (delta^2)^T (a^2): one product. The exact form takes one
// backward pass a class, seeded sqrt(p_y) (e_y - p), and since `a` is the same in all of them the
// delta^2 are added up first. Sums are kept in double over chunks, so that the estimate does not
// depend on their size. Where heads are per task p runs over the units of the example's own task.
//
// Threading: one thread. Failure: none; examples with non-finite outputs are left out.
// Bounds: two [chunk, widest layer] double buffers a layer and one flat double array.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"
#include "strategies/api/options.h"
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

constexpr int64_t kFisherChunkRows = 128;

// No element of a Fisher exceeds this, so that a penalty's products stay finite.
constexpr double kFisherMax = 1e30;

// Writes the estimate over `importance` (flat, arena layout, float32; 0 wherever no parameter is).
// Returns how many examples it averages; 0 leaves all zero. Only kSampled draws from the generator,
// one number an example in order.
int64_t EstimateFisher(FisherEstimator estimator, const ConsolidationSet& examples,
                       StepContext& context, const at::Tensor& importance,
                       int64_t chunk_rows = kFisherChunkRows);

}  // namespace engram::strategies
