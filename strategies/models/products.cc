#include "strategies/models/products.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "strategies/core/kernels.h"

namespace engram::strategies {
namespace {

// Up to this many rows our loops beat the BLAS (tests/bench/training).
constexpr int64_t kThinRows = 16;

// A multiple of what the thin product takes at once, that a pass over the weights serves.
constexpr int64_t kRowsTogether = 40;

at::Tensor Matrix(const float* values, int64_t rows, int64_t columns) {
  return at::from_blob(const_cast<float*>(values), {rows, columns}, at::kFloat);
}

}  // namespace

void ForwardProduct(const float* input, const float* weights, int64_t rows, int64_t out, int64_t in,
                    float* result) {
  if (rows <= kThinRows) {
    ActiveKernels().thin_product(input, weights, rows, out, in, result);
    return;
  }
  at::Tensor target = Matrix(result, rows, out);
  at::mm_out(target, Matrix(input, rows, in), Matrix(weights, out, in).t());
}

void ForwardProductByRow(const float* input, const float* weights, int64_t rows, int64_t out,
                         int64_t in, float* result) {
  for (int64_t row = 0; row < rows; row += kRowsTogether) {
    ActiveKernels().thin_product(input + row * in, weights, std::min(kRowsTogether, rows - row),
                                 out, in, result + row * out);
  }
}

void BackwardProduct(const float* delta, const float* weights, int64_t rows, int64_t out,
                     int64_t in, float* result) {
  if (rows <= kThinRows) {
    ActiveKernels().thin_backward(delta, weights, rows, out, in, result);
    return;
  }
  at::Tensor target = Matrix(result, rows, in);
  at::mm_out(target, Matrix(delta, rows, out), Matrix(weights, out, in));
}

void WeightProduct(const float* delta, const float* input, int64_t rows, int64_t out, int64_t in,
                   float decay, float rate, float* weights, int64_t delta_stride) {
  at::Tensor target = Matrix(weights, out, in);
  const at::Tensor turned = at::from_blob(const_cast<float*>(delta), {out, rows},
                                          {1, delta_stride > 0 ? delta_stride : out}, at::kFloat);
  at::addmm_out(target, target, turned, Matrix(input, rows, in), decay, -rate);
}

}  // namespace engram::strategies
