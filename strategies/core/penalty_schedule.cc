#include "strategies/core/penalty_schedule.h"

#include <algorithm>
#include <cmath>

#include "storage/base/status_macros.h"
#include "strategies/core/schedule.h"

namespace engram::strategies {

double PenaltySchedule::Scheduled(const PenaltyScheduleOptions& options, int64_t classes) const {
  const double past = static_cast<double>(past_tasks_);
  switch (options.kind) {
    case PenaltyScheduleKind::kTasks:
      return past;
    case PenaltyScheduleKind::kTaskShare:
      return past / (past + 1);
    case PenaltyScheduleKind::kClassShare:
      return classes > 0 ? static_cast<double>(known_classes_) / static_cast<double>(classes) : 0;
    case PenaltyScheduleKind::kStepDecay:
      return StepDecay(options.decay, steps_, options.period_steps);
    case PenaltyScheduleKind::kTaskDecay:
      return std::pow(options.decay, std::max(past - 1, 0.0));
    case PenaltyScheduleKind::kConstant:
      break;
  }
  return 1;
}

double PenaltySchedule::Factor(const PenaltyScheduleOptions& options, int64_t classes) const {
  return WarmUp(std::max(Scheduled(options, classes), options.floor), steps_,
                options.warm_up_steps);
}

void PenaltySchedule::OnBoundary(int64_t classes) {
  ++past_tasks_;
  steps_ = 0;
  known_classes_ = classes;
}

void PenaltySchedule::SaveState(StateWriter* writer) const {
  writer->PutInteger("past_tasks", past_tasks_);
  writer->PutInteger("steps", steps_);
  writer->PutInteger("known_classes", known_classes_);
}

absl::Status PenaltySchedule::LoadState(const StateReader& reader) {
  ENGRAM_ASSIGN_OR_RETURN(past_tasks_, reader.GetInteger("past_tasks"));
  ENGRAM_ASSIGN_OR_RETURN(steps_, reader.GetInteger("steps"));
  ENGRAM_ASSIGN_OR_RETURN(known_classes_, reader.GetInteger("known_classes"));
  return absl::OkStatus();
}

}  // namespace engram::strategies
