// Plasticity upkeep: a network that learns for years loses the ability to learn as surely as it
// forgets (Dohare et al. 2024, Nature 632). Composes with any strategy; three ways, one at a time:
//   shrink_and_perturb   theta <- keep theta + noise theta_init at each boundary, theta_init drawn
//                        anew (Ash & Adams 2020, section 5)
//   l2_init              pull lambda (theta - theta_0)^2 towards the first weights, as a proximal
//                        step (Kumar et al. 2023)
//   continual_backprop   per hidden unit a running utility u = |h| sum |w_out|; every
//                        1 / (rate n) steps the least useful unit older than `maturity` steps has
//                        its incoming weights drawn anew and its outgoing ones set to 0, so that
//                        the function does not jump (Dohare et al. 2024, algorithm 1)
// Whatever the way, it counts dormant units: those whose mean |h| is at most 2.5 per cent of their
// layer's (Sokar et al. 2023, definition 3.1).
//
// Memory: two numbers a hidden unit; l2_init 3 P floats. Time: one pass over the activations.
#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "storage/base/status_macros.h"
#include "strategies/core/quadratic_penalty.h"
#include "strategies/core/registry.h"

namespace engram::strategies {
namespace {

constexpr float kDormantShare = 0.025f;
constexpr float kActivityDecay = 0.99f;

enum class Method { kShrinkAndPerturb, kL2Init, kContinualBackprop };

Method ParseMethod(const std::string& word) {
  if (word == "l2_init") return Method::kL2Init;
  return word == "continual_backprop" ? Method::kContinualBackprop : Method::kShrinkAndPerturb;
}

// What is known of the units of one hidden layer, by unit.
struct HiddenUnits {
  at::Tensor activity;  // running mean of |h|
  at::Tensor age;       // steps since the unit was drawn anew
  double due = 0;       // units to be replaced, in fractions
};

class Plasticity final : public Strategy {
 public:
  Plasticity(const StrategyParameters& parameters, const StrategyEnvironment& environment)
      : method_(ParseMethod(parameters.Choice("method"))), arena_(environment.arena) {
    if (method_ == Method::kL2Init) {
      first_weights_ = std::make_unique<QuadraticPenalty>(arena_, "plasticity");
      first_weights_->AddSeparate(Ones());
    }
    const std::vector<LayerTrace>& traces = environment.network->traces();
    for (size_t layer = 0; layer + 1 < traces.size(); ++layer) {
      const int64_t units = arena_->slot(traces[layer].weight).rows;
      layers_.push_back({at::zeros({units}), at::zeros({units}), 0});
    }
    Reconfigure(parameters);
  }

  absl::string_view Name() const override { return "plasticity"; }
  StrategyTraits Traits() const override { return {/*interleaved_tasks=*/true, false}; }

  absl::StatusOr<Observation> Observe(TrainingBatch& batch, StepContext& context,
                                      Next next) override {
    // The penalty has no half: lambda (theta - theta_0)^2.
    if (first_weights_ != nullptr) first_weights_->Join(2 * lambda_, &context);
    ENGRAM_ASSIGN_OR_RETURN(Observation seen, next(batch, context));
    if (seen.skipped) return seen;
    task_learned_ = true;
    const std::vector<LayerTrace>& traces = context.network().traces();
    for (size_t layer = 0; layer < layers_.size(); ++layer) {
      Watch(traces[layer + 1].input, &layers_[layer]);
      if (method_ == Method::kContinualBackprop) Replace(layer, context);
    }
    return seen;
  }

  absl::Status Consolidate(const TaskBoundary& boundary, const ConsolidationSet& examples,
                           StepContext& context, BoundaryReport* report) override {
    if (!std::exchange(task_learned_, false) || method_ != Method::kShrinkAndPerturb) {
      return absl::OkStatus();
    }
    const at::Tensor learned = arena_->flat().clone();
    context.network().Reinitialise(&context.generator());
    arena_->flat().mul_(noise_).add_(learned, keep_);
    return absl::OkStatus();
  }

  void Reconfigure(const StrategyParameters& parameters) override {
    keep_ = parameters.Number("keep");
    noise_ = parameters.Number("noise");
    lambda_ = parameters.Number("lambda");
    replacement_rate_ = parameters.Number("replacement_rate");
    maturity_ = parameters.Integer("maturity");
  }

  void SaveState(StateWriter* writer) const override {
    writer->PutInteger("task_learned", task_learned_ ? 1 : 0);
    for (size_t layer = 0; layer < layers_.size(); ++layer) {
      StateWriter scoped = writer->Scoped(absl::StrCat("layer", layer, "/"));
      scoped.PutTensor("activity", layers_[layer].activity);
      scoped.PutTensor("age", layers_[layer].age);
      scoped.PutNumber("due", layers_[layer].due);
    }
    if (first_weights_ != nullptr) first_weights_->SaveState(writer);
  }

  absl::Status LoadState(const StateReader& reader) override {
    ENGRAM_ASSIGN_OR_RETURN(const int64_t learned, reader.GetInteger("task_learned"));
    task_learned_ = learned != 0;
    for (size_t layer = 0; layer < layers_.size(); ++layer) {
      const StateReader scoped = reader.Scoped(absl::StrCat("layer", layer, "/"));
      ENGRAM_RETURN_IF_ERROR(scoped.GetTensor("activity", layers_[layer].activity));
      ENGRAM_RETURN_IF_ERROR(scoped.GetTensor("age", layers_[layer].age));
      ENGRAM_ASSIGN_OR_RETURN(layers_[layer].due, scoped.GetNumber("due"));
    }
    return first_weights_ != nullptr ? first_weights_->LoadState(reader) : absl::OkStatus();
  }

  void AddGauges(LearnerGauges* gauges) const override {
    int64_t dormant = 0;
    for (const HiddenUnits& layer : layers_) {
      const double limit = kDormantShare * layer.activity.mean().item<double>();
      dormant += layer.activity.le(limit).sum().item<int64_t>();
    }
    gauges->named["dormant_units"] = static_cast<double>(dormant);
  }

 private:
  // 1 at every parameter in use, so that gaps and reserve stay at zero.
  at::Tensor Ones() const {
    const at::Tensor ones = at::zeros({arena_->size()});
    for (const ParameterArena::Slot& slot : arena_->slots()) {
      ones.narrow(0, slot.offset, slot.count()).fill_(1);
    }
    return ones;
  }

  static void Watch(const at::Tensor& activations, HiddenUnits* layer) {
    layer->age.add_(1);
    layer->activity.mul_(kActivityDecay).add_(activations.abs().mean(0), 1 - kActivityDecay);
  }

  void Replace(size_t layer, StepContext& context) {
    HiddenUnits& units = layers_[layer];
    const std::vector<LayerTrace>& traces = context.network().traces();
    units.due += replacement_rate_ * static_cast<double>(units.age.numel());
    const at::Tensor outgoing = arena_->View(traces[layer + 1].weight);
    while (units.due >= 1) {
      units.due -= 1;
      const at::Tensor utility = units.activity * outgoing.abs().sum(0);
      const at::Tensor young = units.age.lt(static_cast<double>(maturity_));
      if (young.all().item<bool>()) return;
      const int64_t unit = utility.masked_fill(young, INFINITY).argmin().item<int64_t>();
      DrawAnew(traces[layer], unit, context);
      outgoing.select(1, unit).zero_();
      units.age[unit] = 0;
      units.activity[unit] = units.activity.mean();
    }
  }

  void DrawAnew(const LayerTrace& trace, int64_t unit, StepContext& context) {
    const at::Tensor weights = arena_->View(trace.weight).select(0, unit);
    const float bound = 1.0f / std::sqrt(static_cast<float>(weights.numel()));
    float* values = weights.data_ptr<float>();
    for (int64_t i = 0; i < weights.numel(); ++i) {
      values[i] = (2 * context.generator().Uniform() - 1) * bound;
    }
    arena_->View(trace.bias).select(0, unit).zero_();
  }

  Method method_;
  ParameterArena* arena_;
  std::unique_ptr<QuadraticPenalty> first_weights_;  // kL2Init
  std::vector<HiddenUnits> layers_;
  bool task_learned_ = false;  // a boundary right after another shrinks nothing
  double keep_ = 1;
  double noise_ = 0;
  double lambda_ = 0;
  double replacement_rate_ = 0;
  int64_t maturity_ = 0;
};

}  // namespace

namespace builtin {

StrategyEntry Plasticity() {
  StrategyEntry entry;
  entry.help.name = "plasticity";
  entry.help.family = "upkeep";
  entry.help.paper = "Ash & Adams 2020; Kumar et al. 2023; Dohare et al. 2024, Nature 632";
  entry.help.idea =
      "Keeps the network able to learn: shrinks it towards fresh weights at boundaries, pulls it\n"
      "towards its first weights, or draws its least useful units anew. Counts dormant units.";
  entry.help.memory = "two numbers a hidden unit; l2_init: 3 P floats";
  entry.help.time = "one pass over the activations";
  entry.help.when = "A model that learns for months, beside any other strategy.";
  entry.plain_network = true;
  entry.help.traits.interleaved_tasks = true;
  entry.help.parameters = {
      ChoiceParameter("method", {"shrink_and_perturb", "l2_init", "continual_backprop"})
          .Help("how weights are kept fresh"),
      NumberParameter("keep", 0.9).AtMost(1).Live().Help(
          "shrink_and_perturb: share of the weights that stays"),
      NumberParameter("noise", 0.1).AtMost(1).Live().Help(
          "shrink_and_perturb: share of fresh weights added"),
      NumberParameter("lambda", 1e-4).AtMost(1e6).Live().Help(
          "l2_init: strength, lambda (theta - theta_0)^2"),
      NumberParameter("replacement_rate", 1e-4)
          .AtMost(1)
          .Live()
          .Help("continual_backprop: share of units replaced a step"),
      IntegerParameter("maturity", 1000)
          .AtMost(1e6)
          .Live()
          .Help("continual_backprop: steps before a unit may be replaced")};
  entry.make =
      [](const StrategyParameters& parameters,
         const StrategyEnvironment& environment) -> absl::StatusOr<std::unique_ptr<Strategy>> {
    return std::make_unique<strategies::Plasticity>(parameters, environment);
  };
  entry.test_parameters = {{"method", std::string("continual_backprop")},
                           {"replacement_rate", 0.01},
                           {"maturity", int64_t{10}}};
  return entry;
}

}  // namespace builtin
}  // namespace engram::strategies
