// Experience replay (Chaudhry et al. 2019, "On tiny episodic memories in continual learning",
// algorithm 1 with the reservoir of Vitter 1985): each step trains on the stream's rows and on
// exemplars drawn from the memory, then offers the stream's rows to it.
//   theta <- theta - eta grad (1 / |B u M|) sum_{(x, y) in B u M} CE(f(x), y)
// One mean over the concatenation: stream and memory weigh by their sizes. Rows are offered after
// the step, so that none is replayed beside itself, and not at all when the step was skipped.
// Exemplars are drawn without replacement, with it when more are wanted than there are.
//
// Memory: M exemplars of 4 d + 36 bytes. Time: the step over the longer batch.
#include <algorithm>
#include <memory>
#include <utility>
#include <vector>

#include "storage/base/status_macros.h"
#include "strategies/core/registry.h"
#include "strategies/memory/exemplar_memory.h"

namespace engram::strategies {
namespace {

constexpr int64_t kReplayRowsMax = 1024;

class ExperienceReplay final : public Strategy {
 public:
  ExperienceReplay(const StrategyParameters& parameters, std::unique_ptr<ExemplarMemory> memory)
      : memory_(std::move(memory)) {
    Reconfigure(parameters);
  }

  absl::string_view Name() const override { return "experience_replay"; }
  StrategyTraits Traits() const override { return {/*interleaved_tasks=*/true, false}; }
  int64_t ExtraRows(int64_t batch_size) const override {
    return std::max(batch_size, kReplayRowsMax);  // replay_batch_size may change live
  }

  absl::StatusOr<Observation> Observe(TrainingBatch& batch, StepContext& context,
                                      Next next) override {
    const int64_t wanted = replay_rows_ > 0 ? replay_rows_ : batch.stream_rows();
    memory_->Draw(
        wanted, [&context] { return context.generator().Next(); }, &drawn_);
    for (const int64_t slot : drawn_) {
      const ExemplarView exemplar = memory_->At(slot);
      ENGRAM_RETURN_IF_ERROR(batch.AppendRow(exemplar.features.data(), exemplar.class_index,
                                             exemplar.task, exemplar.sequence));
    }
    ENGRAM_ASSIGN_OR_RETURN(Observation seen, next(batch, context));
    if (!seen.skipped) Remember(batch);
    return seen;
  }

  void Reconfigure(const StrategyParameters& parameters) override {
    replay_rows_ = parameters.Integer("replay_batch_size");
  }

  void SaveState(StateWriter* writer) const override {
    const std::vector<int32_t>& order = memory_->class_order();
    writer->PutInts("class_order", std::vector<int64_t>(order.begin(), order.end()));
  }
  absl::Status LoadState(const StateReader& reader) override {
    ENGRAM_ASSIGN_OR_RETURN(const std::vector<int64_t> order, reader.GetInts("class_order"));
    restored_class_order_.assign(order.begin(), order.end());
    return absl::OkStatus();
  }
  std::vector<MemberKey> Members() const override { return memory_->Members(); }
  std::string Payload(int64_t index) const override { return memory_->Payload(index); }
  absl::Status RestoreMembers(absl::Span<const MemberPayload> payloads) override {
    return memory_->Restore(payloads, std::exchange(restored_class_order_, {}));
  }

  void AddGauges(LearnerGauges* gauges) const override {
    memory_->CountByTask(&gauges->episodic_by_task);
    gauges->episodic_bytes += memory_->Bytes();
  }

 private:
  void Remember(const TrainingBatch& batch) {
    for (int64_t row = 0; row < batch.stream_rows(); ++row) {
      memory_->Offer({absl::MakeConstSpan(batch.row(row), batch.feature_count()),
                      batch.classes()[row], batch.tasks()[row], batch.sequences()[row]});
    }
  }

  std::unique_ptr<ExemplarMemory> memory_;
  int64_t replay_rows_ = 0;
  std::vector<int64_t> drawn_;
  std::vector<int32_t> restored_class_order_;  // between LoadState and RestoreMembers
};

absl::StatusOr<std::unique_ptr<Strategy>> Make(const StrategyParameters& parameters,
                                               const StrategyEnvironment& environment) {
  ExemplarMemoryOptions options;
  options.capacity = parameters.Integer("memory_size");
  options.feature_count = environment.feature_count;
  options.policy = parameters.Choice("policy") == "class_balanced" ? AdmissionPolicy::kClassBalanced
                                                                   : AdmissionPolicy::kReservoir;
  options.seed = environment.seed;
  options.memory = environment.memory;
  ENGRAM_ASSIGN_OR_RETURN(std::unique_ptr<ExemplarMemory> memory, ExemplarMemory::Create(options));
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
      "The loss is one mean over stream and exemplars together.";
  entry.help.memory = "M (4 d + 36) bytes";
  entry.help.time = "a step over batch_size + replay_batch_size rows";
  entry.help.when = "Examples may be kept: the strongest simple defence, with or without task ids.";
  entry.help.traits.interleaved_tasks = true;
  entry.help.parameters = {
      {"memory_size",
       ParameterKind::kInteger,
       int64_t{1000},
       1,
       1e7,
       {},
       false,
       "exemplars kept, M"},
      {"policy",
       ParameterKind::kChoice,
       std::string("reservoir"),
       0,
       0,
       {"reservoir", "class_balanced"},
       false,
       "reservoir: every example kept alike; class_balanced: an equal share for every class seen"},
      {"replay_batch_size",
       ParameterKind::kInteger,
       int64_t{0},
       0,
       static_cast<double>(kReplayRowsMax),
       {},
       true,
       "exemplars a step; 0 = as many as there are stream rows"},
  };
  entry.keeps_exemplars = true;
  entry.make = Make;
  entry.test_parameters = {{"memory_size", int64_t{32}}, {"policy", std::string("class_balanced")}};
  return entry;
}

}  // namespace builtin
}  // namespace engram::strategies
