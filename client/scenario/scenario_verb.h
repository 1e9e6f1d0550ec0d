// The verb `engram scenario`: run, evaluate, list, protocols.
//
//   scenario run SCENARIO       streams it through the server, once for each --strategy and seed
//   scenario evaluate SCENARIO  accuracy of a model, as it is now, on each task
//   scenario list               what there is
//   scenario protocols          whose settings a run can have
//
// Threading: the main thread. Ownership: nothing is kept.
// Failure: client/verb.h's exit codes. Bounds: none.
#pragma once

#include <string>
#include <vector>

#include "client/verb.h"

namespace engram::scenario {

// `args` without "scenario".
int ScenarioVerb(const client::VerbContext& context, const std::vector<std::string>& args);

}  // namespace engram::scenario
