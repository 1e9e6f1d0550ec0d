// Elastic weight consolidation (Kirkpatrick et al. 2017, PNAS 114(13), eq. 3), one term a task:
//   L = L_new + lambda/2 sum_{k<t} sum_i F_{k,i} (theta_i - theta*_{k,i})^2
// F_k is the diagonal Fisher of task k at its end, estimated per example. The sum is kept in O(P)
// as lambda/2 A (theta - m)^2 plus a constant (core/quadratic_penalty.h) and applied as a proximal
// step. The half belongs to the formula: other libraries drop it, so lambda does not carry over.
// theta_k, the optimum of task k, is the mean weights of its latest steps (core/task_average.h).
//
// Memory: 4 P floats, whatever the number of tasks. Time: one more read of two arrays a step, and
// of two more each 16th; one backward pass a class over fisher_examples at a boundary.
#include <memory>

#include "strategies/core/quadratic_penalty.h"
#include "strategies/core/registry.h"

namespace engram::strategies {
namespace {

class Ewc final : public Strategy {
 public:
  Ewc(const StrategyParameters& parameters, const StrategyEnvironment& environment)
      : penalty_(environment.arena, "ewc", parameters.Number("anchor_share")),
        estimator_(ParseFisherEstimator(parameters.Choice("fisher"))),
        fisher_examples_(parameters.Integer("fisher_examples")) {
    Reconfigure(parameters);
  }

  absl::string_view Name() const override { return "ewc"; }
  int64_t StateVersion() const override { return 2; }
  int64_t ConsolidationExamples() const override { return fisher_examples_; }

  absl::StatusOr<Observation> Observe(TrainingBatch& batch, StepContext& context,
                                      Next next) override {
    penalty_.Join(context.Strength(lambda_), &context);
    absl::StatusOr<Observation> seen = next(batch, context);
    penalty_.AfterStep(seen);
    return seen;
  }

  absl::Status Consolidate(const TaskBoundary& boundary, const ConsolidationSet& examples,
                           StepContext& context, BoundaryReport* report) override {
    const at::Tensor fisher = ConsolidateFisher(penalty_, Name(), estimator_, boundary.ended_task,
                                                examples, context, report);
    if (fisher.defined()) penalty_.AddSeparate(fisher);
    return absl::OkStatus();
  }

  void Reconfigure(const StrategyParameters& parameters) override {
    lambda_ = parameters.Number("lambda");
  }

  void SaveState(StateWriter* writer) const override { penalty_.SaveState(writer); }
  absl::Status LoadState(const StateReader& reader) override { return penalty_.LoadState(reader); }
  void AddGauges(LearnerGauges* gauges) const override {
    gauges->importance_snapshots += penalty_.terms();
  }

 private:
  QuadraticPenalty penalty_;
  FisherEstimator estimator_;
  int64_t fisher_examples_;
  double lambda_ = 0;
};

}  // namespace

namespace builtin {

StrategyEntry Ewc() {
  StrategyEntry entry;
  entry.help.name = "ewc";
  entry.help.family = "regularisation";
  entry.help.paper = "Kirkpatrick et al. 2017, PNAS 114(13)";
  entry.help.idea =
      "At each boundary, estimate which weights the ended task depends on (diagonal Fisher).\n"
      "From then on, pull each weight towards the values it had, as strongly as it mattered.\n"
      "One term a task, summed exactly in two arrays: cost does not grow with tasks.";
  entry.help.memory =
      "4 P floats for any number of tasks (3 P at anchor_share 0); fisher_examples of the current "
      "task";
  entry.help.time =
      "two arrays read a step, the mean kept every 16th; one backward pass a class over "
      "fisher_examples a boundary";
  entry.help.when =
      "No example may be kept beyond its task, and tasks share their outputs or have a head each.";
  entry.help.parameters = FisherParameters();
  entry.help.parameters.insert(
      entry.help.parameters.begin(),
      NumberParameter("lambda", 3.0).AtMost(1e12).Live().Help(
          "strength, lambda/2 sum_k F_k (theta - theta_k)^2; tied to the estimator"));
  entry.help.parameters.push_back(AnchorShareParameter());
  entry.make =
      [](const StrategyParameters& parameters,
         const StrategyEnvironment& environment) -> absl::StatusOr<std::unique_ptr<Strategy>> {
    return std::make_unique<strategies::Ewc>(parameters, environment);
  };
  entry.test_parameters = {{"fisher_examples", int64_t{64}}};
  return entry;
}

}  // namespace builtin
}  // namespace engram::strategies
