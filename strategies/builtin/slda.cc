// Streaming linear discriminant analysis (Hayes & Kanan 2020, arXiv 1909.01520): a running mean for
// each class, one covariance for all, and the discriminant of the shrunk inverse:
//   Lambda = [(1 - epsilon) Sigma + epsilon I]^-1,  w_k = Lambda mu_k,  b_k = -1/2 mu_k^T w_k
// Order does not matter, nothing is replayed and nothing forgotten. The covariance is Welford's:
// the first example of a class adds nothing to it, where the paper's code adds x x^T
// (core/class_moments.h). Solved by Cholesky, never inverted.
//
// Memory: 8 d (d + 128 + classes) bytes. Time: d^2 an example, d^3 / 3 a solve.
#include <memory>

#include "strategies/core/class_moments.h"
#include "strategies/core/closed_form.h"
#include "strategies/core/registry.h"

namespace engram::strategies::builtin {

StrategyEntry Slda() {
  StrategyEntry entry;
  entry.help.name = "slda";
  entry.help.family = "prototype";
  entry.help.paper = "Hayes & Kanan 2020, Deep SLDA, CVPR workshop, arXiv 1909.01520";
  entry.help.idea =
      "A running mean for each class and one covariance for all of them, solved in closed form.\n"
      "The order of examples does not matter, so nothing is forgotten; the network is not trained.";
  entry.help.memory = "8 d (d + 128 + classes) bytes, d = width of the input";
  entry.help.time = "d^2 an example, d^3 / 3 when solved; no pass backward";
  entry.help.when =
      "Inputs or embeddings of a pretrained network whose classes are clouds of one shape; no "
      "example may be kept. Takes the place of the step: strategies listed after it do nothing.";
  entry.help.traits.interleaved_tasks = true;
  entry.help.parameters = ClosedFormParameters();
  entry.help.parameters.push_back(
      NumberParameter("shrinkage", 1e-4)
          .Between(1e-12, 1)
          .Live()
          .Help("epsilon: weight of the identity in the covariance"));
  entry.own_update = true;
  entry.augmentation = AugmentationSupport::kNone;
  entry.make =
      [](const StrategyParameters& parameters,
         const StrategyEnvironment& environment) -> absl::StatusOr<std::unique_ptr<Strategy>> {
    ClosedFormPlan plan;
    plan.name = "slda";
    plan.regularization = "shrinkage";
    plan.make_sums = [](int64_t width) -> std::unique_ptr<SolvableSums> {
      return std::make_unique<ClassMoments>(width);
    };
    return MakeClosedForm(plan, parameters, environment);
  };
  return entry;
}

}  // namespace engram::strategies::builtin
