// From engram.v1.ModelSpec to what a learner is made of.
//
// Threading: pure functions.
// Failure: INVALID_ARGUMENT naming the field, the limit and the value.
#pragma once

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engram/v1/model.pb.h"
#include "strategies/api/options.h"
#include "strategies/api/pretrained_weights.h"

namespace engram::server {

// The spec with every default written out, checked whole (ValidateOptions included); the candidates
// of its tune are whole specs (tune_plan.h).
absl::StatusOr<v1::ModelSpec> CompleteSpec(v1::ModelSpec spec);

// Of a completed spec.
strategies::ModelOptions ToModelOptions(const v1::ModelSpec& spec);

// Writes down what the model is made from.
void SetWeightsOrigin(const v1::PretrainedWeights& weights, v1::ModelSpec* spec);
// What Learner::StartFrom takes, of a spec with its weights' origin. Borrows `bytes`.
strategies::PretrainedWeights ToPretrainedWeights(const v1::ModelSpec& spec,
                                                  absl::string_view bytes);

// Both completed. Only the optimizer's numbers, the augmentation, the penalty schedule and live
// strategy parameters may differ; tunes are not looked at.
absl::Status CheckLiveChange(const v1::ModelSpec& current, const v1::ModelSpec& next);

}  // namespace engram::server
