// Sums over examples of a magnitude of each one's own gradient, from layer traces: what the Fisher
// (squares) and MAS (absolute values) are made of.
//
// For a linear layer the gradient of one example is delta a^T, so the sum of |.|^power is
// (|delta|^power)^T (|a|^power): one product, never a gradient an example. Where several backward
// passes share their inputs the deltas are added up first. Sums are kept in double over chunks, so
// that an estimate does not depend on their size.
//
// Threading: one thread. Ownership: borrows the arena. Failure: none.
// Bounds: two [chunk, widest layer] double buffers a layer and one flat double array.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <vector>

#include "absl/types/span.h"
#include "strategies/core/parameter_arena.h"
#include "strategies/core/unit_map.h"
#include "strategies/models/network.h"

namespace engram::strategies {

constexpr int64_t kImportanceChunkRows = 128;

// No element of an importance exceeds this, so that a penalty's products stay finite.
constexpr double kImportanceMax = 1e30;

// The outputs that an example is judged by: all, or its own task's where heads are per task.
class VisibleUnits {
 public:
  explicit VisibleUnits(const UnitMap& units);
  absl::Span<const int64_t> Of(int32_t task) const {
    return units_.per_task() ? units_.UnitsOf(task) : absl::MakeConstSpan(all_);
  }

 private:
  const UnitMap& units_;
  std::vector<int64_t> all_;
};

class ExampleSums {
 public:
  enum class Magnitude { kAbsolute, kSquare };

  ExampleSums(Magnitude magnitude, const ParameterArena& arena,
              const std::vector<LayerTrace>& traces);

  void StartChunk();
  // Adds the output gradients of one backward pass over the chunk.
  void AddPass(const std::vector<LayerTrace>& traces);
  // `all_used`: no row was left out; the inputs of one that was may hold anything.
  void FinishChunk(const std::vector<LayerTrace>& traces, bool all_used);

  // Writes the mean over `examples` over `importance` (flat, float32); all zero for 0.
  void WriteMean(int64_t examples, const at::Tensor& importance);

 private:
  at::Tensor MagnitudeOf(const at::Tensor& values) const;

  Magnitude magnitude_;
  const ParameterArena& arena_;
  at::Tensor flat_;
  std::vector<at::Tensor> deltas_;  // by layer, summed over the passes of the chunk
};

}  // namespace engram::strategies
