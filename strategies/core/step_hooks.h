// What a strategy may add to the step that is about to be taken, without taking it over: strategies
// that hook into one step compose, whatever their order.
//
//   forward -> ClassLoss + LossTerms + EmbeddingTerms -> backward -> guard
//           -> TraceTransforms -> GradientTransforms, in the order added
//           -> update, block by block, each followed by the pulls (proximal_pull.h), then by the
//              UpdateObservers
//
// Threading: called on the learner's thread, during the step for which they were added.
// Ownership: StepContext holds them until the step ends; what they capture must live as long.
// Failure: none; c10::Error passes through to the learner. What is not finite is caught by the
//   guard that follows.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <functional>
#include <vector>

#include "strategies/core/cross_entropy.h"
#include "strategies/core/training_batch.h"
#include "strategies/core/unit_map.h"
#include "strategies/models/network.h"

namespace engram::strategies {

// The loss of labels in place of cross-entropy: writes its gradient, [rows, units], over `gradient`
// and returns its value. At most one a step.
using ClassLoss = std::function<double(const at::Tensor& logits, const LossRows& rows,
                                       const UnitMap& units, const at::Tensor& gradient)>;

// Adds d term / d logits to `gradient`, [rows, units], and returns the term's value.
using LossTerm = std::function<double(const TrainingBatch& batch, const at::Tensor& logits,
                                      const at::Tensor& gradient)>;

// The same at what the head sees (Network::embeddings), [rows, width].
using EmbeddingTerm = std::function<double(const TrainingBatch& batch, const at::Tensor& embeddings,
                                           const at::Tensor& gradient)>;

// Changes what the step's gradient is made of, delta^T a of each layer: a copy of the network's
// traces, whose tensors are the network's own and may be replaced, but not written. Cheaper than to
// change the gradient, which then is never written.
using TraceTransform = std::function<void(std::vector<LayerTrace>* traces)>;

// Changes the flat gradient (arena layout) of the whole loss in place.
using GradientTransform = std::function<void(const at::Tensor& gradient)>;

// A block of the parameters, [begin, begin + count) of the flat array, and what an update did to
// it.
struct UpdatedBlock {
  int64_t begin = 0;
  int64_t count = 0;
  const float* gradient = nullptr;  // after transforms and before weight decay
  const float* before = nullptr;
  const float* after = nullptr;  // pulls included
};

// Sees every block of parameters just after its update, while it is in cache.
class UpdateObserver {
 public:
  virtual ~UpdateObserver() = default;
  virtual void AfterUpdate(const UpdatedBlock& block) = 0;
  // All that AfterUpdate writes, in arrays of the arena: an update that is taken back
  // (update_norm.h) takes them back too.
  virtual std::vector<at::Tensor> Written() const = 0;
};

}  // namespace engram::strategies
