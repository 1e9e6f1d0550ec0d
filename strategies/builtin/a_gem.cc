// Averaged gradient episodic memory (Chaudhry et al. 2019, "Efficient lifelong learning with
// A-GEM", eq. 11): a step may not raise the loss over a sample of the past tasks' exemplars.
//   g_ref = grad CE over reference_batch exemplars of all past tasks, drawn anew each step
//   g <- g - (g.g_ref / g_ref.g_ref) g_ref   if and only if g.g_ref < 0
// The gradient is projected before the optimiser, as in every published number. With momentum or
// Adam the step that follows may still raise that loss; projecting what is applied instead is
// offered where it is defined, under SGD without momentum, and differs there by weight decay only.
// The present task is remembered too but constrains nothing before its boundary.
//
// Memory: memory_per_task x tasks_max exemplars of 4 d + 36 bytes, and P floats.
// Time: one pass over reference_batch rows beside the step.
#include <memory>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "storage/base/status_macros.h"
#include "strategies/core/gradient_projection.h"
#include "strategies/core/registry.h"
#include "strategies/memory/task_memory.h"

namespace engram::strategies {
namespace {

class AGem final : public Strategy {
 public:
  AGem(const StrategyParameters& parameters, const StrategyEnvironment& environment,
       std::unique_ptr<TaskMemory> memory)
      : memory_(std::move(memory)),
        reference_(environment.arena->AddCompanion("a_gem.reference",
                                                   ParameterArena::Persistence::kDerived)),
        reference_rows_(parameters.Integer("reference_batch")),
        reference_batch_(environment.feature_count, reference_rows_),
        projects_update_(parameters.Choice("project") == "update") {}

  absl::string_view Name() const override { return "a_gem"; }

  absl::StatusOr<Observation> Observe(TrainingBatch& batch, StepContext& context,
                                      Next next) override {
    if (memory_->past_count() > 0) {
      ENGRAM_RETURN_IF_ERROR(TakeReference(context));
      context.AddTransform(
          [this, &context](const at::Tensor& gradient) { Project(context, gradient); });
    }
    ENGRAM_ASSIGN_OR_RETURN(Observation seen, next(batch, context));
    if (seen.skipped) return seen;
    for (int64_t row = 0; row < batch.stream_rows(); ++row) memory_->Offer(batch.Example(row));
    return seen;
  }

  absl::Status Consolidate(const TaskBoundary&, const ConsolidationSet&, StepContext&,
                           BoundaryReport*) override {
    memory_->CloseTask();
    return absl::OkStatus();
  }

  void SaveState(StateWriter* writer) const override {
    writer->PutInts("task_sizes", memory_->Sizes());
  }
  absl::Status LoadState(const StateReader& reader) override {
    ENGRAM_ASSIGN_OR_RETURN(restored_sizes_, reader.GetInts("task_sizes"));
    return absl::OkStatus();
  }
  std::vector<MemberKey> Members() const override { return memory_->Members(); }
  std::string Payload(int64_t index) const override { return memory_->Payload(index); }
  absl::Status RestoreMembers(absl::Span<const MemberPayload> payloads) override {
    return memory_->Restore(payloads, std::exchange(restored_sizes_, {}));
  }
  void AddGauges(LearnerGauges* gauges) const override { memory_->AddGauges(gauges); }

 private:
  // At the weights that the step starts from.
  absl::Status TakeReference(StepContext& context) {
    memory_->DrawPast(
        reference_rows_, [&context](uint64_t limit) { return context.generator().Below(limit); },
        &drawn_);
    reference_batch_.Clear(context.units());
    for (const ExemplarView& exemplar : drawn_) {
      ENGRAM_RETURN_IF_ERROR(reference_batch_.Append(exemplar));
    }
    WriteReferenceGradient(reference_batch_, context, context.arena().Companion(reference_));
    return absl::OkStatus();
  }

  void Project(StepContext& context, const at::Tensor& gradient) const {
    const double decay = projects_update_ ? context.optimizer().options().weight_decay : 0;
    if (decay > 0) gradient.add_(context.arena().flat(), decay);
    RemoveConflict(context.arena().Companion(reference_), gradient);
    if (decay > 0) gradient.sub_(context.arena().flat(), decay);
  }

  std::unique_ptr<TaskMemory> memory_;
  CompanionId reference_;
  int64_t reference_rows_;
  TrainingBatch reference_batch_;
  bool projects_update_;
  std::vector<ExemplarView> drawn_;
  std::vector<int64_t> restored_sizes_;  // between LoadState and RestoreMembers
};

absl::Status Check(const StrategyParameters& parameters, const ModelOptions& options) {
  if (parameters.Choice("project") == "gradient") return absl::OkStatus();
  const bool is_sgd = options.optimizer.kind == OptimizerKind::kSgd;
  if (is_sgd && options.optimizer.momentum == 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(
      "a_gem.project: update needs SGD without momentum, got ",
      is_sgd ? absl::StrCat("momentum ", options.optimizer.momentum) : "an adaptive optimizer"));
}

absl::StatusOr<std::unique_ptr<Strategy>> Make(const StrategyParameters& parameters,
                                               const StrategyEnvironment& environment) {
  ENGRAM_ASSIGN_OR_RETURN(std::unique_ptr<TaskMemory> memory,
                          MakeTaskMemory(parameters, environment));
  return std::make_unique<AGem>(parameters, environment, std::move(memory));
}

}  // namespace

namespace builtin {

StrategyEntry AGem() {
  StrategyEntry entry;
  entry.help.name = "a_gem";
  entry.help.family = "gradient projection";
  entry.help.paper = "Chaudhry et al. 2019, ICLR, arXiv 1812.00420";
  entry.help.idea =
      "Take the gradient over a sample of past exemplars beside that of the stream.\n"
      "Where the two point apart, remove from the stream's what would undo the past.\n"
      "One constraint for all past tasks: GEM's effect at the price of one more pass.";
  entry.help.memory = "memory_per_task x tasks_max exemplars of 4 d + 36 bytes, P floats";
  entry.help.time = "one pass over reference_batch rows beside the step";
  entry.help.when =
      "Examples may be kept, boundaries are marked, and tasks share their outputs; replay is the\n"
      "stronger use of the same memory where classes come one after another.";
  entry.help.parameters = TaskMemoryParameters();
  entry.help.parameters.push_back(
      IntegerParameter("reference_batch", 256)
          .Between(1, 1024)
          .Help("exemplars a step whose mean gradient is the constraint"));
  entry.help.parameters.push_back(
      ChoiceParameter("project", {"gradient", "update"})
          .Help("gradient: before the optimizer; update: weight decay included, SGD without "
                "momentum only"));
  entry.keeps_exemplars = true;
  entry.check = Check;
  entry.make = Make;
  entry.test_parameters = {{"memory_per_task", int64_t{16}},
                           {"tasks_max", int64_t{4}},
                           {"reference_batch", int64_t{12}}};
  return entry;
}

}  // namespace builtin
}  // namespace engram::strategies
