// Gradient projection memory (Saha et al. 2021, "Gradient projection memory for continual
// learning", algorithm 1): no example is kept beyond its task and no loss of the past is
// evaluated. A linear layer's gradient is a sum of its inputs times something, so a step that is
// orthogonal to all inputs of the past leaves what the layer answers to them as it was:
//   g_W <- g_W - g_W M M^T      M: an orthonormal basis of the layer's past inputs
// Of a batch, g_W = delta^T a: what is projected are its rows, g_W M M^T = delta^T (a M M^T).
// At a boundary M grows by the singular vectors that hold `energy` of the ended task's inputs
// (eq. 9; core/input_subspace.h), the bias included as an input of 1. A head of its own a task
// needs none: the other tasks' outputs get no gradient.
// Exact under plain SGD; momentum from before a boundary, Adam's scaling and weight decay leave the
// complement. When directions_max are taken, nothing more of a layer is protected.
//
// Memory: at most directions_max (2 in + 1) floats a layer.
// Time: two products of the step's rows with M a layer, as much as rank / out forward and backward
// passes through it, half of that where inputs are mostly zero; an SVD a layer at a boundary.
#include <memory>
#include <utility>
#include <vector>

#include "absl/container/btree_map.h"
#include "storage/base/status_macros.h"
#include "strategies/core/input_subspace.h"
#include "strategies/core/registry.h"

namespace engram::strategies {
namespace {

class Gpm final : public Strategy {
 public:
  Gpm(const StrategyParameters& parameters, const StrategyEnvironment& environment)
      : arena_(environment.arena),
        directions_max_(parameters.Integer("directions_max")),
        examples_(parameters.Integer("basis_examples")) {
    Reconfigure(parameters);
  }

  absl::string_view Name() const override { return "gpm"; }
  int64_t ConsolidationExamples() const override { return examples_; }

  absl::StatusOr<Observation> Observe(TrainingBatch& batch, StepContext& context,
                                      Next next) override {
    // As long as nobody changed the gradient before us it is that of the traces.
    if (context.has_transforms()) {
      context.AddTransform([this, &context](const at::Tensor& gradient) {
        Project(context.network().traces(), gradient);
      });
    } else if (!spaces_.empty()) {
      context.AddTraceTransform([this](std::vector<LayerTrace>* traces) { Project(traces); });
    }
    return next(batch, context);
  }

  absl::Status Consolidate(const TaskBoundary&, const ConsolidationSet& examples,
                           StepContext& context, BoundaryReport*) override {
    if (examples.rows() == 0) return absl::OkStatus();
    context.network().Forward(examples.features);
    const std::vector<LayerTrace>& traces = context.network().traces();
    const size_t layers = traces.size() - (context.units().per_task() ? 1 : 0);
    for (size_t layer = 0; layer < layers; ++layer) {
      const LayerTrace& trace = traces[layer];
      spaces_.try_emplace(trace.weight, arena_->slot(trace.weight).columns, directions_max_)
          .first->second.Extend(trace.input, energy_);
    }
    return absl::OkStatus();
  }

  void Reconfigure(const StrategyParameters& parameters) override {
    energy_ = parameters.Number("energy");
  }

  void SaveState(StateWriter* writer) const override {
    for (const auto& [weight, space] : spaces_) {
      space.SaveState(arena_->slot(weight).name, writer);
    }
  }
  absl::Status LoadState(const StateReader& reader) override {
    for (size_t id = 0; id < arena_->slots().size(); ++id) {
      const ParameterArena::Slot& slot = arena_->slots()[id];
      InputSubspace space(slot.columns, directions_max_);
      ENGRAM_RETURN_IF_ERROR(space.LoadState(slot.name, reader));
      if (space.rank() > 0) spaces_.try_emplace(static_cast<ParameterId>(id), std::move(space));
    }
    return absl::OkStatus();
  }

 private:
  void Project(std::vector<LayerTrace>* traces) {
    for (LayerTrace& trace : *traces) {
      const auto space = spaces_.find(trace.weight);
      if (space != spaces_.end() && space->second.rank() > 0) space->second.RemoveFrom(&trace);
    }
  }

  void Project(const std::vector<LayerTrace>& traces, const at::Tensor& gradient) const {
    for (const LayerTrace& trace : traces) {
      const auto space = spaces_.find(trace.weight);
      if (space == spaces_.end() || space->second.rank() == 0) continue;
      space->second.RemoveFrom(arena_->View(gradient, trace.weight),
                               arena_->View(gradient, trace.bias));
    }
  }

  const ParameterArena* arena_;
  int64_t directions_max_;
  int64_t examples_;
  double energy_ = 0;
  absl::btree_map<ParameterId, InputSubspace> spaces_;  // by layer's weight
};

}  // namespace

namespace builtin {

StrategyEntry Gpm() {
  StrategyEntry entry;
  entry.help.name = "gpm";
  entry.help.family = "gradient projection";
  entry.help.paper = "Saha et al. 2021, ICLR, arXiv 2103.09762";
  entry.help.idea =
      "At each boundary find the directions in which the task's inputs to every layer lie.\n"
      "From then on change weights only in what is orthogonal to them: old inputs, old answers.\n"
      "No replay and no constraint to solve; capacity is used up as directions are taken.";
  entry.help.memory = "at most directions_max (2 in + 1) floats a layer; basis_examples a task";
  entry.help.time = "two products of the step's rows with each basis; an SVD a layer at a boundary";
  entry.help.when =
      "No example may be kept, tasks are few, and their inputs lie in few directions; plain SGD.";
  ParameterHelp energy;
  energy.name = "energy";
  energy.default_value = 0.95;
  energy.max = 1;
  energy.live = true;
  energy.help = "share of the inputs' squared length that the protected directions hold";
  entry.help.parameters = {
      energy,
      {"directions_max",
       ParameterKind::kInteger,
       int64_t{512},
       1,
       65536,
       {},
       false,
       "most protected directions a layer"},
      {"basis_examples",
       ParameterKind::kInteger,
       int64_t{300},
       1,
       10000,
       {},
       false,
       "examples of the ended task whose inputs are analysed"},
  };
  entry.plain_network = true;
  entry.make =
      [](const StrategyParameters& parameters,
         const StrategyEnvironment& environment) -> absl::StatusOr<std::unique_ptr<Strategy>> {
    return std::make_unique<strategies::Gpm>(parameters, environment);
  };
  entry.test_parameters = {{"energy", 0.9},
                           {"directions_max", int64_t{3}},
                           {"basis_examples", int64_t{64}}};
  return entry;
}

}  // namespace builtin
}  // namespace engram::strategies
