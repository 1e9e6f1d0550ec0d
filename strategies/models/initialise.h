// First values of linear layers, as PyTorch draws them.
//
// Threading: free functions. Failure: none.
#pragma once

#include <cstdint>

#include "strategies/core/generator.h"
#include "strategies/core/parameter_arena.h"

namespace engram::strategies {

// Draws rows [first, rows) of a parameter from U(+-1/sqrt(fan_in)).
void InitialiseRows(ParameterArena* arena, ParameterId id, int64_t first, int64_t fan_in,
                    Generator* generator);

}  // namespace engram::strategies
