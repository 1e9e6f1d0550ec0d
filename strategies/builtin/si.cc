// Synaptic intelligence (Zenke, Poole and Ganguli 2017, eq. 3-5): importance is what each weight
// contributed to the fall of the loss along its path, collected while learning.
//   omega_i -= g_i (theta_i(t+1) - theta_i(t))                      every step
//   Omega_i += omega_i / ((theta_i - theta*_i)^2 + xi)              at a boundary, omega_i = 0
//   L = L_new + c sum_i Omega_i (theta_i - theta*_i)^2              no half
// theta* are the weights of the latest boundary. g is the gradient that the update took: of the
// labels' loss and of the loss terms that other strategies hook in, after their transforms, without
// weight decay and without any quadratic penalty. `path_gradient` total adds this strategy's own
// penalty to it, as tables made with p.grad after the total loss do. The change is the true one:
// momentum, Adam, decay and pulls are in it.
// `relu` is that of the authors' code, on the accumulated Omega; the paper has none. An Omega below
// 0 never pulls (ProximalPull).
//
// Memory: 4 P floats. Time: the path read and written, two more arrays read a step; with momentum,
// Adam or beside other hooks the update is observed, which costs another pass.
#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "storage/base/status_macros.h"
#include "strategies/core/quadratic_penalty.h"
#include "strategies/core/registry.h"

namespace engram::strategies {
namespace {

// Of the penalty's gradient in the path: sums of its products stay finite.
constexpr float kStiffnessMax = 1e18f;

class Si final : public Strategy, public UpdateObserver {
 public:
  Si(const StrategyParameters& parameters, const StrategyEnvironment& environment)
      : arena_(environment.arena),
        penalty_(arena_, "si"),
        path_(arena_, "si.path"),
        relu_(parameters.Bool("relu")),
        total_gradient_(parameters.Choice("path_gradient") == "total"),
        reset_optimizer_(parameters.Bool("reset_optimizer")) {
    Reconfigure(parameters);
  }

  absl::string_view Name() const override { return "si"; }

  absl::StatusOr<Observation> Observe(TrainingBatch& batch, StepContext& context,
                                      Next next) override {
    AnchorNewRows();
    strength_ = context.Strength(2 * c_);
    penalty_.Join(strength_, &context);
    // The penalty's own gradient is 0 until it has a term.
    if (total_gradient_ && penalty_.terms() > 0) {
      context.AddObserver(this);
    } else {
      context.AddPath(&path_);
    }
    ENGRAM_ASSIGN_OR_RETURN(Observation seen, next(batch, context));
    if (!seen.skipped) examples_ += batch.stream_rows();
    return seen;
  }

  std::vector<at::Tensor> Written() const override { return path_.Written(); }
  void AfterUpdate(const UpdatedBlock& block) override {
    float* path = path_.At(block.begin).path;
    const float* importance = penalty_.importance().data_ptr<float>() + block.begin;
    const float* anchor = penalty_.anchor().data_ptr<float>() + block.begin;
    const float strength = static_cast<float>(strength_);
    for (int64_t i = 0; i < block.count; ++i) {
      const float stiffness = std::clamp(strength * importance[i], 0.0f, kStiffnessMax);
      const float pull = stiffness * (block.before[i] - anchor[i]);
      path[i] -= (block.gradient[i] + pull) * (block.after[i] - block.before[i]);
    }
  }

  absl::Status Consolidate(const TaskBoundary& boundary, const ConsolidationSet& examples,
                           StepContext& context, BoundaryReport* report) override {
    if (examples_ == 0) return absl::OkStatus();
    const at::Tensor omega = OmegaOfTask();
    RecordImportance({"si", boundary.ended_task, "path_integral", "none: collected while learning",
                      std::exchange(examples_, 0), ""},
                     *arena_, omega, arena_->flat(), report);
    penalty_.AddOnline(omega, 1.0);
    if (relu_) penalty_.importance().clamp_min_(0);
    path_.values().zero_();
    if (reset_optimizer_) context.optimizer().Reset();
    return absl::OkStatus();
  }

  void Reconfigure(const StrategyParameters& parameters) override {
    c_ = parameters.Number("c");
    xi_ = parameters.Number("xi");
  }

  void SaveState(StateWriter* writer) const override {
    penalty_.SaveState(writer);
    writer->PutInteger("examples", examples_);
    writer->PutInts("anchored_rows", anchored_rows_);
  }
  absl::Status LoadState(const StateReader& reader) override {
    ENGRAM_RETURN_IF_ERROR(penalty_.LoadState(reader));
    ENGRAM_ASSIGN_OR_RETURN(examples_, reader.GetInteger("examples"));
    ENGRAM_ASSIGN_OR_RETURN(anchored_rows_, reader.GetInts("anchored_rows"));
    const auto& slots = arena_->slots();
    bool fits = anchored_rows_.size() <= slots.size();
    for (size_t i = 0; fits && i < anchored_rows_.size(); ++i) {
      fits = anchored_rows_[i] >= 0 && anchored_rows_[i] <= slots[i].rows;
    }
    return fits ? absl::OkStatus() : absl::DataLossError("anchored_rows: do not fit the model");
  }
  void AddGauges(LearnerGauges* gauges) const override {
    gauges->importance_snapshots += penalty_.terms();
  }

 private:
  // Where the path of a parameter begins: the anchor of those that no boundary has seen yet (all of
  // the first task, new outputs) is where they were born. It pulls nothing, as their Omega is 0.
  void AnchorNewRows() {
    const auto& slots = arena_->slots();
    anchored_rows_.resize(slots.size(), 0);
    for (size_t i = 0; i < slots.size(); ++i) {
      const int64_t first = std::exchange(anchored_rows_[i], slots[i].rows);
      if (first == slots[i].rows) continue;
      const ParameterId id = static_cast<ParameterId>(i);
      arena_->View(penalty_.anchor(), id).slice(0, first).copy_(arena_->View(id).slice(0, first));
    }
  }

  at::Tensor OmegaOfTask() const {
    const at::Tensor omega = at::empty({arena_->size()}, at::kFloat);
    const float* theta = arena_->flat().data_ptr<float>();
    const float* start = penalty_.anchor().data_ptr<float>();
    const float* path = path_.values().data_ptr<float>();
    float* values = omega.data_ptr<float>();
    for (int64_t i = 0; i < arena_->size(); ++i) {
      const double change = static_cast<double>(theta[i]) - start[i];
      const double value = path[i] / (change * change + xi_);
      values[i] = static_cast<float>(std::clamp(value, -kImportanceMax, kImportanceMax));
    }
    return omega;
  }

  ParameterArena* arena_;
  QuadraticPenalty penalty_;
  PathIntegral path_;  // omega
  bool relu_;
  bool total_gradient_;
  bool reset_optimizer_;
  double c_ = 0;
  double xi_ = 0;
  double strength_ = 0;                 // 2 c as scheduled for the step
  int64_t examples_ = 0;                // learned since the boundary
  std::vector<int64_t> anchored_rows_;  // by parameter
};

std::vector<ParameterHelp> Parameters() {
  ParameterHelp c;
  c.name = "c";
  c.default_value = 0.3;
  c.max = 1e12;
  c.live = true;
  c.help = "strength, c sum Omega (theta - theta*)^2";
  ParameterHelp xi;
  xi.name = "xi";
  xi.default_value = 0.1;
  xi.min = 1e-9;
  xi.max = 1e6;
  xi.live = true;
  xi.help = "damping: bounds the importance of weights that hardly moved";
  ParameterHelp relu;
  relu.name = "relu";
  relu.kind = ParameterKind::kBool;
  relu.default_value = false;
  relu.help = "set an accumulated importance below 0 to 0 at each boundary, as the authors' code";
  ParameterHelp gradient;
  gradient.name = "path_gradient";
  gradient.kind = ParameterKind::kChoice;
  gradient.default_value = std::string("task");
  gradient.choices = {"task", "total"};
  gradient.help = "gradient along the path: of the task's loss, or with this penalty's added";
  ParameterHelp reset;
  reset.name = "reset_optimizer";
  reset.kind = ParameterKind::kBool;
  reset.default_value = false;
  reset.help = "forget the optimizer's moments at each boundary";
  return {c, xi, relu, gradient, reset};
}

}  // namespace

namespace builtin {

StrategyEntry Si() {
  StrategyEntry entry;
  entry.help.name = "si";
  entry.help.family = "regularisation";
  entry.help.paper = "Zenke, Poole and Ganguli 2017, ICML";
  entry.help.idea =
      "While learning, credit each weight with its share in the fall of the loss along its path.\n"
      "At a boundary that credit, over the squared distance moved, becomes its importance, and\n"
      "from then on each weight is pulled to where it was, as strongly as it is important.";
  entry.help.memory = "4 P floats for any number of tasks; no example";
  entry.help.time = "the path written and two more arrays read a step; boundaries are free";
  entry.help.when = "As ewc where no example may be kept at all, not even until its task ends.";
  entry.help.parameters = Parameters();
  entry.make =
      [](const StrategyParameters& parameters,
         const StrategyEnvironment& environment) -> absl::StatusOr<std::unique_ptr<Strategy>> {
    return std::make_unique<strategies::Si>(parameters, environment);
  };
  return entry;
}

}  // namespace builtin
}  // namespace engram::strategies
