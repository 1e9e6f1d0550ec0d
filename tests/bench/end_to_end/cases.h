// The comparisons of one run. In each, ours and its ceiling take turns (A B A B ...), and medians
// over the turns are set beside each other, so that a machine that slows down slows both.
//
// Threading: the main thread. Failure: the first call that fails ends the run.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "tests/bench/end_to_end/in_process.h"
#include "tests/bench/end_to_end/measure.h"
#include "tests/bench/end_to_end/opponents.h"

namespace engram::bench {

struct Run {
  Opponents* opponents = nullptr;
  InProcessModel* in_process = nullptr;
  Results* results = nullptr;
  int repetitions = 5;
  absl::Duration turn = absl::Seconds(2);
  int64_t batch = 10;
  size_t frames = 100;
  size_t steady_examples = 32;  // a message of the stream that learns while predictions are timed
  std::string folder;
  std::string bare_address;
  std::string busy_address;  // the same, each call as long as a forward pass
};

// Makes the models and finds how large a reply is, then starts the bare server with it.
absl::Status Prepare(Run* run);

absl::Status PredictIdle(const Run& run);
absl::Status PredictWhileTraining(const Run& run);
// Beside 64 clients over their rate and 64 that never read.
absl::Status PredictUnderFlood(const Run& run);
absl::Status LearnPaused(const Run& run);
absl::Status LearnTraining(const Run& run);
absl::Status Publish(const Run& run);
absl::Status CheckpointAndRollback(const Run& run);

}  // namespace engram::bench
