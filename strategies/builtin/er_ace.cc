// Replay with an asymmetric cross-entropy, ER-ACE (Caccia et al. 2022, "New insights on reducing
// abrupt representation change in online continual learning", eq. 3):
//   L = CE(f(x), y | C_new) + CE(f(x'), y' | C_seen)
// The stream's rows compete among the classes of their own batch only, so that new classes do not
// push the old ones away; exemplars compete among all classes seen. Two means, one to one.
// C_seen is kept as a set: class indices need not come in order (the authors' code leaves all
// indices above the highest seen unmasked). Where heads are per task, both stay inside the row's.
//
// New classes are told from old ones by replay alone, so as fast as they enter the memory.
//
// Memory: M exemplars of 4 d + 36 bytes, the set. Time: the step over the longer batch.
#include <algorithm>
#include <iterator>
#include <memory>
#include <utility>
#include <vector>

#include "storage/base/status_macros.h"
#include "strategies/core/replay_memory.h"

namespace engram::strategies {
namespace {

using UnitSet = std::vector<int64_t>;  // ascending

constexpr char kBalanced[] = "class_balanced";

// Targets of the stream's rows of `task`; without heads per task, of all its rows.
UnitSet PresentUnits(const TrainingBatch& batch, int32_t task, bool per_task) {
  UnitSet present;
  for (int64_t row = 0; row < batch.stream_rows(); ++row) {
    if (per_task && batch.tasks()[row] != task) continue;
    present.push_back(batch.targets()[row]);
  }
  std::sort(present.begin(), present.end());
  present.erase(std::unique(present.begin(), present.end()), present.end());
  return present;
}

UnitSet Union(const UnitSet& a, const UnitSet& b) {
  UnitSet both;
  std::set_union(a.begin(), a.end(), b.begin(), b.end(), std::back_inserter(both));
  return both;
}

class ErAce final : public Strategy {
 public:
  ErAce(const StrategyParameters& parameters, ReplayMemory memory) : memory_(std::move(memory)) {
    Reconfigure(parameters);
  }

  absl::string_view Name() const override { return "er_ace"; }
  StrategyTraits Traits() const override { return {/*interleaved_tasks=*/true, false}; }
  int64_t ExtraRows(int64_t batch_size) const override { return ReplayRowsMax(batch_size); }

  absl::StatusOr<Observation> Observe(TrainingBatch& batch, StepContext& context,
                                      Next next) override {
    const int64_t first = batch.rows();
    const bool per_task = context.units().per_task();
    UnitSet seen_units = Union(seen_, PresentUnits(batch, 0, /*per_task=*/false));
    ENGRAM_RETURN_IF_ERROR(memory_.Replay(context, &batch, &drawn_));
    LimitStream(per_task, &batch);
    batch.SetShare(0, first, 1);
    if (batch.rows() > first) {
      batch.SetShare(first, batch.rows(), 1);
      if (!per_task) batch.LimitUnits(first, batch.rows(), seen_units);
    }
    ENGRAM_ASSIGN_OR_RETURN(Observation seen, next(batch, context));
    if (seen.skipped) return seen;
    memory_.OfferStream(batch);
    seen_ = std::move(seen_units);
    return seen;
  }

  void Reconfigure(const StrategyParameters& parameters) override {
    memory_.Reconfigure(parameters);
  }

  void SaveState(StateWriter* writer) const override {
    memory_.SaveState(writer);
    writer->PutInts("seen_units", seen_);
  }
  absl::Status LoadState(const StateReader& reader) override {
    ENGRAM_ASSIGN_OR_RETURN(seen_, reader.GetInts("seen_units"));
    return memory_.LoadState(reader);
  }
  std::vector<MemberKey> Members() const override { return memory_.Members(); }
  std::string Payload(int64_t index) const override { return memory_.Payload(index); }
  absl::Status RestoreMembers(absl::Span<const MemberPayload> payloads) override {
    return memory_.RestoreMembers(payloads);
  }
  void AddGauges(LearnerGauges* gauges) const override { memory_.AddGauges(gauges); }

 private:
  // By runs of rows of one task.
  static void LimitStream(bool per_task, TrainingBatch* batch) {
    int64_t begin = 0;
    while (begin < batch->stream_rows()) {
      const int32_t task = batch->tasks()[begin];
      int64_t end = begin + 1;
      while (end < batch->stream_rows() && (!per_task || batch->tasks()[end] == task)) ++end;
      batch->LimitUnits(begin, end, PresentUnits(*batch, task, per_task));
      begin = end;
    }
  }

  ReplayMemory memory_;
  UnitSet seen_;  // units of the classes learned so far
  std::vector<int64_t> drawn_;
};

}  // namespace

namespace builtin {

StrategyEntry ErAce() {
  StrategyEntry entry;
  entry.help.name = "er_ace";
  entry.help.family = "replay";
  entry.help.paper = "Caccia et al. 2022, ICLR, arXiv 2104.05025";
  entry.help.idea =
      "Replay beside the stream, but let stream examples compete only with the classes of their\n"
      "own batch: new classes then do not push the old ones out of the representation.";
  entry.help.memory = "M (4 d + 36) bytes; 2 d or d with storage float16 or uint8";
  entry.help.time = "a step over batch_size + replay_batch_size rows";
  entry.help.when = "New classes keep coming, several of them in each batch, and memory is small.";
  entry.help.traits.interleaved_tasks = true;
  entry.help.parameters = {
      MemorySizeParameter(),
      ChoiceParameter("policy", {"reservoir", kBalanced})
          .Help("reservoir: every example kept alike; class_balanced: an equal share for every "
                "class seen, from which a new class is learned sooner"),
      ReplayRowsParameter(), StorageParameter()};
  entry.keeps_exemplars = true;
  entry.make =
      [](const StrategyParameters& parameters,
         const StrategyEnvironment& environment) -> absl::StatusOr<std::unique_ptr<Strategy>> {
    ExemplarMemoryOptions options;
    if (parameters.Choice("policy") == kBalanced) options.policy = AdmissionPolicy::kClassBalanced;
    ENGRAM_ASSIGN_OR_RETURN(ReplayMemory memory,
                            ReplayMemory::Make(parameters, environment, options));
    return std::make_unique<strategies::ErAce>(parameters, std::move(memory));
  };
  entry.test_parameters = {{"memory_size", int64_t{32}}, {"policy", std::string(kBalanced)}};
  return entry;
}

}  // namespace builtin
}  // namespace engram::strategies
