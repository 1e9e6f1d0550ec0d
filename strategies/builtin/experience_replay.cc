// Experience replay (Chaudhry et al. 2019, "On tiny episodic memories in continual learning",
// algorithm 1 with the reservoir of Vitter 1985): each step trains on the stream's rows and on
// exemplars drawn from the memory, then offers the stream's rows to it.
//   by_number   one mean over the concatenation: stream and memory weigh by their sizes
//                 theta <- theta - eta grad (1 / |B u M|) sum_{(x, y) in B u M} CE(f(x), y)
//   task_share  1/t of the stream's mean and 1 - 1/t of the memory's, in task t (van de Ven et al.
//               2022, Nature Machine Intelligence 4)
// Rows are offered after the step, so that none is replayed beside itself, and not at all when the
// step was skipped. Under fill = task_end the memory takes nothing from the stream, but per_class
// random examples of each class at the end of their task, as van de Ven does. Exemplars are drawn
// without replacement, with it when more are wanted than there are.
//
// Memory: M exemplars of 4 d + 36 bytes (2 d, d for packed features). Time: the step over the
// longer batch.
#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "storage/base/status_macros.h"
#include "strategies/core/replay_memory.h"

namespace engram::strategies {
namespace {

// Of the ended task, at hand for filling at its end: with fewer than 20 classes of like size there
// are per_class of each among them.
constexpr int64_t kTaskExamplesMin = 2000;
constexpr int64_t kClassesAtOnce = 20;

class ExperienceReplay final : public Strategy {
 public:
  ExperienceReplay(const StrategyParameters& parameters, ReplayMemory memory)
      : memory_(std::move(memory)),
        fills_at_task_end_(parameters.Choice("fill") == "task_end"),
        weighs_by_task_(parameters.Choice("weighting") == "task_share"),
        per_class_(parameters.Integer("per_class")) {
    Reconfigure(parameters);
  }

  absl::string_view Name() const override { return "experience_replay"; }
  StrategyTraits Traits() const override { return {/*interleaved_tasks=*/true, false}; }
  int64_t ExtraRows(int64_t batch_size) const override { return ReplayRowsMax(batch_size); }
  int64_t ConsolidationExamples() const override {
    return fills_at_task_end_ ? std::max(kTaskExamplesMin, kClassesAtOnce * per_class_) : 0;
  }

  absl::StatusOr<Observation> Observe(TrainingBatch& batch, StepContext& context,
                                      Next next) override {
    const int64_t stream = batch.rows();
    const double tasks = static_cast<double>(context.boundaries() + 1);
    const bool replays = !weighs_by_task_ || tasks > 1;  // the first task's share is all of it
    if (replays) ENGRAM_RETURN_IF_ERROR(memory_.Replay(context, &batch, &drawn_));
    if (weighs_by_task_ && batch.rows() > stream) {
      batch.SetShare(0, stream, 1 / tasks);
      batch.SetShare(stream, batch.rows(), 1 - 1 / tasks);
    }
    ENGRAM_ASSIGN_OR_RETURN(Observation seen, next(batch, context));
    if (!seen.skipped && !fills_at_task_end_) memory_.OfferStream(batch);
    return seen;
  }

  absl::Status Consolidate(const TaskBoundary& /*boundary*/, const ConsolidationSet& examples,
                           StepContext& /*context*/, BoundaryReport* /*report*/) override {
    if (!fills_at_task_end_) return absl::OkStatus();
    absl::flat_hash_map<int64_t, int64_t> taken;  // by unit: a class of one task, per task
    for (int64_t row = 0; row < examples.rows(); ++row) {
      if (taken[examples.targets[row]]++ >= per_class_) continue;
      memory_.Offer(ExampleOf(examples, row));
    }
    return absl::OkStatus();
  }

  void Reconfigure(const StrategyParameters& parameters) override {
    memory_.Reconfigure(parameters);
  }

  void SaveState(StateWriter* writer) const override { memory_.SaveState(writer); }
  absl::Status LoadState(const StateReader& reader) override { return memory_.LoadState(reader); }
  std::vector<MemberKey> Members() const override { return memory_.Members(); }
  std::string Payload(int64_t index) const override { return memory_.Payload(index); }
  absl::Status RestoreMembers(absl::Span<const MemberPayload> payloads) override {
    return memory_.RestoreMembers(payloads);
  }
  void AddGauges(LearnerGauges* gauges) const override { memory_.AddGauges(gauges); }

 private:
  ReplayMemory memory_;
  bool fills_at_task_end_;
  bool weighs_by_task_;
  int64_t per_class_;
  std::vector<int64_t> drawn_;
};

AdmissionPolicy ParsePolicy(const std::string& name) {
  if (name == "class_balanced") return AdmissionPolicy::kClassBalanced;
  if (name == "class_ring") return AdmissionPolicy::kClassRing;
  return name == "task_ring" ? AdmissionPolicy::kTaskRing : AdmissionPolicy::kReservoir;
}

absl::StatusOr<std::unique_ptr<Strategy>> Make(const StrategyParameters& parameters,
                                               const StrategyEnvironment& environment) {
  ExemplarMemoryOptions options;
  options.policy = ParsePolicy(parameters.Choice("policy"));
  options.ring_size = parameters.Integer("ring_size");
  options.bytes_max = parameters.Integer("memory_bytes");
  ENGRAM_ASSIGN_OR_RETURN(ReplayMemory memory,
                          ReplayMemory::Make(parameters, environment, options));
  return std::make_unique<ExperienceReplay>(parameters, std::move(memory));
}

}  // namespace

namespace builtin {

StrategyEntry ExperienceReplay() {
  StrategyEntry entry;
  entry.help.name = "experience_replay";
  entry.help.family = "replay";
  entry.help.paper = "Chaudhry et al. 2019, arXiv 1902.10486; Vitter 1985";
  entry.help.idea =
      "Keep a bounded sample of the whole stream and train on some of it beside every batch.\n"
      "The loss is one mean over stream and exemplars together, or weighs them by the task count.";
  entry.help.memory = "M (4 d + 36) bytes; 2 d or d with storage float16 or uint8";
  entry.help.time = "a step over batch_size + replay_batch_size rows";
  entry.help.when = "Examples may be kept: the strongest simple defence, with or without task ids.";
  entry.help.traits.interleaved_tasks = true;
  entry.help.parameters = {
      MemorySizeParameter(),
      ChoiceParameter("policy", {"reservoir", "class_balanced", "class_ring", "task_ring"})
          .Help("reservoir: every example kept alike; class_balanced: an equal share for every "
                "class seen; class_ring, task_ring: the newest ring_size of each class, of each "
                "task"),
      ReplayRowsParameter(),
      IntegerParameter("ring_size", 100)
          .Between(1, 1e7)
          .Help("of each class or task, under class_ring and task_ring"),
      StorageParameter(),
      IntegerParameter("memory_bytes", 0)
          .AtMost(static_cast<double>(kExemplarBytesMax))
          .Help("budget: fewer than memory_size exemplars where they take more; 0: no budget"),
      ChoiceParameter("fill", {"stream", "task_end"})
          .Help("stream: every batch is offered after its step; task_end: at a boundary, per_class "
                "random examples of each class of the ended task"),
      IntegerParameter("per_class", 100)
          .Between(1, 1e5)
          .Help("examples of each class that task_end offers"),
      ChoiceParameter("weighting", {"by_number", "task_share"})
          .Help("by_number: one mean over all rows; task_share: in task t the stream weighs 1/t, "
                "the memory 1 - 1/t"),
  };
  entry.keeps_exemplars = true;
  entry.make = Make;
  entry.test_parameters = {{"memory_size", int64_t{32}}, {"policy", std::string("class_balanced")}};
  return entry;
}

}  // namespace builtin
}  // namespace engram::strategies
