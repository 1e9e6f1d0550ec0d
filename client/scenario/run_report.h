// How a run is shown: lines and tables for people, one JSON object a line for scripts.
//
// Ratios are 0-1 in JSON and per cent in tables; what has no value is null, "-" in tables.
//
// Threading: free functions without state. Ownership: results are values. Failure: none.
// Bounds: none.
#pragma once

#include <string>
#include <vector>

#include "client/json.h"
#include "client/scenario/scenario_runner.h"
#include "client/scenario/seeds.h"

namespace engram::scenario {

// "task 2/5 digits-2-3: 4000 examples in 0.21 s (19048/s), accuracy 0.0 98.7, ACC 19.7"
std::string TaskLine(const TaskOutcome& outcome);

// R, the summary with its definitions, rates.
std::string RunTable(const RunResult& result);

// The figures of several runs under each other.
std::string ComparisonTable(const std::vector<RunFigures>& runs);

client::Json TaskJson(const RunOptions& options, const TaskOutcome& outcome);
// Of a run with a predict load.
client::Json PredictionsJson(const RunResult& result);
client::Json ResultJson(const RunResult& result);

}  // namespace engram::scenario
