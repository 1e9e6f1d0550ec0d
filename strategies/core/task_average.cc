#include "strategies/core/task_average.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "storage/base/check.h"
#include "storage/base/status_macros.h"

namespace engram::strategies {
namespace {

absl::Status ReadCount(const StateReader& reader, const char* key, int64_t* count) {
  ENGRAM_ASSIGN_OR_RETURN(*count, reader.GetInteger(key));
  if (*count >= 0) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(key, ": expected >= 0, found ", *count));
}

}  // namespace

TaskAverage::TaskAverage(ParameterArena* arena, const std::string& name, double share)
    : arena_(arena), share_(share) {
  ENGRAM_CHECK(share >= 0 && share <= 1);
  if (share > 0) {
    average_ = arena->AddCompanion(name + ".average", ParameterArena::Persistence::kSaved);
  }
}

void TaskAverage::Step() {
  if (!average_.has_value() || ++steps_ % kStride != 0) return;
  if (parameters_ != arena_->parameter_count()) {
    parameters_ = arena_->parameter_count();
    samples_ = 0;
  }
  ++samples_;
  const double rate = std::min(1.0, 1.0 / (share_ * static_cast<double>(samples_)));
  arena_->Companion(*average_).lerp_(arena_->flat(), rate);
}

const at::Tensor& TaskAverage::Weights() const {
  const bool averaged = average_.has_value() && parameters_ == arena_->parameter_count() &&
                        share_ * static_cast<double>(samples_) >= 2;
  return averaged ? arena_->Companion(*average_) : arena_->flat();
}

void TaskAverage::Restart() {
  steps_ = 0;
  samples_ = 0;
}

void TaskAverage::SaveState(StateWriter* writer) const {
  if (!average_.has_value()) return;
  writer->PutInteger("average_steps", steps_);
  writer->PutInteger("average_samples", samples_);
  writer->PutInteger("average_parameters", parameters_);
}

absl::Status TaskAverage::LoadState(const StateReader& reader) {
  if (!average_.has_value()) return absl::OkStatus();
  ENGRAM_RETURN_IF_ERROR(ReadCount(reader, "average_steps", &steps_));
  ENGRAM_RETURN_IF_ERROR(ReadCount(reader, "average_samples", &samples_));
  return ReadCount(reader, "average_parameters", &parameters_);
}

}  // namespace engram::strategies
