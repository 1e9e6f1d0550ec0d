// From what a client asks a tune to try to whole specs, one a candidate; and which tune may begin
// or go on when.
//
// Threading: pure functions.
// Failure: INVALID_ARGUMENT naming the field, FAILED_PRECONDITION for a tune that has ended.
// Bounds: 16 candidates, whose weights, optimizer and exemplars together may take about 4 GiB.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engram/internal/records.pb.h"
#include "engram/v1/model.pb.h"

namespace engram::server {

inline constexpr int kCandidatesMax = 16;
// Tunes of one model: the places of their exemplars are never used again.
inline constexpr uint64_t kTunesMax = 65536;
// Candidates' memory, of one tune.
inline constexpr int64_t kTuneBytesMax = int64_t{4} << 30;
inline constexpr char kOwnSettings[] = "own";

// Every candidate named and whole, the grid expanded into candidates. `spec` is completed but for
// its tune. A completed tune completes to itself.
absl::StatusOr<v1::Tune> CompleteTune(const v1::Tune& tune, const v1::ModelSpec& spec);

// TRAIN examples may name another task than the current one: the model's strategies and those of
// every candidate allow it.
bool InterleavedTasks(const v1::ModelSpec& spec);

// Whether a spec may follow the head's, as far as tunes go: it ends one, keeps it, or begins one
// numbered tunes + 1 whose candidates differ from it only in what may change live.
absl::Status CheckNextTune(const internal::StreamState& head, const v1::ModelSpec& next);

}  // namespace engram::server
