// The matrix products of a linear layer, over raw row-major float32: the BLAS for many rows, our
// own loops for few, where its packing of the weights costs more than the arithmetic.
//
// Threading: free functions; EnterComputeThread() first. Failure: none but c10::Error.
#pragma once

#include <cstdint>

namespace engram::strategies {

// result [rows, out] = input [rows, in] * weights [out, in]^T.
void ForwardProduct(const float* input, const float* weights, int64_t rows, int64_t out, int64_t in,
                    float* result);

// The same where each row must be what it would be alone, bit for bit, whatever its neighbours: the
// BLAS promises that for no number of rows.
void ForwardProductByRow(const float* input, const float* weights, int64_t rows, int64_t out,
                         int64_t in, float* result);

// result [rows, in] = delta [rows, out] * weights [out, in].
void BackwardProduct(const float* delta, const float* weights, int64_t rows, int64_t out,
                     int64_t in, float* result);

// weights [out, in] <- decay * weights - rate * delta^T input. With decay 0 the old values are not
// read. `delta_stride`: floats between the rows of delta where it has more columns than `out`.
void WeightProduct(const float* delta, const float* input, int64_t rows, int64_t out, int64_t in,
                   float decay, float rate, float* weights, int64_t delta_stride = 0);

}  // namespace engram::strategies
