#include "strategies/core/gradient_projection.h"

#include <cmath>
#include <cstdint>
#include <vector>

#include "strategies/core/kernels.h"
#include "strategies/core/small_qp.h"

namespace engram::strategies {
namespace {

// A gradient shorter than the root of this is none.
constexpr double kSquaredLengthMin = 1e-24;

// Added to the diagonal of the program over rows of length 1, so that equal rows leave it positive
// definite. Float products of unit rows are this accurate.
constexpr double kRidge = 1e-6;

constexpr double kResidualMax = 1e-9;

// GEM's program over rows and gradient scaled to length 1: u_k = v_k |g_k| / |g|. Then the bound
// v_k >= strength reads u_k >= strength |g_k| / |g|.
struct ScaledProgram {
  std::vector<int64_t> rows;    // of G, those that are not 0
  std::vector<double> lengths;  // by row of the program, |g_k| / |g|
  BoundedQp qp;
};

ScaledProgram Scale(const ConeSlopes& slopes, double strength) {
  const auto inner = slopes.gram.accessor<double, 2>();
  const auto products = slopes.products.accessor<double, 1>();
  ScaledProgram program;
  for (int64_t k = 0; k < slopes.gram.size(0); ++k) {
    if (!(inner[k][k] > kSquaredLengthMin)) continue;
    program.rows.push_back(k);
    program.lengths.push_back(std::sqrt(inner[k][k]) / slopes.length);
  }
  const double squared = slopes.length * slopes.length;
  for (size_t i = 0; i < program.rows.size(); ++i) {
    const int64_t row = program.rows[i];
    for (size_t j = 0; j < program.rows.size(); ++j) {
      const double cosine = inner[row][program.rows[j]] /
                            (program.lengths[i] * program.lengths[j] * squared);
      program.qp.quadratic.push_back(i == j ? 1 + kRidge : cosine);
    }
    program.qp.linear.push_back(products[row] / (program.lengths[i] * squared));
    program.qp.lower.push_back(strength * program.lengths[i]);
  }
  return program;
}

}  // namespace

std::vector<ParameterHelp> TaskMemoryParameters() {
  return {IntegerParameter("memory_per_task", 250)
              .Between(1, 100000)
              .Help("exemplars kept of each task, a uniform sample"),
          IntegerParameter("tasks_max", 20)
              .Between(2, 100)
              .Help("tasks kept apart, the present one among them; beyond it the two oldest share "
                    "one place")};
}

absl::StatusOr<std::unique_ptr<TaskMemory>> MakeTaskMemory(const StrategyParameters& parameters,
                                                           const StrategyEnvironment& environment) {
  TaskMemoryOptions options;
  options.capacity = parameters.Integer("memory_per_task");
  options.places = parameters.Integer("tasks_max");
  options.feature_count = environment.feature_count;
  options.seed = environment.seed;
  options.memory = environment.memory;
  options.max_sender_share = environment.max_sender_share;
  return TaskMemory::Create(options);
}

void WriteReferenceGradient(const TrainingBatch& batch, StepContext& context,
                            const at::Tensor& gradient) {
  context.LossGradient(batch, gradient);
  const float largest =
      ActiveKernels().largest_magnitude(gradient.data_ptr<float>(), gradient.numel());
  if (!std::isfinite(largest)) gradient.zero_();
}

void RemoveConflict(const at::Tensor& reference, const at::Tensor& gradient) {
  const double product = at::dot(reference, gradient).item<double>();
  if (!(product < 0)) return;
  const double squared_length = at::dot(reference, reference).item<double>();
  if (!(squared_length > kSquaredLengthMin) || !std::isfinite(squared_length)) return;
  gradient.sub_(reference, product / squared_length);
}

ConeMultipliers SolveCone(const ConeSlopes& slopes, double strength) {
  const ScaledProgram program = Scale(slopes, strength);
  const std::vector<double> u = SolveBoundedQp(program.qp);
  ConeMultipliers multipliers;
  const int64_t tasks = slopes.gram.size(0);
  multipliers.solved = KktResidual(program.qp, u) <= kResidualMax;
  if (!multipliers.solved) {
    const double product = slopes.products.mean().item<double>();
    const double squared = slopes.gram.mean().item<double>();
    const bool conflict = product < 0 && squared > kSquaredLengthMin && std::isfinite(squared);
    multipliers.values.assign(tasks, conflict ? -product / squared / tasks : 0);
    return multipliers;
  }
  multipliers.values.assign(tasks, 0);
  for (size_t i = 0; i < u.size(); ++i) {
    multipliers.values[program.rows[i]] = u[i] / program.lengths[i];
  }
  return multipliers;
}

bool ProjectOntoCone(const at::Tensor& constraints, double strength, const at::Tensor& gradient) {
  ConeSlopes slopes;
  slopes.products = at::mv(constraints, gradient).to(at::kDouble);
  if (!(slopes.products.min().item<double>() < 0)) return true;
  slopes.gram = at::mm(constraints, constraints.t()).to(at::kDouble);
  slopes.length = gradient.norm().item<double>();
  const ConeMultipliers multipliers = SolveCone(slopes, strength);
  gradient.addmv_(constraints.t(), at::tensor(multipliers.values, at::kFloat));
  return multipliers.solved;
}

}  // namespace engram::strategies
