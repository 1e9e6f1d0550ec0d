// What a learner trains: features to logits and back, with every trainable layer in the open.
//
// A layer's gradient is never needed as an array: with its input a [n, in] and output gradient
// delta [n, out], dW = delta^T a, the exact sum of squared per-example gradients is (delta^2)^T
// (a^2), and MAS' is |delta|^T |a|. Strategies read the traces; the optimizer applies them.
//
// Threading: one thread at a time; a ForwardPass is immutable and may be run from any thread.
// Ownership: parameters live in the ParameterArena given at construction, which outlives the
//   network. Returned tensors are the network's own buffers: overwritten by the next call.
// Failure: none but c10::Error (our bug), which the learner turns into INTERNAL.
// Bounds: buffers for the most rows ever passed.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "strategies/core/generator.h"
#include "strategies/core/parameter_arena.h"

namespace engram::strategies {

// One trainable layer's part in the last Forward and Backward.
struct LayerTrace {
  at::Tensor input;            // [rows, in]
  at::Tensor output_gradient;  // [rows, out], d loss / d (a W^T + b); valid after Backward
  ParameterId weight = 0;      // [out, in]
  ParameterId bias = 0;        // [out, 1]
};

// Working memory of ForwardPass::Run: one a thread, reused.
struct ForwardScratch {
  std::vector<float> front;
  std::vector<float> back;
};

// Computes logits from one flat array of the arena's layout, without touching the network.
class ForwardPass {
 public:
  virtual ~ForwardPass() = default;
  // `features` is [rows, d], `logits` [rows, units] of the network that bound it.
  virtual void Run(const float* features, int64_t rows, ForwardScratch* scratch,
                   float* logits) const = 0;
};

class Network {
 public:
  virtual ~Network() = default;

  // Output units. AddUnits initialises new ones from `generator`; old outputs do not change.
  virtual int64_t units() const = 0;
  virtual void AddUnits(int64_t count, Generator* generator) = 0;

  // [rows, units()] logits of [rows, d] features; fills each trace's input. At least one unit.
  virtual const at::Tensor& Forward(const at::Tensor& features) = 0;

  // After Forward: fills each trace's output_gradient from d loss / d logits. Writes no parameter.
  virtual void Backward(const at::Tensor& logit_gradient) = 0;

  // In the order from input to head.
  virtual const std::vector<LayerTrace>& traces() const = 0;

  // A pass over `flat`, an array of the present layout that it keeps alive.
  virtual std::unique_ptr<const ForwardPass> Bind(const at::Tensor& flat) const = 0;
};

}  // namespace engram::strategies
