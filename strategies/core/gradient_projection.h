// What GEM and A-GEM share: a memory of the past tasks, and changes to a step's gradient so that,
// to first order, the step does not raise the loss over it.
//
// Threading: one thread. Ownership: the caller's arrays.
// Failure: MakeTaskMemory as TaskMemory::Create. A gradient that is not finite constrains nothing.
// Bounds: a few [tasks, tasks] arrays of doubles.
#pragma once

#include <ATen/ATen.h>

#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "strategies/core/registry.h"
#include "strategies/core/step_context.h"
#include "strategies/core/training_batch.h"
#include "strategies/memory/task_memory.h"

namespace engram::strategies {

// The parameters `memory_per_task` and `tasks_max`, and the memory that they ask for.
std::vector<ParameterHelp> TaskMemoryParameters();
absl::StatusOr<std::unique_ptr<TaskMemory>> MakeTaskMemory(const StrategyParameters& parameters,
                                                           const StrategyEnvironment& environment);

// d loss / d theta over `batch` at the present weights, written over the flat `gradient`; 0 when it
// is not finite.
void WriteReferenceGradient(const TrainingBatch& batch, StepContext& context,
                            const at::Tensor& gradient);

// A-GEM (Chaudhry et al. 2019, eq. 11), in place:
//   g <- g - (g.r / r.r) r   if and only if g.r < 0
void RemoveConflict(const at::Tensor& reference, const at::Tensor& gradient);

// GEM (Lopez-Paz & Ranzato 2017, eq. 11), if and only if some <g, g_k> < 0, where the g_k are the
// rows of G [tasks, size]:
//   g <- g + G^T v,   v = argmin 1/2 v^T G G^T v + g^T G^T v   subject to   v >= strength
//
// What the program is made of.
struct ConeSlopes {
  at::Tensor gram;      // G G^T, [tasks, tasks] float64
  at::Tensor products;  // G g, [tasks] float64
  double length = 0;    // |g|
};
// v. Where the Karush-Kuhn-Tucker residual says that the program was not solved, it makes of g what
// RemoveConflict makes of it with the mean of the rows.
struct ConeMultipliers {
  std::vector<double> values;
  bool solved = true;
};
ConeMultipliers SolveCone(const ConeSlopes& slopes, double strength);

// In place, over flat gradients: `constraints` is G. Answers whether the program was solved.
bool ProjectOntoCone(const at::Tensor& constraints, double strength, const at::Tensor& gradient);

}  // namespace engram::strategies
