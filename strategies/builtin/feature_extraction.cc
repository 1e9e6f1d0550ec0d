// Feature extraction (as in Donahue et al. 2014, DeCAF): the layers below the head stay as they
// are, pretrained or drawn, and the head alone learns. No pass backward goes below it.
//
// Memory: 0. Time: below 1x, the forward pass and the head's part of the backward one.
#include <memory>

#include "strategies/core/backbone_rate.h"
#include "strategies/core/registry.h"

namespace engram::strategies {
namespace {

class FeatureExtraction final : public Strategy {
 public:
  explicit FeatureExtraction(const StrategyEnvironment& environment)
      : freeze_(environment.arena, environment.network) {
    freeze_.set_factor(0);
  }

  absl::string_view Name() const override { return "feature_extraction"; }
  StrategyTraits Traits() const override { return {/*interleaved_tasks=*/true, false}; }

  absl::StatusOr<Observation> Observe(TrainingBatch& batch, StepContext& context,
                                      Next next) override {
    // Without a trace a layer gets no gradient, but decay reaches what a flat update runs over.
    if (context.optimizer().options().weight_decay > 0) context.AddObserver(&freeze_);
    return next(batch, context);
  }

 private:
  BackboneRate freeze_;
};

}  // namespace

namespace builtin {

StrategyEntry FeatureExtraction() {
  StrategyEntry entry;
  entry.help.name = "feature_extraction";
  entry.help.family = "transfer";
  entry.help.paper = "Donahue et al. 2014, DeCAF, ICML";
  entry.help.idea = "The layers below the head stay as they are; the head alone learns.";
  entry.help.memory = "0";
  entry.help.time = "below 1x: no pass backward below the head";
  entry.help.when =
      "The network below the head is pretrained. The head still forgets: combine it with replay.";
  entry.help.traits.interleaved_tasks = true;
  entry.make =
      [](const StrategyParameters&,
         const StrategyEnvironment& environment) -> absl::StatusOr<std::unique_ptr<Strategy>> {
    if (!environment.network->FreezeBelowHead()) {
      return absl::InvalidArgumentError(
          "feature_extraction: this network cannot be frozen below its head");
    }
    return std::make_unique<strategies::FeatureExtraction>(environment);
  };
  return entry;
}

}  // namespace builtin
}  // namespace engram::strategies
