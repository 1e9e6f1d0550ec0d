// Memory aware synapses (Aljundi et al. 2018, eq. 3 and 4): importance is how far the network's
// function moves with a weight, whatever the labels.
//   Omega_i += (1/N) sum_n | d ||f(x_n)||^2 / d theta_i |     at a boundary, summed over tasks
//   L = L_new + lambda sum_i Omega_i (theta_i - theta*_i)^2   theta*: the latest optimum; no half
// The absolute value is per example (importance_mas.h): lambda is tied to that, and to the sum.
// theta* is the mean weights of the task's latest steps (core/task_average.h).
//
// Memory: 4 P floats. Time: two arrays read a step, two more each 16th; one backward pass over
// importance_examples at a boundary.
#include <memory>

#include "strategies/core/importance_mas.h"
#include "strategies/core/quadratic_penalty.h"
#include "strategies/core/registry.h"

namespace engram::strategies {
namespace {

class Mas final : public Strategy {
 public:
  Mas(const StrategyParameters& parameters, const StrategyEnvironment& environment)
      : penalty_(environment.arena, "mas", parameters.Number("anchor_share")),
        importance_examples_(parameters.Integer("importance_examples")) {
    Reconfigure(parameters);
  }

  absl::string_view Name() const override { return "mas"; }
  int64_t StateVersion() const override { return 2; }
  int64_t ConsolidationExamples() const override { return importance_examples_; }

  absl::StatusOr<Observation> Observe(TrainingBatch& batch, StepContext& context,
                                      Next next) override {
    penalty_.Join(context.Strength(2 * lambda_), &context);
    absl::StatusOr<Observation> seen = next(batch, context);
    penalty_.AfterStep(seen);
    return seen;
  }

  absl::Status Consolidate(const TaskBoundary& boundary, const ConsolidationSet& examples,
                           StepContext& context, BoundaryReport* report) override {
    const at::Tensor omega = at::empty({context.arena().size()}, at::kFloat);
    const int64_t averaged = EstimateMas(examples, context, omega);
    if (averaged == 0) return absl::OkStatus();
    RecordImportance({"mas", boundary.ended_task, "output_sensitivity",
                      "none: squared norm of the outputs", averaged, ""},
                     context.arena(), omega, penalty_.NextAnchor(), report);
    penalty_.AddOnline(omega, 1.0);
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
  int64_t importance_examples_;
  double lambda_ = 0;
};

}  // namespace

namespace builtin {

StrategyEntry Mas() {
  StrategyEntry entry;
  entry.help.name = "mas";
  entry.help.family = "regularisation";
  entry.help.paper = "Aljundi et al. 2018, ECCV";
  entry.help.idea =
      "At each boundary, measure how far the outputs move with each weight; no label is needed.\n"
      "From then on, pull each weight to where it was, as strongly as the outputs depend on it.";
  entry.help.memory =
      "4 P floats for any number of tasks (3 P at anchor_share 0); importance_examples of the "
      "current task";
  entry.help.time =
      "two arrays read a step, the mean kept every 16th; one backward pass over "
      "importance_examples a boundary";
  entry.help.when = "As ewc, with a cheaper boundary where there are many classes.";
  entry.help.parameters = {
      NumberParameter("lambda", 0.02).AtMost(1e12).Live().Help(
          "strength, lambda sum Omega (theta - theta*)^2; tied to the per-example estimate"),
      IntegerParameter("importance_examples", 2000)
          .Between(1, 100000)
          .Help("examples of the ended task that the importance averages"),
      AnchorShareParameter()};
  entry.make =
      [](const StrategyParameters& parameters,
         const StrategyEnvironment& environment) -> absl::StatusOr<std::unique_ptr<Strategy>> {
    return std::make_unique<strategies::Mas>(parameters, environment);
  };
  entry.test_parameters = {{"importance_examples", int64_t{64}}};
  return entry;
}

}  // namespace builtin
}  // namespace engram::strategies
