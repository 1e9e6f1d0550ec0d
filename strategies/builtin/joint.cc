// Joint training, the upper bound of every table: all examples are kept, and a step trains on a
// batch drawn uniformly from all of them, those that have just come included, without replacement
// where there are enough:
//   theta <- theta - eta grad 1/b sum_{(x, y) in B} w CE(f(x), y),  B drawn from all seen so far
// No order of the tasks is left in what is trained on. An example weighs in the loss as it did in
// the stream. Under repeats = once several passes over the same examples are one set of them, drawn
// from in every step: what a shuffled pass over all data is made of.
//
// A batch of the stream is measured and guarded first, so that what would break a step is not kept;
// when the batch drawn breaks the step all the same, the step is skipped and the rows stay. Beyond
// its size or its bytes the memory is a uniform sample of all that was seen (a reservoir): draws
// keep their law, and the gauge joint_full says that it is no longer all.
//
// Memory: n examples of 4 d + 44 bytes (2 d, d for packed features; 16 more under repeats = once).
// Time: forward and backward through the stream's rows, and `steps` steps over the drawn ones.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/types/span.h"
#include "storage/base/status_macros.h"
#include "strategies/core/replay_memory.h"

namespace engram::strategies {
namespace {

class Joint final : public Strategy {
 public:
  Joint(const StrategyParameters& parameters, const StrategyEnvironment& environment,
        ReplayMemory memory)
      : memory_(std::move(memory)),
        drawn_(environment.feature_count, ReplayRowsMax(environment.batch_size)) {
    Reconfigure(parameters);
  }

  absl::string_view Name() const override { return "joint"; }
  StrategyTraits Traits() const override { return {/*interleaved_tasks=*/true, false}; }

  absl::StatusOr<Observation> Observe(TrainingBatch& batch, StepContext& context,
                                      Next next) override {
    const at::Tensor& logits = context.Forward(batch);
    Observation seen;
    seen.logits = context.KeepLogits(logits, batch.stream_rows());
    seen.loss = context.LossAndBackward(batch, logits);
    absl::optional<std::string> reason = context.Guard(seen.loss);
    // What the guard or the cap refuses is not kept either.
    if (!reason.has_value()) reason = context.TryUpdate();
    if (!reason.has_value()) {
      Keep(batch);
      for (int64_t step = 0; step < steps_ && !reason.has_value(); ++step) {
        ENGRAM_ASSIGN_OR_RETURN(reason, TrainOnDraw(batch.stream_rows(), context, next));
      }
    }
    seen.skipped = reason.has_value();
    seen.skip_reason = std::move(reason).value_or("");
    return seen;
  }

  void Reconfigure(const StrategyParameters& parameters) override {
    memory_.Reconfigure(parameters);
    steps_ = parameters.Integer("steps");
  }

  void SaveState(StateWriter* writer) const override { memory_.SaveState(writer); }
  absl::Status LoadState(const StateReader& reader) override { return memory_.LoadState(reader); }
  std::vector<MemberKey> Members() const override { return memory_.Members(); }
  std::string Payload(int64_t index) const override { return memory_.Payload(index); }
  absl::Status RestoreMembers(absl::Span<const MemberPayload> payloads) override {
    return memory_.RestoreMembers(payloads);
  }
  void AddGauges(LearnerGauges* gauges) const override {
    memory_.AddGauges(gauges);
    const ExemplarMemory& kept = memory_.exemplars();
    gauges->named["joint_full"] = kept.size() == kept.options().capacity ? 1 : 0;
  }

 private:
  void Keep(const TrainingBatch& batch) {
    for (int64_t row = 0; row < batch.stream_rows(); ++row) {
      ExemplarView example = batch.Example(row);
      example.side = batch.weights().subspan(static_cast<size_t>(row), 1);
      memory_.Offer(example);
    }
  }

  // Answers why the step was skipped.
  absl::StatusOr<absl::optional<std::string>> TrainOnDraw(int64_t stream_rows, StepContext& context,
                                                          Next next) {
    memory_.Draw(stream_rows, context, &slots_);
    if (slots_.empty()) return absl::make_optional<std::string>("no example fits the memory");
    drawn_.Clear(context.units());
    for (const int64_t slot : slots_) {
      const ExemplarView example = memory_.exemplars().At(slot);
      ENGRAM_RETURN_IF_ERROR(drawn_.Append(example, example.side[0]));
    }
    // One that is refused is left out: the batch is kept, so it is not skipped.
    ENGRAM_RETURN_IF_ERROR(next(drawn_, context).status());
    return absl::optional<std::string>();
  }

  ReplayMemory memory_;
  int64_t steps_ = 1;
  std::vector<int64_t> slots_;
  TrainingBatch drawn_;
};

absl::StatusOr<std::unique_ptr<Strategy>> Make(const StrategyParameters& parameters,
                                               const StrategyEnvironment& environment) {
  ExemplarMemoryOptions options;
  options.bytes_max = parameters.Integer("memory_bytes");
  options.distinct = parameters.Choice("repeats") == "once";
  options.side_values_max = 1;  // the example's weight
  ENGRAM_ASSIGN_OR_RETURN(ReplayMemory memory,
                          ReplayMemory::Make(parameters, environment, options));
  return std::make_unique<Joint>(parameters, environment, std::move(memory));
}

std::vector<ParameterHelp> Parameters() {
  ParameterHelp size = MemorySizeParameter();
  size.default_value = static_cast<int64_t>(size.max);
  size.help = "examples kept; beyond them the memory is a uniform sample of all seen";
  const ParameterHelp bytes =
      IntegerParameter("memory_bytes", int64_t{2} << 30)
          .AtMost(static_cast<double>(kExemplarBytesMax))
          .Help("budget: fewer than memory_size examples where they take more; 0: no budget");
  ParameterHelp storage = StorageParameter();
  storage.help =
      "form of kept features; uint8 is round(255 x) of x in [0, 1]; an example that the form "
      "cannot hold is left out";
  return {size,
          bytes,
          ReplayRowsParameter(),
          storage,
          ChoiceParameter("repeats", {"each", "once"})
              .Help("each: an example weighs as often as it comes; once: equal features, label and "
                    "task are one example, however often they come"),
          IntegerParameter("steps", 1)
              .Between(1, 1000)
              .Live()
              .Help("draws, each with a step of its own, for a batch of the stream")};
}

}  // namespace

namespace builtin {

StrategyEntry Joint() {
  StrategyEntry entry;
  entry.help.name = "joint";
  entry.help.family = "baseline";
  entry.help.paper = "Caruana 1997, Multitask Learning; van de Ven et al. 2022, \"joint\"";
  entry.help.idea =
      "Keep every example and train each step on a batch drawn from all of them.\n"
      "What no strategy that must forget its examples can beat: the upper bound of a comparison.";
  entry.help.memory = "n (4 d + 44) bytes for n examples; 2 d or d with storage float16 or uint8";
  entry.help.time = "1 + steps steps over as many rows as the stream's batch";
  entry.help.when = "To know what could be reached, or where all examples may be kept for good.";
  entry.help.traits.interleaved_tasks = true;
  entry.help.parameters = Parameters();
  entry.keeps_exemplars = true;
  entry.alone = true;
  entry.make = Make;
  entry.test_parameters = {{"memory_size", int64_t{512}}, {"steps", int64_t{2}}};
  return entry;
}

}  // namespace builtin
}  // namespace engram::strategies
