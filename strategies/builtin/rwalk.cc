// Riemannian walk (Chaudhry et al. 2018, ECCV, eq. 6-9): online EWC's Fisher, kept running over the
// stream, plus a score of what each weight contributed to the fall of the loss for the distance it
// moved in the Fisher's metric.
//   D_i -= g_i dtheta_i                                                           every step
//   F_i <- (1 - alpha) F_i + alpha g_i^2                            after `interval` steps
//   s_i += D_i / (F_i Delta_i^2 / 2 + epsilon), D_i = 0             after `interval` steps
//   s~_i = (s~_i + max(s_i, 0)) / 2 (the first: max(s_i, 0)), s_i = 0             at a boundary
//   L = L_new + lambda sum_i (F~_i + s~_i) (theta_i - theta*_i)^2                 no half
// F~ and s~ are scaled to a largest value of 1, so that neither drowns the other; theta* are the
// weights of the latest boundary. g is the gradient of the batch (its square is not the Fisher per
// example of ewc) without the penalty, dtheta a step's true change, Delta that of the interval. A
// boundary, and outputs that are added, end an interval early, without a new Fisher.
//
// Memory: 8 P floats. Time: the path read and written, two more arrays read a step, four more read
// and written a step in `interval`; with momentum, Adam or beside other hooks the update is
// observed, which costs another pass.
#include <memory>
#include <utility>
#include <vector>

#include "storage/base/status_macros.h"
#include "strategies/core/quadratic_penalty.h"
#include "strategies/core/registry.h"

namespace engram::strategies {
namespace {

class Rwalk final : public Strategy {
 public:
  Rwalk(const StrategyParameters& parameters, const StrategyEnvironment& environment)
      : arena_(environment.arena),
        penalty_(arena_, "rwalk"),
        walk_(arena_, "rwalk.path", "rwalk.score", "rwalk.fisher", "rwalk.start"),
        past_score_(arena_->AddCompanion("rwalk.past_score", ParameterArena::Persistence::kSaved)),
        interval_(parameters.Integer("interval")),
        unit_scale_(parameters.Choice("scale") == "unit") {
    Reconfigure(parameters);
  }

  absl::string_view Name() const override { return "rwalk"; }

  absl::StatusOr<Observation> Observe(TrainingBatch& batch, StepContext& context,
                                      Next next) override {
    penalty_.Join(context.Strength(2 * lambda_), &context);
    if (const int64_t count = arena_->parameter_count(); count != parameters_) {
      EndInterval();  // also begins the first
      parameters_ = count;
    }
    const bool last = steps_ + 1 >= interval_;
    walk_.SetLast(last);
    context.AddPath(&walk_);
    ENGRAM_ASSIGN_OR_RETURN(Observation seen, next(batch, context));
    if (seen.skipped) return seen;
    examples_ += batch.stream_rows();
    steps_ = last ? 0 : steps_ + 1;
    return seen;
  }

  absl::Status Consolidate(const TaskBoundary& boundary, const ConsolidationSet& examples,
                           StepContext& context, BoundaryReport* report) override {
    if (examples_ == 0) return absl::OkStatus();
    EndInterval();
    const at::Tensor& score = walk_.score();
    const at::Tensor& past_score = arena_->Companion(past_score_);
    past_score.add_(score.clamp_min_(0));
    if (penalty_.terms() > 0) past_score.mul_(0.5);
    score.zero_();
    const at::Tensor importance = Scaled(walk_.fisher()) + Scaled(past_score);
    RecordImportance({"rwalk", boundary.ended_task, "running_fisher_and_score",
                      "the examples' own labels, by batch", std::exchange(examples_, 0), ""},
                     *arena_, importance, arena_->flat(), report);
    penalty_.AddOnline(importance, /*gamma=*/0);
    return absl::OkStatus();
  }

  void Reconfigure(const StrategyParameters& parameters) override {
    lambda_ = parameters.Number("lambda");
    walk_.SetMetric(parameters.Number("alpha"), parameters.Number("epsilon"));
  }

  void SaveState(StateWriter* writer) const override {
    penalty_.SaveState(writer);
    writer->PutInteger("examples", examples_);
    writer->PutInteger("steps", steps_);
    writer->PutInteger("parameters", parameters_);
  }
  absl::Status LoadState(const StateReader& reader) override {
    ENGRAM_ASSIGN_OR_RETURN(examples_, reader.GetInteger("examples"));
    ENGRAM_ASSIGN_OR_RETURN(steps_, reader.GetInteger("steps"));
    if (steps_ < 0 || steps_ >= interval_) return absl::DataLossError("steps: not of an interval");
    ENGRAM_ASSIGN_OR_RETURN(parameters_, reader.GetInteger("parameters"));
    return penalty_.LoadState(reader);
  }
  void AddGauges(LearnerGauges* gauges) const override {
    gauges->importance_snapshots += penalty_.terms();
  }

 private:
  void EndInterval() {
    walk_.EndNow();
    steps_ = 0;
  }

  at::Tensor Scaled(const at::Tensor& values) const {
    const float largest = values.max().item<float>();
    return unit_scale_ && largest > 0 ? values / largest : values.clone();
  }

  ParameterArena* arena_;
  QuadraticPenalty penalty_;
  PathIntegral walk_;       // D; s, of the task; F
  CompanionId past_score_;  // s~
  int64_t interval_;
  bool unit_scale_;
  double lambda_ = 0;
  int64_t examples_ = 0;    // learned since the boundary
  int64_t steps_ = 0;       // of the interval
  int64_t parameters_ = 0;  // in use when it began
};

std::vector<ParameterHelp> Parameters() {
  ParameterHelp lambda;
  lambda.name = "lambda";
  lambda.default_value = 3.0;
  lambda.max = 1e12;
  lambda.live = true;
  lambda.help = "strength, lambda sum (F~ + s~) (theta - theta*)^2";
  ParameterHelp alpha;
  alpha.name = "alpha";
  alpha.default_value = 0.001;
  alpha.max = 1;
  alpha.live = true;
  alpha.help = "share of an interval's last batch in the running Fisher";
  ParameterHelp epsilon;
  epsilon.name = "epsilon";
  epsilon.default_value = 1e-3;
  epsilon.min = 1e-9;
  epsilon.max = 1e6;
  epsilon.live = true;
  epsilon.help = "damping: bounds the score of weights that hardly moved";
  ParameterHelp scale;
  scale.name = "scale";
  scale.kind = ParameterKind::kChoice;
  scale.default_value = std::string("unit");
  scale.choices = {"unit", "raw"};
  scale.help = "unit: Fisher and score each divided by its largest value; raw: as they are";
  ParameterHelp interval;
  interval.name = "interval";
  interval.kind = ParameterKind::kInteger;
  interval.default_value = int64_t{10};
  interval.min = 1;
  interval.max = 1e6;
  interval.help = "steps after which Fisher and score are brought up to date";
  return {lambda, alpha, epsilon, scale, interval};
}

}  // namespace

namespace builtin {

StrategyEntry Rwalk() {
  StrategyEntry entry;
  entry.help.name = "rwalk";
  entry.help.family = "regularisation";
  entry.help.paper = "Chaudhry et al. 2018, Riemannian Walk for Incremental Learning, ECCV";
  entry.help.idea =
      "Keep a running Fisher of the stream, and credit each weight with its share in the fall of\n"
      "the loss for the distance it moved in that metric. At a boundary the sum of both becomes\n"
      "the importance that pulls each weight to where it was; older credit is halved each time.";
  entry.help.memory = "8 P floats for any number of tasks; no example";
  entry.help.time = "an array written and two read a step, four written each interval";
  entry.help.when = "As si; the newest tasks weigh most.";
  entry.help.parameters = Parameters();
  entry.make =
      [](const StrategyParameters& parameters,
         const StrategyEnvironment& environment) -> absl::StatusOr<std::unique_ptr<Strategy>> {
    return std::make_unique<strategies::Rwalk>(parameters, environment);
  };
  return entry;
}

}  // namespace builtin
}  // namespace engram::strategies
