// Online elastic weight consolidation (Schwarz et al. 2018, "Progress & Compress", eq. 9):
//   F~_t = gamma F~_{t-1} + F_t
//   L = L_new + lambda/2 sum_i gamma F~_{t-1,i} (theta_i - theta*_{t-1,i})^2
// One running Fisher and one anchor, the optimum of the latest task: the mean weights of its latest
// steps (core/task_average.h). gamma enters both when the Fisher is stored and in the loss, as in
// the paper. With gamma 1 the Fisher is the sum over tasks, yet the penalty is not that of ewc:
// earlier anchors are given up.
//
// Memory: 4 P floats. Time: one more read of two arrays a step, and of two more each 16th; one
// backward pass a class over fisher_examples at a boundary.
#include <memory>

#include "strategies/core/quadratic_penalty.h"
#include "strategies/core/registry.h"

namespace engram::strategies {
namespace {

class OnlineEwc final : public Strategy {
 public:
  OnlineEwc(const StrategyParameters& parameters, const StrategyEnvironment& environment)
      : penalty_(environment.arena, "online_ewc", parameters.Number("anchor_share")),
        estimator_(ParseFisherEstimator(parameters.Choice("fisher"))),
        fisher_examples_(parameters.Integer("fisher_examples")) {
    Reconfigure(parameters);
  }

  absl::string_view Name() const override { return "online_ewc"; }
  int64_t StateVersion() const override { return 2; }
  int64_t ConsolidationExamples() const override { return fisher_examples_; }

  absl::StatusOr<Observation> Observe(TrainingBatch& batch, StepContext& context,
                                      Next next) override {
    penalty_.Join(context.Strength(lambda_ * gamma_), &context);
    absl::StatusOr<Observation> seen = next(batch, context);
    penalty_.AfterStep(seen);
    return seen;
  }

  absl::Status Consolidate(const TaskBoundary& boundary, const ConsolidationSet& examples,
                           StepContext& context, BoundaryReport* report) override {
    const at::Tensor fisher = ConsolidateFisher(penalty_, Name(), estimator_, boundary.ended_task,
                                                examples, context, report);
    if (fisher.defined()) penalty_.AddOnline(fisher, gamma_);
    return absl::OkStatus();
  }

  void Reconfigure(const StrategyParameters& parameters) override {
    lambda_ = parameters.Number("lambda");
    gamma_ = parameters.Number("gamma");
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
  double gamma_ = 1;
};

}  // namespace

namespace builtin {

StrategyEntry OnlineEwc() {
  StrategyEntry entry;
  entry.help.name = "online_ewc";
  entry.help.family = "regularisation";
  entry.help.paper = "Schwarz et al. 2018, Progress & Compress, ICML";
  entry.help.idea =
      "As ewc, with one anchor: at each boundary the Fisher of the ended task is added to what\n"
      "remains of the older ones (gamma), and all of it holds the weights where they now are.";
  entry.help.memory =
      "4 P floats for any number of tasks (3 P at anchor_share 0); fisher_examples of the current "
      "task";
  entry.help.time =
      "two arrays read a step, the mean kept every 16th; one backward pass a class over "
      "fisher_examples a boundary";
  entry.help.when =
      "As ewc, for long streams: strong old anchors do not pull against each other, and gamma "
      "below 1 lets the oldest go.";
  entry.help.parameters = FisherParameters();
  entry.help.parameters.insert(
      entry.help.parameters.begin(),
      {NumberParameter("lambda", 30.0).AtMost(1e12).Live().Help(
           "strength, lambda/2 gamma F~ (theta - theta*)^2; tied to the estimator"),
       NumberParameter("gamma", 1.0).AtMost(1).Live().Help(
           "decay of the older Fisher at each boundary")});
  entry.help.parameters.push_back(AnchorShareParameter());
  entry.make =
      [](const StrategyParameters& parameters,
         const StrategyEnvironment& environment) -> absl::StatusOr<std::unique_ptr<Strategy>> {
    return std::make_unique<strategies::OnlineEwc>(parameters, environment);
  };
  entry.test_parameters = {{"fisher_examples", int64_t{64}}, {"gamma", 0.9}};
  return entry;
}

}  // namespace builtin
}  // namespace engram::strategies
