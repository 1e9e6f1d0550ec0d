// Drawing and changing paths through a grid of modules (models/modules.h).
//
// A layer of a path holds different modules, and never frozen ones alone while the layer has free
// ones: such a path could not learn there.
//
// Threading: free functions. Failure: none.
#pragma once

#include "strategies/core/generator.h"
#include "strategies/models/modules.h"

namespace engram::strategies {

// N modules of each layer, all choices alike but for the rule above.
ModulePath RandomPath(const Modules& modules, Generator* generator);

// Each gene with probability 1 / (N L) moved by an offset from {-2 .. 2} modulo M, drawn among
// those that do not repeat a module of its layer (0 is always one).
ModulePath MutatedPath(const Modules& modules, ModulePath path, Generator* generator);

}  // namespace engram::strategies
