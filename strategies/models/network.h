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

#include "absl/status/status.h"
#include "absl/types/optional.h"
#include "absl/types/span.h"
#include "strategies/api/snapshot.h"
#include "strategies/core/generator.h"
#include "strategies/core/parameter_arena.h"
#include "strategies/core/state_archive.h"
#include "strategies/core/unit_map.h"
#include "strategies/models/network_program.h"

namespace engram::strategies {

constexpr ParameterId kNoParameter = -1;

// One trainable layer's part in the last Forward and Backward.
struct LayerTrace {
  at::Tensor input;            // [rows, in]
  at::Tensor output_gradient;  // [rows, out], d loss / d (a W^T + b); valid after Backward
  ParameterId weight = 0;      // [out, in]
  ParameterId bias = 0;        // [out, 1], or kNoParameter
  // [rows, 1], what the bias is multiplied by; undefined: 1. Networks leave it so.
  at::Tensor bias_input = {};
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

  // `features` is [rows, d], `logits` [rows, units] of the network that bound it. `tasks` is empty
  // or one column index a row, -1 for none; a plain network does not read it.
  virtual void Run(const float* features, int64_t rows, absl::Span<const int32_t> tasks,
                   ForwardScratch* scratch, float* logits) const = 0;

  // What the head sees, [rows, embedding_width()]: the outputs of the last hidden layer, or the
  // features themselves where there is none.
  virtual int64_t embedding_width() const = 0;
  virtual void Embed(const float* features, int64_t rows, absl::Span<const int32_t> tasks,
                     ForwardScratch* scratch, float* embeddings) const = 0;

  // The task of each row among those with units, where heads are per task: the one whose head is
  // surest of its answer, by the entropy of its softmax over the highest that it could have. The
  // confidence is how far that entropy is below the next task's, as a share of it. One Run a task.
  virtual void InferTasks(const float* features, int64_t rows, const UnitMap& units,
                          ForwardScratch* scratch, absl::Span<InferredTask> inferred) const;

  // Writes Run and Embed down, for rows of one task (-1: heads are not per task): what they answer
  // is the returned value. Of the logits only those of `units` (of that task), in their order.
  // Nothing where the answer cannot be written so; what was added to the program then is of no use.
  virtual absl::optional<NetworkProgram::Value> Describe(int32_t task,
                                                         const std::vector<int64_t>& units,
                                                         NetworkProgram* program) const {
    return absl::nullopt;
  }
  virtual absl::optional<NetworkProgram::Value> DescribeEmbedding(int32_t task,
                                                                  NetworkProgram* program) const {
    return absl::nullopt;
  }
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
  void Backward(const at::Tensor& logit_gradient) { Backward(logit_gradient, at::Tensor()); }
  // The same, with a gradient [rows, width] of its own at what the head sees (undefined: none).
  virtual void Backward(const at::Tensor& logit_gradient,
                        const at::Tensor& embedding_gradient) = 0;
  // After Backward: d loss / d features, written over `gradient` [rows, d].
  virtual void WriteInputGradient(const at::Tensor& gradient) = 0;

  // What the head saw in the last Forward, [rows, width].
  const at::Tensor& embeddings() const { return traces().back().input; }

  // From now on only the head is trained: it is the only trace, no pass backward goes below it, and
  // no update moves what is there.
  // False where the network cannot; then nothing has changed.
  virtual bool FreezeBelowHead() { return false; }

  // The two halves of Forward, for a network that was frozen; together they give its bits. What the
  // head sees of `features`, each row what it would be alone, written over `embeddings`
  // [rows, embedding_width()]; and the logits of such rows, which Backward may follow while they
  // live (WriteInputGradient may not).
  virtual int64_t embedding_width() const;
  virtual void EmbedFrozen(const at::Tensor& features, const at::Tensor& embeddings);
  virtual const at::Tensor& ForwardHead(const at::Tensor& embeddings);

  // Draws every parameter that is trained anew.
  virtual void Reinitialise(Generator* generator) = 0;

  // In the order from input to head. Layers that are not trained any more are not among them.
  virtual const std::vector<LayerTrace>& traces() const = 0;

  // A pass over `flat`, an array of the present layout that it keeps alive.
  virtual std::unique_ptr<const ForwardPass> Bind(const at::Tensor& flat) const = 0;

  // The structure of a network that grows by more than units (columns, paths). LoadState comes
  // first of all, into a freshly made network, and leaves room for the parameters that follow.
  virtual void SaveState(StateWriter* writer) const {}
  virtual absl::Status LoadState(const StateReader& reader) { return absl::OkStatus(); }
};

}  // namespace engram::strategies
