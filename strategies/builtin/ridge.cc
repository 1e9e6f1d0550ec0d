// Ridge regression on fixed random features (RanPAC, McDonnell et al. 2023, arXiv 2307.02251; ACIL,
// Zhuang et al. 2022):
//   h = relu(W_rand x),  G += h h^T,  C += y h^T,  W = C (G + lambda I)^-1
// Two sums in float64 (core/ridge_sums.h): the same examples in any order give the same classifier,
// so a stream of tasks is learned as well as a shuffled one.
//
// Memory: 8 M (M + 128 + classes) + 4 M d bytes for M random features. Time: M d + M^2 an example,
// M^3 / 3 a solve.
#include <memory>

#include "strategies/core/closed_form.h"
#include "strategies/core/registry.h"
#include "strategies/core/ridge_sums.h"

namespace engram::strategies::builtin {

StrategyEntry Ridge() {
  StrategyEntry entry;
  entry.help.name = "ridge";
  entry.help.family = "prototype";
  entry.help.paper = "McDonnell et al. 2023, RanPAC, NeurIPS; Zhuang et al. 2022, ACIL, NeurIPS";
  entry.help.idea =
      "Fixed random features and a ridge regression from them to the classes, kept as two sums.\n"
      "The order of examples does not matter, so nothing is forgotten; the network is not trained.";
  entry.help.memory = "8 M (M + 128 + classes) + 4 M d bytes, M = random_features";
  entry.help.time = "M d + M^2 an example, M^3 / 3 when solved; no pass backward";
  entry.help.when =
      "No example may be kept, yet the stream should be learned as if shuffled. Takes the place of "
      "the step: strategies listed after it do nothing.";
  entry.help.traits.interleaved_tasks = true;
  entry.help.parameters = ClosedFormParameters();
  entry.help.parameters.push_back(
      IntegerParameter("random_features", 2000).Between(1, 20000).Help("random features, M"));
  entry.help.parameters.push_back(
      NumberParameter("lambda", 1.0).Between(1e-9, 1e12).Live().Help("added to the diagonal of G"));
  entry.own_update = true;
  entry.augmentation = AugmentationSupport::kNone;
  entry.make =
      [](const StrategyParameters& parameters,
         const StrategyEnvironment& environment) -> absl::StatusOr<std::unique_ptr<Strategy>> {
    ClosedFormPlan plan;
    plan.name = "ridge";
    plan.regularization = "lambda";
    plan.random_features = parameters.Integer("random_features");
    plan.make_sums = [](int64_t width) -> std::unique_ptr<SolvableSums> {
      return std::make_unique<RidgeSums>(width);
    };
    return MakeClosedForm(plan, parameters, environment);
  };
  entry.test_parameters = {{"random_features", int64_t{48}}};
  return entry;
}

}  // namespace engram::strategies::builtin
