// Reptile over a stream (Nichol et al. 2018, "On first-order meta-learning algorithms", algorithm
// 1): from the weights theta, inner_steps plain steps, each on the stream's rows and on exemplars
// drawn anew, lead to theta~; then
//   theta <- theta + epsilon (theta~ - theta)
// Several steps along different samples whose sum is partly undone reward gradients that agree
// between them (section 5.1). Parameters alone are drawn back: an optimizer's moments keep running.
// mer.cc is the same idea example by example.
//
// Memory: M exemplars of 4 d + 36 bytes, P floats. Time: inner_steps steps over the longer batch.
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

class Reptile final : public Strategy {
 public:
  Reptile(const StrategyParameters& parameters, const StrategyEnvironment& environment,
          std::unique_ptr<ExemplarMemory> memory)
      : memory_(std::move(memory)),
        before_(environment.arena->AddCompanion("reptile.before",
                                                ParameterArena::Persistence::kDerived)) {
    Reconfigure(parameters);
  }

  absl::string_view Name() const override { return "reptile"; }
  StrategyTraits Traits() const override { return {/*interleaved_tasks=*/true, false}; }
  int64_t ExtraRows(int64_t batch_size) const override {
    return std::max(batch_size, kReplayRowsMax);  // replay_batch_size may change live
  }

  absl::StatusOr<Observation> Observe(TrainingBatch& batch, StepContext& context,
                                      Next next) override {
    const at::Tensor& before = context.arena().Companion(before_);
    before.copy_(context.arena().flat());
    ENGRAM_RETURN_IF_ERROR(AppendExemplars(batch, context));
    ENGRAM_ASSIGN_OR_RETURN(Observation seen, next(batch, context));
    if (seen.skipped) return seen;
    for (int64_t step = 1; step < inner_steps_; ++step) {
      batch.DropAppended();
      ENGRAM_RETURN_IF_ERROR(AppendExemplars(batch, context));
      context.Augment(batch);
      const double loss = context.LossAndBackward(batch, context.Forward(batch));
      // What was learned so far is kept.
      if (context.Guard(loss).has_value() || context.Update().has_value()) break;
    }
    context.arena().flat().lerp_(before, 1 - epsilon_);
    for (int64_t row = 0; row < batch.stream_rows(); ++row) memory_->Offer(batch.Example(row));
    return seen;
  }

  void Reconfigure(const StrategyParameters& parameters) override {
    replay_rows_ = parameters.Integer("replay_batch_size");
    inner_steps_ = parameters.Integer("inner_steps");
    epsilon_ = parameters.Number("epsilon");
  }

  std::vector<MemberKey> Members() const override { return memory_->Members(); }
  std::string Payload(int64_t index) const override { return memory_->Payload(index); }
  absl::Status RestoreMembers(absl::Span<const MemberPayload> payloads) override {
    return memory_->Restore(payloads, {});
  }
  void AddGauges(LearnerGauges* gauges) const override {
    memory_->CountByTask(&gauges->episodic_by_task);
    memory_->CountByClass(&gauges->episodic_by_class);
    gauges->episodic_bytes += memory_->Bytes();
  }

 private:
  absl::Status AppendExemplars(TrainingBatch& batch, StepContext& context) {
    memory_->Draw(
        replay_rows_ > 0 ? replay_rows_ : batch.stream_rows(),
        [&context] { return context.generator().Next(); }, &drawn_);
    for (const int64_t slot : drawn_) ENGRAM_RETURN_IF_ERROR(batch.Append(memory_->At(slot)));
    return absl::OkStatus();
  }

  std::unique_ptr<ExemplarMemory> memory_;
  CompanionId before_;
  int64_t replay_rows_ = 0;
  int64_t inner_steps_ = 0;
  double epsilon_ = 0;
  std::vector<int64_t> drawn_;
};

absl::StatusOr<std::unique_ptr<Strategy>> Make(const StrategyParameters& parameters,
                                               const StrategyEnvironment& environment) {
  ExemplarMemoryOptions options;
  options.capacity = parameters.Integer("memory_size");
  options.feature_count = environment.feature_count;
  options.seed = environment.seed;
  options.memory = environment.memory;
  options.max_sender_share = environment.max_sender_share;
  ENGRAM_ASSIGN_OR_RETURN(std::unique_ptr<ExemplarMemory> memory, ExemplarMemory::Create(options));
  return std::make_unique<Reptile>(parameters, environment, std::move(memory));
}

}  // namespace

namespace builtin {

StrategyEntry Reptile() {
  StrategyEntry entry;
  entry.help.name = "reptile";
  entry.help.family = "meta-learning";
  entry.help.paper = "Nichol et al. 2018, arXiv 1803.02999";
  entry.help.idea =
      "Take several steps on each batch, fresh exemplars in each, then keep a share of the way.\n"
      "Directions on which the samples agree add up, those on which they do not are mostly undone.";
  entry.help.memory = "M (4 d + 36) bytes, P floats";
  entry.help.time = "inner_steps steps over batch_size + replay_batch_size rows";
  entry.help.when =
      "Examples may be kept and come slowly enough for several steps each; far cheaper than mer.";
  entry.help.traits.interleaved_tasks = true;
  entry.help.parameters = {
      IntegerParameter("memory_size", 1000).Between(1, 1e7).Help("exemplars kept, M"),
      IntegerParameter("replay_batch_size", 0)
          .AtMost(kReplayRowsMax)
          .Live()
          .Help("exemplars a step; 0 = as many as there are stream rows"),
      IntegerParameter("inner_steps", 5).Between(1, 100).Live().Help("steps on each batch"),
      NumberParameter("epsilon", 0.5).AtMost(1).Live().Help("share of the way that is kept"),
  };
  entry.keeps_exemplars = true;
  entry.alone = true;
  entry.make = Make;
  entry.test_parameters = {{"memory_size", int64_t{32}}};
  return entry;
}

}  // namespace builtin
}  // namespace engram::strategies
