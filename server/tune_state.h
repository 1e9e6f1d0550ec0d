// How a tune stands: when it began, the scores, when the decision is due and what it is. Pure
// functions on the part of the stream state that keeps it, so that equal logs decide alike.
//
// Threading: free functions, no state. Failure: none.
#pragma once

#include <cstdint>

#include "absl/strings/string_view.h"
#include "engram/internal/records.pb.h"
#include "strategies/api/learner.h"

namespace engram::server {

// A tune of spec.tune() begins at this state of the stream.
void OpenTune(internal::StreamState* state);
// It ends with `candidate` (from 1) as the model, or, with 0, with the model as it is.
void CloseTune(int32_t candidate, internal::StreamState* state);

// One batch as one learner saw it: how many rows it predicted right before it learned them. A
// skipped batch teaches nothing and counts as wrong.
void AddScore(const strategies::StepReport& step, v1::TuneReport::Score* score);
// The candidate at `position` (from 0) leaves the running.
void DropCandidate(int position, absl::string_view why, internal::StreamState::Tune* tune);

// Brings the report's counts of tasks and examples up to the state.
void CountTuneProgress(internal::StreamState* state);
// It runs, and its tasks or examples are over.
bool TuneIsDue(const internal::StreamState& state);
// Best share of hits; ties go to the model's own settings, then to the first candidate. Position
// from 1, 0 = the model's own, also when every candidate was dropped.
int32_t BestOfTune(const v1::TuneReport& report);
// RUNNING -> DECIDED.
void DecideTune(internal::StreamState* state);

// The record that ends it is due without anybody asking: nothing is proposed, or the policy
// promotes.
bool TuneEndsItself(const internal::StreamState& state);

// Where the exemplars of a candidate (from 1) of a tune are kept: 1 and up, never used twice.
uint32_t MemorySpaceOf(uint64_t tune, int32_t candidate);

}  // namespace engram::server
