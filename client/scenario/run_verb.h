// The verb that runs a scenario: flags, progress, tables, seeds, resuming. What trains is given to
// it, so that a run through a server and a run in process are one command line and one report.
//
// Threading: the main thread. Ownership: nothing is kept.
// Failure: client/verb.h's exit codes; the first run that fails ends the verb, what finished before
//   stays in the --resume file.
// Bounds: one run's result in memory beside the figures of the others.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/datasets/row_set.h"
#include "client/json.h"
#include "client/scenario/run_options.h"
#include "client/scenario/scenario.h"
#include "client/scenario/scenario_runner.h"
#include "client/verb.h"

namespace engram::scenario {

// Does one run, and tells how far it is.
using Runner = std::function<absl::StatusOr<RunResult>(
    const RunOptions& options, const datasets::RowSplit& source, const RunEvents& events)>;

// One object, on a line of its own.
void PrintJson(const client::VerbContext& context, const client::Json& json);

// One run with a progress bar, and a line (with --json an object) a task.
absl::StatusOr<RunResult> RunShown(const client::VerbContext& context, const RunOptions& options,
                                   const Scenario& scenario, const datasets::RowSplit& source,
                                   const Runner& runner);

// `args` without "scenario run".
int RunVerb(const client::VerbContext& context, const std::vector<std::string>& args,
            const Runner& runner);

}  // namespace engram::scenario
