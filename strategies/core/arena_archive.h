// The bytes of an arena: every parameter and saved companion by name and in use only, so that what
// is saved reads without knowledge of the layout.
//
// Threading: free functions. Failure: LoadArena as StateReader::GetTensor; the arena may then hold
//   part of what was read, so load into one that is thrown away on failure.
#pragma once

#include "absl/status/status.h"
#include "strategies/core/parameter_arena.h"
#include "strategies/core/state_archive.h"

namespace engram::strategies {

void SaveArena(const ParameterArena& arena, StateWriter* writer);

// Into an arena of the same slots and companions.
absl::Status LoadArena(const StateReader& reader, ParameterArena* arena);

}  // namespace engram::strategies
