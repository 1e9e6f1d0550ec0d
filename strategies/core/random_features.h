// Fixed random features h = relu(W z): what lets a linear classifier in closed form separate more
// than its inputs do (RanPAC, McDonnell et al. 2023).
//
// W is a function of the seed and stored nowhere: each element is a hash of its place, near normal
// with variance 1 / inputs as the sum of four uniform numbers, so that it has equal bits wherever
// it is drawn (no logarithm, no cosine).
//
// Threading: immutable, Map from any thread. Failure: none. Bounds: inputs x outputs floats.
#pragma once

#include <cstdint>
#include <vector>

#include "strategies/models/network_program.h"

namespace engram::strategies {

class RandomFeatures {
 public:
  RandomFeatures(int64_t inputs, int64_t outputs, uint64_t seed);

  int64_t outputs() const { return outputs_; }
  const std::vector<float>& weights() const { return weights_; }  // [outputs, inputs]

  // [rows, inputs] to [rows, outputs].
  void Map(const float* inputs, int64_t rows, float* mapped) const;
  // Writes Map down.
  NetworkProgram::Value Describe(NetworkProgram::Value inputs, NetworkProgram* program) const;

 private:
  int64_t inputs_;
  int64_t outputs_;
  std::vector<float> weights_;
};

}  // namespace engram::strategies
