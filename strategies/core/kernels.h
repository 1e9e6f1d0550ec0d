// The loops that a training step spends its time in and that no BLAS call covers: fused passes over
// flat arrays, and the thin products (few rows, many weights) of a stream's small batches.
//
// Compiled once for each instruction set (kernels_variant.cc); the variant follows the processor
// and ATEN_CPU_CAPABILITY, and is part of ComputeIdentity. Every sum runs in a fixed order: equal
// input gives equal bits on equal hardware, and no row of a thin product depends on its neighbours.
//
// Threading: free functions over the caller's memory. Failure: none. No alignment needed.
#pragma once

#include <cstdint>

namespace engram::strategies {

// What is summed up of each weight along its path, from the gradient g that an update took and the
// change d that it made:
//   path <- path - g d
// and, where `fisher` is given, at the end of an interval that began at the weight `start`:
//   fisher <- fisher + share (g^2 - fisher)
//   score <- score + path / (fisher (weight - start)^2 / 2 + damping),  path <- 0,  start <- weight
struct PathSums {
  float* path = nullptr;
  float* fisher = nullptr;  // with it score and start
  float* score = nullptr;
  float* start = nullptr;
  float share = 0;
  float damping = 0;
};

// One layer's update W <- decay * W - rate * g with g = delta^T a, then the pull towards `anchor`
// where `fraction` is given, and the sums where `sums.path` is, in one pass over W.
// Shapes: weights, fraction, anchor, sums [out, in]; a [n, in]; delta [n, out].
struct RankUpdate {
  float* weights = nullptr;
  const float* input = nullptr;
  const float* delta = nullptr;
  int64_t rows = 0;  // n
  int64_t out = 0;
  int64_t in = 0;
  float decay = 1;
  float rate = 0;
  const float* fraction = nullptr;
  const float* anchor = nullptr;
  PathSums sums;  // `rows` up to kPathRows
};

// As many terms as one pass takes.
constexpr int64_t kPathRows = 64;

struct AdamUpdate {
  float* parameters = nullptr;
  const float* gradient = nullptr;
  float* moment1 = nullptr;
  float* moment2 = nullptr;
  int64_t count = 0;
  float decay = 1;           // AdamW: factor on the parameters
  float gradient_decay = 0;  // Adam: added to the gradient, times the parameter
  float beta1 = 0.9f;
  float beta2 = 0.999f;
  float step_size = 0;     // learning rate / first bias correction
  float inverse_root = 1;  // 1 / sqrt(second bias correction)
  float epsilon = 1e-8f;
};

// eta_i = learning_rate / (sqrt(moment2_i) * inverse_root + epsilon); the proximal step with it.
// An importance below 0 pulls nothing.
struct AdaptivePull {
  float* parameters = nullptr;
  const float* importance = nullptr;
  const float* anchor = nullptr;
  const float* moment2 = nullptr;
  int64_t count = 0;
  float strength = 0;  // learning rate * lambda
  float inverse_root = 1;
  float epsilon = 1e-8f;
};

struct Kernels {
  const char* name;

  // values [rows, columns] += bias [columns], optionally followed by max(0, .).
  void (*add_bias)(float* values, const float* bias, int64_t rows, int64_t columns, bool relu);
  // gradient[i] = 0 where activation[i] <= 0.
  void (*mask_by_activation)(float* gradient, const float* activation, int64_t count);
  // max |v|; infinity when any value is NaN or infinite.
  float (*largest_magnitude)(const float* values, int64_t count);
  // sums[j] = sum over rows of values[., j].
  void (*column_sums)(const float* values, int64_t rows, int64_t columns, float* sums);

  // result [rows, out] = input [rows, in] * weights [out, in]^T.
  void (*thin_product)(const float* input, const float* weights, int64_t rows, int64_t out,
                       int64_t in, float* result);
  // result [rows, in] = delta [rows, out] * weights [out, in]; skips zero deltas.
  void (*thin_backward)(const float* delta, const float* weights, int64_t rows, int64_t out,
                        int64_t in, float* result);
  void (*rank_update)(const RankUpdate& update);

  // g = gradient + gradient_decay * theta; buffer <- momentum * buffer + g; theta -= rate * buffer.
  void (*descend_with_momentum)(float* parameters, const float* gradient, float* buffer,
                                int64_t count, float momentum, float gradient_decay, float rate);
  void (*adam)(const AdamUpdate& update);
  // theta <- theta + fraction * (anchor - theta).
  void (*pull)(float* parameters, const float* fraction, const float* anchor, int64_t count);
  void (*pull_adaptive)(const AdaptivePull& pull);
  void (*sum_path)(const PathSums& sums, const float* gradient, const float* before,
                   const float* after, int64_t count);
};

// The variant in use. Chosen once, at the first call.
const Kernels& ActiveKernels();

}  // namespace engram::strategies
