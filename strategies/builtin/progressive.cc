// Progressive networks (Rusu et al. 2016, arXiv 1606.04671): a column of hidden layers for each
// task, older columns frozen, with adapters through which a new column reads what they compute.
//   h_i^(k) = relu(W_i h_{i-1}^(k) + U_i relu(V_i [alpha_j h_{i-1}^(j)]_{j<k} + c_i) + b_i)
// Nothing is forgotten, by construction; what is paid is a column a task. The network is
// models/columns.h; what is left for this file is which column a batch belongs to. It opens with
// the first batch of a new task, so a task without examples costs none. Under laterals = false the
// columns are independent networks: what the laterals are worth is the difference.
//
// Memory: P (1 + the adapters' share) more a task, up to max_columns; tasks beyond them get a head
// alone. Time: a step of column k evaluates k columns and goes back through one.
#include <memory>

#include "strategies/core/registry.h"
#include "strategies/models/columns.h"

namespace engram::strategies {
namespace {

class Progressive final : public Strategy {
 public:
  explicit Progressive(Columns* columns) : columns_(columns) {}

  absl::string_view Name() const override { return "progressive"; }
  StrategyTraits Traits() const override { return {false, /*infers_task=*/true}; }

  absl::StatusOr<Observation> Observe(TrainingBatch& batch, StepContext& context,
                                      Next next) override {
    const bool opened = columns_->Place(context.units().owners(), &context.generator());
    if (opened) context.optimizer().Reset();  // a new column begins as a new network does
    columns_->Activate(batch.tasks()[0]);
    return next(batch, context);
  }

  void AddGauges(LearnerGauges* gauges) const override {
    gauges->named["columns"] = static_cast<double>(columns_->columns());
  }

 private:
  Columns* columns_;
};

std::unique_ptr<Network> MakeNetwork(const StrategyParameters& parameters,
                                     const ModelOptions& options, int64_t units,
                                     ParameterArena* arena, Generator* generator) {
  ColumnsOptions columns;
  columns.feature_count = options.feature_count;
  columns.hidden = options.hidden;
  columns.adapter_width = parameters.Integer("adapter_width");
  columns.max_columns = parameters.Integer("max_columns");
  columns.laterals = parameters.Bool("laterals");
  columns.alpha = parameters.Number("alpha");
  return std::make_unique<Columns>(columns, arena, generator);
}

}  // namespace

namespace builtin {

StrategyEntry Progressive() {
  StrategyEntry entry;
  entry.help.name = "progressive";
  entry.help.family = "parameter isolation";
  entry.help.paper = "Rusu et al. 2016, Progressive Neural Networks, arXiv 1606.04671";
  entry.help.idea =
      "Give each task a column of its own and freeze it when the next one opens.\n"
      "A new column also reads, through small adapters, what older columns make of the input.";
  entry.help.memory = "P and the adapters for each task, up to max_columns";
  entry.help.time = "forward through all columns so far, backward through one";
  entry.help.when =
      "Few tasks with clear boundaries, nothing may be forgotten, and tasks help each other.";
  entry.help.traits.infers_task = true;
  entry.help.parameters = {
      IntegerParameter("adapter_width", 64)
          .Between(1, 65536)
          .Help("units of the adapter between older columns and a layer"),
      IntegerParameter("max_columns", 64)
          .Between(1, 10000)
          .Help("columns at most; tasks beyond them get a head on the last one, which then stands "
                "still"),
      BoolParameter("laterals", true)
          .Help("false: columns do not read each other, independent networks"),
      NumberParameter("alpha", 1.0).AtMost(10).Help(
          "what the learned scales of all older columns together start at"),
  };
  entry.per_task_heads = true;
  entry.make = [](const StrategyParameters&, const StrategyEnvironment& environment)
      -> absl::StatusOr<std::unique_ptr<Strategy>> {
    return std::make_unique<strategies::Progressive>(static_cast<Columns*>(environment.network));
  };
  entry.make_network = MakeNetwork;
  entry.test_parameters = {{"adapter_width", int64_t{4}}, {"max_columns", int64_t{3}}};
  return entry;
}

}  // namespace builtin
}  // namespace engram::strategies
