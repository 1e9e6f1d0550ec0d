// Fine-tuning with a slow backbone (SLCA, Zhang et al. 2023, ICCV): all of the network learns, the
// layers below the head at `backbone_rate` times the learning rate, so that a pretrained or well
// trained representation moves less than the head that has to follow the stream. The layers below
// are a parameter group of torch.optim: weight decay and quadratic penalties go by its rate.
//
// Memory: 0. Time: 0.
#include <memory>

#include "strategies/core/registry.h"

namespace engram::strategies {
namespace {

class FineTuning final : public Strategy {
 public:
  explicit FineTuning(const StrategyParameters& parameters) { Reconfigure(parameters); }

  absl::string_view Name() const override { return "fine_tuning"; }
  StrategyTraits Traits() const override { return {/*interleaved_tasks=*/true, false}; }

  absl::StatusOr<Observation> Observe(TrainingBatch& batch, StepContext& context,
                                      Next next) override {
    context.SlowBackbone(backbone_rate_);
    return next(batch, context);
  }

  void Reconfigure(const StrategyParameters& parameters) override {
    backbone_rate_ = parameters.Number("backbone_rate");
  }

 private:
  double backbone_rate_ = 1;
};

}  // namespace

namespace builtin {

StrategyEntry FineTuning() {
  StrategyEntry entry;
  entry.help.name = "fine_tuning";
  entry.help.family = "transfer";
  entry.help.paper = "Zhang et al. 2023, SLCA: slow learner with classifier alignment, ICCV";
  entry.help.idea =
      "Trains the whole network, the layers below the head at a fraction of the learning rate.";
  entry.help.memory = "0";
  entry.help.time = "1x";
  entry.help.when =
      "The network below the head is pretrained or well trained. Alone it slows forgetting and "
      "does not stop it: combine it with replay.";
  entry.help.traits.interleaved_tasks = true;
  ParameterHelp rate;
  rate.name = "backbone_rate";
  rate.default_value = 0.1;
  rate.max = 1;
  rate.live = true;
  rate.help = "factor on the learning rate below the head; 1 = finetune";
  entry.help.parameters = {rate};
  entry.make =
      [](const StrategyParameters& parameters,
         const StrategyEnvironment&) -> absl::StatusOr<std::unique_ptr<Strategy>> {
    return std::make_unique<strategies::FineTuning>(parameters);
  };
  entry.test_parameters = {{"backbone_rate", 0.5}};
  return entry;
}

}  // namespace builtin
}  // namespace engram::strategies
