// From engram.v1.ModelSpec to what a learner is made of.
//
// Threading: pure functions.
// Failure: INVALID_ARGUMENT naming the field, the limit and the value.
#pragma once

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engram/v1/model.pb.h"
#include "strategies/api/options.h"

namespace engram::server {

// The spec with every default written out, checked whole (ValidateOptions included); the candidates
// of its tune are whole specs (tune_plan.h).
absl::StatusOr<v1::ModelSpec> CompleteSpec(v1::ModelSpec spec);

// Of a completed spec.
strategies::ModelOptions ToModelOptions(const v1::ModelSpec& spec);

// Both completed. Only the optimizer's numbers and live strategy parameters may differ; tunes are
// not looked at.
absl::Status CheckLiveChange(const v1::ModelSpec& current, const v1::ModelSpec& next);

}  // namespace engram::server
