// Gradient episodic memory (Lopez-Paz & Ranzato 2017, eq. 8 and 11): a step may raise the loss over
// the exemplars of no past task, one constraint each.
//   min 1/2 |g - g~|^2   subject to   <g~, g_k> >= 0 for every past task k
// is solved in its dual, one variable a task bounded below by memory_strength, whenever a
// constraint is violated. The bound is the paper's gamma, 0 in its equations: above 0 the step
// moves towards the past, not only not against it, and the more so the more tasks there are
// (README.md). The gradient is projected before the optimiser. There are at most tasks_max - 1
// constraints: beyond, the two oldest tasks share a memory and with it a constraint
// (memory/task_memory.h).
//
// The paper takes all exemplars that it keeps (reference_batch 0): a flat gradient a constraint. A
// few drawn anew each step do nearly as well (README.md), pass through the network together, and
// need no gradient at all (core/trace_cone.h).
//
// Memory: memory_per_task x tasks_max exemplars of 4 d + 36 bytes; with all of them, P floats a
// constraint.
// Time: one pass over reference_batch exemplars of every past task beside the step.
#include <algorithm>
#include <memory>
#include <numeric>
#include <utility>
#include <vector>

#include "storage/base/status_macros.h"
#include "strategies/core/gradient_projection.h"
#include "strategies/core/registry.h"
#include "strategies/core/trace_cone.h"
#include "strategies/memory/task_memory.h"

namespace engram::strategies {
namespace {

// Most rows of one pass: all of a task, or those drawn of every task.
int64_t RowsMax(const StrategyParameters& parameters) {
  const int64_t kept = parameters.Integer("memory_per_task");
  const int64_t wanted = parameters.Integer("reference_batch");
  return wanted > 0 ? std::min(wanted, kept) * parameters.Integer("tasks_max") : kept;
}

class Gem final : public Strategy {
 public:
  Gem(const StrategyParameters& parameters, const StrategyEnvironment& environment,
      std::unique_ptr<TaskMemory> memory)
      : memory_(std::move(memory)),
        reference_rows_(parameters.Integer("reference_batch")),
        reference_batch_(environment.feature_count, RowsMax(parameters)) {
    Reconfigure(parameters);
  }

  absl::string_view Name() const override { return "gem"; }

  absl::StatusOr<Observation> Observe(TrainingBatch& batch, StepContext& context,
                                      Next next) override {
    if (memory_->past_count() > 0 && reference_rows_ > 0 && !context.has_transforms()) {
      ENGRAM_RETURN_IF_ERROR(TakeTraces(context));
      if (reference_batch_.rows() > 0) {
        context.AddTraceTransform([this](std::vector<LayerTrace>* traces) {
          cone_.Project(memory_strength_, traces);
        });
      }
    } else if (memory_->past_count() > 0) {
      ENGRAM_RETURN_IF_ERROR(TakeConstraints(context));
      context.AddTransform([this](const at::Tensor& gradient) {
        ProjectOntoCone(constraints_, memory_strength_, gradient);
      });
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

  void Reconfigure(const StrategyParameters& parameters) override {
    memory_strength_ = parameters.Number("memory_strength");
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
  // The traces of every past task's loss in one pass.
  absl::Status TakeTraces(StepContext& context) {
    ends_.clear();
    reference_batch_.Clear(context.units());
    for (int64_t task = 0; task < memory_->past_count(); ++task) {
      const int64_t begin = reference_batch_.rows();
      ENGRAM_RETURN_IF_ERROR(AppendRows(task, context));
      ends_.push_back(reference_batch_.rows());
      if (ends_.back() > begin) reference_batch_.SetShare(begin, ends_.back(), 1);
    }
    if (reference_batch_.rows() == 0) return absl::OkStatus();
    context.LossTraces(reference_batch_);
    cone_.Keep(context.network().traces(), ends_);
    return absl::OkStatus();
  }

  // One gradient a past task, at the weights that the step starts from.
  absl::Status TakeConstraints(StepContext& context) {
    const int64_t tasks = memory_->past_count();
    const ParameterArena& arena = context.arena();
    if (generation_ != arena.generation() || constraints_.size(0) != tasks) {
      constraints_ = at::zeros({tasks, arena.size()}, at::kFloat);
      generation_ = arena.generation();
    }
    for (int64_t task = 0; task < tasks; ++task) {
      reference_batch_.Clear(context.units());
      ENGRAM_RETURN_IF_ERROR(AppendRows(task, context));
      WriteReferenceGradient(reference_batch_, context, constraints_.select(0, task));
    }
    return absl::OkStatus();
  }

  absl::Status AppendRows(int64_t task, StepContext& context) {
    ExemplarMemory& memory = memory_->past(task);
    if (reference_rows_ > 0 && reference_rows_ < memory.size()) {
      memory.Draw(reference_rows_, [&context] { return context.generator().Next(); }, &rows_);
    } else {
      rows_.resize(static_cast<size_t>(memory.size()));
      std::iota(rows_.begin(), rows_.end(), int64_t{0});
    }
    for (const int64_t slot : rows_) {
      ENGRAM_RETURN_IF_ERROR(reference_batch_.Append(memory.At(slot)));
    }
    return absl::OkStatus();
  }

  std::unique_ptr<TaskMemory> memory_;
  int64_t reference_rows_;
  TrainingBatch reference_batch_;
  double memory_strength_ = 0;
  TraceCone cone_;
  std::vector<int64_t> ends_;
  at::Tensor constraints_;  // [past tasks, arena size]
  uint64_t generation_ = 0;
  std::vector<int64_t> rows_;
  std::vector<int64_t> restored_sizes_;  // between LoadState and RestoreMembers
};

}  // namespace

namespace builtin {

StrategyEntry Gem() {
  StrategyEntry entry;
  entry.help.name = "gem";
  entry.help.family = "gradient projection";
  entry.help.paper = "Lopez-Paz & Ranzato 2017, NeurIPS, arXiv 1706.08840";
  entry.help.idea =
      "Take the gradient over the exemplars of each past task beside that of the stream.\n"
      "Where they conflict, step along the nearest direction that raises no past task's loss.\n"
      "One constraint a task, an exact small quadratic program a step.";
  entry.help.memory =
      "memory_per_task x tasks_max exemplars of 4 d + 36 bytes; with all, tasks_max x P floats";
  entry.help.time = "one pass over reference_batch exemplars of every past task beside the step";
  entry.help.when =
      "As a_gem, where no single past task may lose and time allows a pass for each of them.";
  entry.help.parameters = TaskMemoryParameters();
  entry.help.parameters.push_back(
      NumberParameter("memory_strength", 0.5).AtMost(100).Live().Help(
          "lower bound of each constraint's multiplier, gamma"));
  entry.help.parameters.push_back(
      IntegerParameter("reference_batch", 20).AtMost(100000).Help(
          "exemplars drawn of each past task a step; 0 = all it keeps"));
  entry.keeps_exemplars = true;
  entry.make =
      [](const StrategyParameters& parameters,
         const StrategyEnvironment& environment) -> absl::StatusOr<std::unique_ptr<Strategy>> {
    ENGRAM_ASSIGN_OR_RETURN(std::unique_ptr<TaskMemory> memory,
                            MakeTaskMemory(parameters, environment));
    return std::make_unique<strategies::Gem>(parameters, environment, std::move(memory));
  };
  entry.test_parameters = {{"memory_per_task", int64_t{16}},
                           {"tasks_max", int64_t{4}},
                           {"reference_batch", int64_t{12}}};
  return entry;
}

}  // namespace builtin
}  // namespace engram::strategies
