// A multilayer perceptron, ReLU between linear layers, with a head that grows. Closed-form
// backward over preallocated buffers: at the batch sizes of a stream, autograd's bookkeeping costs
// as much as the arithmetic.
//
// Parameters are initialised as PyTorch does for Linear: weights and biases U(+-1/sqrt(in)).
#pragma once

#include <memory>
#include <vector>

#include "strategies/models/network.h"

namespace engram::strategies {

struct MlpOptions {
  int64_t feature_count = 0;
  std::vector<int64_t> hidden;
  int64_t units = 0;  // outputs at the start
};

// Adds its parameters to `arena` and allocates it.
std::unique_ptr<Network> MakeMlp(const MlpOptions& options, ParameterArena* arena,
                                 Generator* generator);

}  // namespace engram::strategies
