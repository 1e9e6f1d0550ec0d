#include "strategies/core/learning_rate.h"

#include <algorithm>
#include <cmath>

#include "storage/base/status_macros.h"
#include "strategies/core/schedule.h"

namespace engram::strategies {
namespace {

constexpr double kPi = 3.14159265358979323846;

// A mean loss counts as better from this share of improvement on, as noise is no progress.
constexpr double kProgress = 1e-3;

}  // namespace

void LearningRate::OnStep(double loss) {
  ++step_;
  if (schedule_.kind == ScheduleKind::kPlateau) WatchLoss(loss);
  Settle();
}

void LearningRate::OnBoundary() {
  if (!schedule_.restart_at_boundary) return;
  step_ = 0;
  loss_sum_ = 0;
  best_loss_ = -1;
  decayed_ = 1;
  Settle();
}

void LearningRate::Reconfigure(double base, const ScheduleOptions& schedule) {
  base_ = base;
  schedule_ = schedule;
  Settle();
}

void LearningRate::WatchLoss(double loss) {
  loss_sum_ += loss;
  if (step_ % schedule_.period_steps != 0) return;
  const double mean = loss_sum_ / static_cast<double>(schedule_.period_steps);
  loss_sum_ = 0;
  if (best_loss_ < 0 || mean < best_loss_ * (1 - kProgress)) {
    best_loss_ = mean;
  } else {
    decayed_ *= schedule_.decay;
  }
}

double LearningRate::Scheduled() const {
  switch (schedule_.kind) {
    case ScheduleKind::kStep:
      return StepDecay(schedule_.decay, step_, schedule_.period_steps);
    case ScheduleKind::kCosine: {
      const double period = static_cast<double>(schedule_.period_steps);
      const double progress = std::min(1.0, static_cast<double>(step_) / period);
      return schedule_.floor + (1 - schedule_.floor) * (1 + std::cos(kPi * progress)) / 2;
    }
    case ScheduleKind::kPlateau:
      return decayed_;
    case ScheduleKind::kConstant:
      break;
  }
  return 1;
}

void LearningRate::Settle() {
  factor_ = WarmUp(std::max(Scheduled(), schedule_.floor), step_, schedule_.warm_up_steps);
}

void LearningRate::SaveState(StateWriter* writer) const {
  writer->PutInteger("schedule_step", step_);
  writer->PutNumber("schedule_loss_sum", loss_sum_);
  writer->PutNumber("schedule_best_loss", best_loss_);
  writer->PutNumber("schedule_decayed", decayed_);
}

absl::Status LearningRate::LoadState(const StateReader& reader) {
  ENGRAM_ASSIGN_OR_RETURN(step_, reader.GetInteger("schedule_step"));
  ENGRAM_ASSIGN_OR_RETURN(loss_sum_, reader.GetNumber("schedule_loss_sum"));
  ENGRAM_ASSIGN_OR_RETURN(best_loss_, reader.GetNumber("schedule_best_loss"));
  ENGRAM_ASSIGN_OR_RETURN(decayed_, reader.GetNumber("schedule_decayed"));
  Settle();
  return absl::OkStatus();
}

}  // namespace engram::strategies
