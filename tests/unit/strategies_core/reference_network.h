// A network under test beside the same one in torch::nn, with equal weights.
#pragma once

#include <torch/torch.h>

#include <memory>
#include <vector>

#include "storage/base/check.h"
#include "strategies/core/optimizer.h"
#include "strategies/core/parameter_arena.h"
#include "strategies/core/step_context.h"
#include "strategies/core/training_batch.h"
#include "strategies/core/unit_map.h"
#include "strategies/models/mlp.h"

namespace engram::strategies {

// Our parts of a step, put together by hand.
struct Rig {
  explicit Rig(const ModelOptions& model)
      : options(model), generator(model.seed), units(model.head) {
    MlpOptions mlp;
    mlp.feature_count = model.feature_count;
    mlp.hidden = model.hidden;
    mlp.units = units.size();
    network = MakeMlp(mlp, &arena, &generator);
    optimizer = std::make_unique<Optimizer>(model.optimizer, &arena);
    context = std::make_unique<StepContext>(&options, &arena, network.get(), optimizer.get(),
                                            &units, &generator);
    batch = std::make_unique<TrainingBatch>(model.feature_count, 256);
  }

  // Grows as the learner does and takes the rows over.
  void Load(const BatchView& view) {
    int64_t added = 0;
    ENGRAM_CHECK(units.Admit(view.classes, view.tasks, &added).ok());
    if (added > 0) network->AddUnits(added, &generator);
    batch->Reset(view, units);
  }

  ModelOptions options;
  Generator generator;
  ParameterArena arena;
  UnitMap units;
  std::unique_ptr<Network> network;
  std::unique_ptr<Optimizer> optimizer;
  std::unique_ptr<StepContext> context;
  std::unique_ptr<TrainingBatch> batch;
};

// The rig's parameters as leaves of autograd, in the arena's order: weight, bias, weight, bias ...
inline std::vector<torch::Tensor> CloneParameters(const ParameterArena& arena) {
  std::vector<torch::Tensor> clones;
  for (size_t id = 0; id < arena.slots().size(); ++id) {
    torch::Tensor values = arena.View(static_cast<ParameterId>(id)).clone();
    if (values.size(1) == 1 && id % 2 == 1) values = values.squeeze(1).clone();
    clones.push_back(values.set_requires_grad(true));
  }
  return clones;
}

inline torch::Tensor ReferenceForward(const std::vector<torch::Tensor>& parameters,
                                      torch::Tensor values) {
  for (size_t i = 0; i < parameters.size(); i += 2) {
    values = torch::nn::functional::linear(values, parameters[i], parameters[i + 1]);
    if (i + 2 < parameters.size()) values = torch::relu(values);
  }
  return values;
}

inline torch::Tensor ReferenceLoss(const std::vector<torch::Tensor>& parameters,
                                   const TrainingBatch& batch) {
  const torch::Tensor logits = ReferenceForward(parameters, batch.features().clone());
  const std::vector<int64_t> targets(batch.targets().begin(), batch.targets().end());
  return torch::nn::functional::cross_entropy(logits, torch::tensor(targets));
}

// Largest difference between the arena's parameters and the reference's.
inline double LargestDifference(const ParameterArena& arena,
                                const std::vector<torch::Tensor>& parameters) {
  double largest = 0;
  for (size_t id = 0; id < parameters.size(); ++id) {
    const torch::Tensor ours =
        arena.View(static_cast<ParameterId>(id)).reshape(parameters[id].sizes());
    largest = std::max(largest, (ours - parameters[id].detach()).abs().max().item<double>());
  }
  return largest;
}

}  // namespace engram::strategies
