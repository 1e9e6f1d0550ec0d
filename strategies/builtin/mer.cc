// Meta-experience replay (Riemer et al. 2019, "Learning to learn without forgetting by maximizing
// transfer and minimizing interference", algorithm 1). For each example of the stream, from weights
// theta_A, `batches` times: from weights theta_B, one step on each of batch_rows - 1 exemplars and
// then on the example itself, one example a step, one after the other; then
//   theta <- theta_B + beta (theta - theta_B)          within the batch
// and after all batches, before the example is offered to the reservoir,
//   theta <- theta_A + gamma (theta - theta_A)         across them
// Steps in sequence are the method: one joint step over a batch has no term that aligns gradients.
// Exemplars are drawn without replacement, with it when more are wanted than there are. Parameters
// alone are drawn back: an optimizer's moments keep running. A step that is refused (guard,
// max_update_norm) is left out, and an example none of whose own steps was made is not kept.
//
// Memory: M exemplars of 4 d + 36 bytes, 2 P floats. Time: batches x batch_rows steps an example.
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "storage/base/status_macros.h"
#include "strategies/core/registry.h"
#include "strategies/memory/exemplar_memory.h"

namespace engram::strategies {
namespace {

class Mer final : public Strategy {
 public:
  Mer(const StrategyParameters& parameters, const StrategyEnvironment& environment,
      std::unique_ptr<ExemplarMemory> memory)
      : memory_(std::move(memory)),
        single_(environment.feature_count, 1),
        before_batch_(environment.arena->AddCompanion("mer.before_batch",
                                                      ParameterArena::Persistence::kDerived)),
        before_example_(environment.arena->AddCompanion("mer.before_example",
                                                        ParameterArena::Persistence::kDerived)) {
    Reconfigure(parameters);
  }

  absl::string_view Name() const override { return "mer"; }
  StrategyTraits Traits() const override { return {/*interleaved_tasks=*/true, false}; }

  absl::StatusOr<Observation> Observe(TrainingBatch& batch, StepContext& context, Next) override {
    Observation seen = Look(batch, context);
    if (seen.skipped) return seen;
    moved_ = false;
    for (int64_t row = 0; row < batch.stream_rows(); ++row) {
      const ExemplarView example = batch.Example(row);
      ENGRAM_ASSIGN_OR_RETURN(const bool learned,
                              Learn(example, batch.weights()[row], context));
      if (learned) memory_->Offer(example);
    }
    seen.skipped = !moved_;
    if (seen.skipped) seen.skip_reason = absl::StrCat("every step: ", refusal_);
    return seen;
  }

  void Reconfigure(const StrategyParameters& parameters) override {
    batches_ = parameters.Integer("batches");
    batch_rows_ = parameters.Integer("batch_rows");
    beta_ = parameters.Number("beta");
    gamma_ = parameters.Number("gamma");
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
  // The stream's rows before any of them is learned; one that is not finite skips them all.
  static Observation Look(const TrainingBatch& batch, StepContext& context) {
    const at::Tensor& logits = context.Forward(batch);
    Observation seen;
    seen.logits = logits.clone();
    seen.loss = context.LossAndBackward(batch, logits);
    absl::optional<std::string> reason = context.Guard(seen.loss);
    seen.skipped = reason.has_value();
    seen.skip_reason = std::move(reason).value_or("");
    return seen;
  }

  // Whether a step on the example itself was made: one that was refused is not kept.
  absl::StatusOr<bool> Learn(const ExemplarView& example, float weight, StepContext& context) {
    const at::Tensor& theta = context.arena().flat();
    const at::Tensor& before_example = context.arena().Companion(before_example_);
    const at::Tensor& before_batch = context.arena().Companion(before_batch_);
    before_example.copy_(theta);
    bool learned = false;
    for (int64_t batch = 0; batch < batches_; ++batch) {
      memory_->Draw(
          batch_rows_ - 1, [&context] { return context.generator().Next(); }, &drawn_);
      before_batch.copy_(theta);
      for (const int64_t slot : drawn_) {
        ENGRAM_RETURN_IF_ERROR(StepOn(memory_->At(slot), 1, context).status());
      }
      ENGRAM_ASSIGN_OR_RETURN(const bool stepped, StepOn(example, weight, context));
      learned = learned || stepped;
      theta.lerp_(before_batch, 1 - beta_);
    }
    theta.lerp_(before_example, 1 - gamma_);
    return learned;
  }

  // Whether it was made: a step that the guard refuses is left out.
  absl::StatusOr<bool> StepOn(const ExemplarView& example, float weight, StepContext& context) {
    single_.Clear(context.units());
    ENGRAM_RETURN_IF_ERROR(single_.Append(example, weight));
    context.Augment(single_);
    const double loss = context.LossAndBackward(single_, context.Forward(single_));
    absl::optional<std::string> reason = context.Guard(loss);
    if (!reason.has_value()) reason = context.Update();
    if (reason.has_value()) {
      refusal_ = *std::move(reason);
      return false;
    }
    moved_ = true;
    return true;
  }

  std::unique_ptr<ExemplarMemory> memory_;
  TrainingBatch single_;
  CompanionId before_batch_;
  CompanionId before_example_;
  int64_t batches_ = 0;
  int64_t batch_rows_ = 0;
  double beta_ = 0;
  double gamma_ = 0;
  std::vector<int64_t> drawn_;
  bool moved_ = false;   // a step of this batch was made
  std::string refusal_;  // why the latest was not
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
  return std::make_unique<Mer>(parameters, environment, std::move(memory));
}

}  // namespace

namespace builtin {

StrategyEntry Mer() {
  StrategyEntry entry;
  entry.help.name = "mer";
  entry.help.family = "meta-learning";
  entry.help.paper = "Riemer et al. 2019, ICLR, arXiv 1810.11910";
  entry.help.idea =
      "Learn each example in turn with stored ones, one a step, then keep a share of the way.\n"
      "Steps in sequence whose sum is partly undone reward gradients that point the same way:\n"
      "what helps one example helps the others.";
  entry.help.memory = "M (4 d + 36) bytes, 2 P floats";
  entry.help.time = "batches x batch_rows steps an example, 100 at the defaults";
  entry.help.when =
      "A slow stream where every example counts, and examples may be kept; needs no task ids.";
  entry.help.traits.interleaved_tasks = true;
  entry.help.parameters = {
      IntegerParameter("memory_size", 1000).Between(1, 1e7).Help("exemplars kept, M"),
      IntegerParameter("batches", 10).Between(1, 100).Live().Help("batches an example, s"),
      IntegerParameter("batch_rows", 10)
          .Between(1, 1000)
          .Live()
          .Help("steps a batch, k: the example and k - 1 exemplars"),
      NumberParameter("beta", 0.03).AtMost(1).Live().Help("share of the way kept within a batch"),
      NumberParameter("gamma", 1.0)
          .AtMost(1)
          .Live()
          .Help("share of the way kept across the batches of an example"),
  };
  entry.keeps_exemplars = true;
  entry.alone = true;
  entry.augmentation = AugmentationSupport::kUnmixed;
  entry.make = Make;
  entry.test_parameters = {{"memory_size", int64_t{32}},
                           {"batches", int64_t{3}},
                           {"batch_rows", int64_t{4}},
                           {"beta", 0.3}};
  return entry;
}

}  // namespace builtin
}  // namespace engram::strategies
