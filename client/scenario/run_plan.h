// From a command line to the runs that it asks for: a protocol's flags under the user's own, once
// for each strategy and seed.
//
// Threading: plain values and free functions without state. Ownership: a FlagSet writes into the
//   RunFlags it was declared with. Failure: INVALID_ARGUMENT with a sentence for the user.
// Bounds: 1 to 1 000 seeds.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/flags.h"
#include "client/scenario/run_options.h"

namespace engram::scenario {

// What the flags of a run are parsed into; texts become options once all of them are known.
struct RunFlags {
  RunOptions options;
  std::string incremental;
  std::string angles = "even";
  std::vector<std::string> strategies;
  // --seeds: one number N is 1 to N, several are themselves; empty: options.scenario.seed.
  std::vector<int64_t> seeds;
  std::string resume_file;
  // Of `scenario evaluate` alone.
  uint64_t version = 0;
};

// Options that decide which tasks there are and how they are learned.
void AddRunFlags(RunFlags* run, client::FlagSet* flags);
// The same, and what `scenario evaluate` takes beside them.
void AddEvaluateFlags(RunFlags* run, client::FlagSet* flags);

struct RunPlan {
  // By strategy, then by seed.
  std::vector<std::vector<RunOptions>> strategies;
  // Seeds were asked for, be it one.
  bool seeds = false;
  std::string resume_file;
};

// `args` parsed into `run` before: they are parsed again, after the protocol's flags.
absl::StatusOr<RunPlan> MakeRunPlan(const std::vector<std::string>& args, const RunFlags& run);

// The options of one strategy and no special seed, as `scenario evaluate` needs them.
absl::StatusOr<RunOptions> ResolveOptions(const std::vector<std::string>& args, const RunFlags& run,
                                          const std::string& strategy);

}  // namespace engram::scenario
