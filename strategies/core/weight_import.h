// Puts pretrained weights (api/pretrained_weights.h) into a freshly drawn network.
//
// The bytes are a client's: nothing of them is believed. StateReader checks the form of the file;
// here every name, type and shape must be of the network, and every value finite, before any
// parameter is written.
//
// Threading: free functions.
// Failure: INVALID_ARGUMENT "weights: ..." naming the tensor, what is needed and what came; then
//   no parameter has changed.
#pragma once

#include "absl/status/status.h"
#include "strategies/api/pretrained_weights.h"
#include "strategies/core/parameter_arena.h"
#include "strategies/models/network.h"

namespace engram::strategies {

// `network` is a plain one: a trace a layer, the head last; its parameters are in `arena`.
absl::Status ImportWeights(const PretrainedWeights& weights, const Network& network,
                           ParameterArena* arena);

}  // namespace engram::strategies
