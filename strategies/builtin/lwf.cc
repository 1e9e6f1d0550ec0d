// Learning without forgetting (Li and Hoiem 2016, eq. 1-3): on the new task's inputs, the outputs
// for old tasks are held to what the model of the latest boundary answers.
//   L = L_new + lambda w sum_k KL(softmax(z*_k / T) || softmax(z_k / T))
// The sum runs over groups of old outputs: where heads are per task each old task's own, otherwise
// all that were trained before the boundary; outputs that came later have no teacher and are left
// out, not padded with zeros. w is the `weighting`:
//   old_tasks  one for every old task, as the paper's sum; with one head the group counts t - 1
//   constant   the mean over groups: the same however many old tasks there are
//   balanced   (1 - 1/t) of that mean, beside 1/t of the stream's own loss
// T^2 (Hinton et al. 2015) keeps the gradient's size whatever T; neither the paper nor the usual
// tables have it. Only stream rows are distilled: replayed ones carry their labels.
// For the first warm_up_examples of a task nothing but its new outputs trains.
//
// Memory: P floats. Time: one more forward pass over the stream's rows.
#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "storage/base/status_macros.h"
#include "strategies/core/distillation.h"
#include "strategies/core/frozen_copy.h"
#include "strategies/core/registry.h"

namespace engram::strategies {
namespace {

enum class Weighting { kOldTasks, kConstant, kBalanced };

class Lwf final : public Strategy {
 public:
  Lwf(const StrategyParameters& parameters, const StrategyEnvironment& environment)
      : units_(environment.units),
        teacher_(environment.arena, "lwf"),
        scale_by_t_squared_(parameters.Bool("scale_by_t_squared")) {
    const std::string& weighting = parameters.Choice("weighting");
    weighting_ = weighting == "old_tasks"  ? Weighting::kOldTasks
                 : weighting == "constant" ? Weighting::kConstant
                                           : Weighting::kBalanced;
    Reconfigure(parameters);
  }

  absl::string_view Name() const override { return "lwf"; }

  absl::StatusOr<Observation> Observe(TrainingBatch& batch, StepContext& context,
                                      Next next) override {
    strength_ = context.Strength(lambda_);
    if (teacher_.taken() && strength_ > 0) {
      if (weighting_ == Weighting::kBalanced) {
        batch.SetShare(0, batch.stream_rows(), 1.0 / static_cast<double>(old_tasks_ + 1));
      }
      context.AddLossTerm([this, &context](const TrainingBatch& rows, const at::Tensor& logits,
                                           const at::Tensor& gradient) {
        return Distil(rows, logits, gradient, context.network());
      });
    }
    ENGRAM_ASSIGN_OR_RETURN(Observation seen, WarmingUp(context)
                                                  ? StepNewOutputs(batch, context, next)
                                                  : next(batch, context));
    if (!seen.skipped) {
      examples_ += batch.stream_rows();
      const auto targets = batch.targets().first(static_cast<size_t>(batch.stream_rows()));
      trained_units_.insert(targets.begin(), targets.end());
    }
    return seen;
  }

  absl::Status Consolidate(const TaskBoundary& boundary, const ConsolidationSet& examples,
                           StepContext& context, BoundaryReport* report) override {
    if (examples_ == 0) return absl::OkStatus();
    teacher_.Take(context.network());
    old_units_.assign(trained_units_.begin(), trained_units_.end());
    GroupOldUnits();
    ++old_tasks_;
    examples_ = 0;
    return absl::OkStatus();
  }

  void Reconfigure(const StrategyParameters& parameters) override {
    lambda_ = parameters.Number("lambda");
    temperature_ = parameters.Number("temperature");
    warm_up_examples_ = parameters.Integer("warm_up_examples");
  }

  void SaveState(StateWriter* writer) const override {
    teacher_.SaveState(writer);
    writer->PutInteger("old_tasks", old_tasks_);
    writer->PutInteger("examples", examples_);
    writer->PutInts("old_units", old_units_);
    writer->PutInts("trained_units",
                    std::vector<int64_t>(trained_units_.begin(), trained_units_.end()));
  }
  absl::Status LoadState(const StateReader& reader) override {
    ENGRAM_RETURN_IF_ERROR(teacher_.LoadState(reader));
    ENGRAM_ASSIGN_OR_RETURN(old_tasks_, reader.GetInteger("old_tasks"));
    ENGRAM_ASSIGN_OR_RETURN(examples_, reader.GetInteger("examples"));
    ENGRAM_ASSIGN_OR_RETURN(old_units_, reader.GetInts("old_units"));
    ENGRAM_ASSIGN_OR_RETURN(const std::vector<int64_t> trained, reader.GetInts("trained_units"));
    for (const std::vector<int64_t>* units : {&std::as_const(old_units_), &trained}) {
      for (const int64_t unit : *units) {
        if (unit < 0 || unit >= units_->size()) return absl::DataLossError("lwf: no such unit");
      }
    }
    trained_units_ = {trained.begin(), trained.end()};
    GroupOldUnits();
    return absl::OkStatus();
  }

 private:
  void GroupOldUnits() {
    std::map<int32_t, std::vector<int64_t>> by_task;
    for (const int64_t unit : old_units_) {
      const auto& owner = units_->owners()[static_cast<size_t>(unit)];
      by_task[units_->per_task() ? owner.task : 0].push_back(unit);
    }
    groups_.clear();
    for (auto& [task, group] : by_task) groups_.push_back(std::move(group));
  }

  // lambda w of each group.
  double GroupStrength() const {
    const double groups = static_cast<double>(groups_.size());
    const double old_tasks = static_cast<double>(old_tasks_);
    switch (weighting_) {
      case Weighting::kOldTasks:
        return strength_ * (units_->per_task() ? 1.0 : old_tasks);
      case Weighting::kBalanced:
        return strength_ * old_tasks / (old_tasks + 1) / groups;
      case Weighting::kConstant:
        break;
    }
    return strength_ / groups;
  }

  // The term: a mean over the stream's rows, each times its weight.
  double Distil(const TrainingBatch& batch, const at::Tensor& logits, const at::Tensor& gradient,
                const Network& network) {
    const int64_t rows = batch.stream_rows(), width = logits.size(1);
    const float* teacher =
        teacher_.Forward(network, batch.inputs().narrow(0, 0, rows)).data_ptr<float>();
    const float* student = logits.data_ptr<float>();
    float* slopes = gradient.data_ptr<float>();
    const double t_squared = scale_by_t_squared_ ? temperature_ * temperature_ : 1.0;
    const double strength = GroupStrength() * t_squared / static_cast<double>(rows);
    double value = 0;
    for (int64_t row = 0; row < rows; ++row) {
      const double scale = strength * batch.weights()[static_cast<size_t>(row)];
      const int64_t at = row * width;
      for (const std::vector<int64_t>& group : groups_) {
        value += AddDistillation(teacher + at, student + at, group, temperature_, scale,
                                 slopes + at);
      }
    }
    return value;
  }

  bool IsOld(int64_t unit) const {
    return std::binary_search(old_units_.begin(), old_units_.end(), unit);
  }

  // A task without new outputs has no head to warm up.
  bool WarmingUp(const StepContext& context) const {
    return teacher_.taken() && examples_ < warm_up_examples_ &&
           static_cast<int64_t>(old_units_.size()) < context.units().size();
  }

  // A step in which nothing but new outputs moves, whatever momentum and decay would do.
  absl::StatusOr<Observation> StepNewOutputs(TrainingBatch& batch, StepContext& context,
                                             Next next) {
    const at::Tensor before = context.arena().flat().clone();
    context.AddTransform([this, &context](const at::Tensor& gradient) {
      KeepNewOutputs(at::zeros_like(gradient), context, gradient);
    });
    ENGRAM_ASSIGN_OR_RETURN(Observation seen, next(batch, context));
    if (!seen.skipped) KeepNewOutputs(before, context, context.arena().flat());
    return seen;
  }

  // Writes `rest` over `array` except in the head's new rows.
  void KeepNewOutputs(const at::Tensor& rest, StepContext& context, const at::Tensor& array) const {
    const LayerTrace& head = context.network().traces().back();
    const at::Tensor kept = array.clone();
    array.copy_(rest);
    for (int64_t unit = 0; unit < context.units().size(); ++unit) {
      if (IsOld(unit)) continue;
      for (const ParameterId id : {head.weight, head.bias}) {
        context.arena().View(array, id).select(0, unit).copy_(
            context.arena().View(kept, id).select(0, unit));
      }
    }
  }

  const UnitMap* units_;
  FrozenCopy teacher_;
  bool scale_by_t_squared_;
  Weighting weighting_ = Weighting::kOldTasks;
  double lambda_ = 0;
  double strength_ = 0;  // lambda as scheduled for the step
  double temperature_ = 1;
  int64_t warm_up_examples_ = 0;
  int64_t old_tasks_ = 0;
  int64_t examples_ = 0;                      // learned since the boundary
  std::set<int64_t> trained_units_;           // of every row learned so far
  std::vector<int64_t> old_units_;            // those at the boundary, ascending
  std::vector<std::vector<int64_t>> groups_;  // the same by what is normalised together
};

std::vector<ParameterHelp> Parameters() {
  return {
      NumberParameter("lambda", 1.0)
          .AtMost(1e6)
          .Live()
          .Help("strength of distillation beside the stream's own loss"),
      NumberParameter("temperature", 2.0)
          .Between(0.1, 100)
          .Live()
          .Help("T: above 1, what the teacher holds unlikely counts for more"),
      BoolParameter("scale_by_t_squared", false)
          .Help("multiply by T^2, so that the gradient keeps its size whatever T"),
      ChoiceParameter("weighting", {"old_tasks", "constant", "balanced"})
          .Help("old_tasks: one for each old task; constant: lambda in all; balanced: 1 - 1/t "
                "beside 1/t of the stream's loss"),
      IntegerParameter("warm_up_examples", 0)
          .AtMost(1e9)
          .Live()
          .Help("at the start of a task only its new outputs train, for so many examples"),
  };
}

}  // namespace

namespace builtin {

StrategyEntry Lwf() {
  StrategyEntry entry;
  entry.help.name = "lwf";
  entry.help.family = "regularisation";
  entry.help.paper = "Li and Hoiem 2016, ECCV; Hinton et al. 2015, arXiv 1503.02531";
  entry.help.idea =
      "At each boundary, keep a frozen copy of the model.\n"
      "From then on, hold the outputs for old tasks to what that copy answers on the new inputs.";
  entry.help.memory = "P floats for any number of tasks; no example";
  entry.help.time = "one more forward pass a step";
  entry.help.when =
      "No example may be kept, each task has its head, and the inputs of tasks are alike; with one "
      "head for all classes it protects little by itself.";
  entry.help.parameters = Parameters();
  entry.make =
      [](const StrategyParameters& parameters,
         const StrategyEnvironment& environment) -> absl::StatusOr<std::unique_ptr<Strategy>> {
    return std::make_unique<strategies::Lwf>(parameters, environment);
  };
  entry.test_parameters = {{"warm_up_examples", int64_t{8}}};
  return entry;
}

}  // namespace builtin
}  // namespace engram::strategies
