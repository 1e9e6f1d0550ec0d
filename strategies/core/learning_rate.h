// The learning rate over time: options.learning_rate times a factor that follows the schedule.
//
//   constant   1
//   step       decay^(s / period), a whole power
//   cosine     from 1 to floor along half a cosine over `period` steps (Loshchilov & Hutter 2017,
//              SGDR, eq. 5), then floor
//   plateau    times decay whenever the mean loss of `period` steps is no better than the best one
// Every factor stays at or above `floor`. With warm_up, the first steps rise linearly to it. With
// restart_at_boundary all of it begins anew at each boundary: a new task meets a warm rate again.
//
// Steps are those that changed weights: a skipped batch is none. No clock.
//
// Threading: one thread. Failure: LoadState as StateReader. Bounds: a few numbers of state.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "strategies/api/options.h"
#include "strategies/core/state_archive.h"

namespace engram::strategies {

class LearningRate {
 public:
  LearningRate(double base, const ScheduleOptions& schedule) : base_(base), schedule_(schedule) {
    Settle();
  }

  // Of the step that comes next.
  double value() const { return base_ * factor_; }

  // After a step; `loss` is that before its update.
  void OnStep(double loss);
  void OnBoundary();

  // Takes over live numbers; progress is kept.
  void Reconfigure(double base, const ScheduleOptions& schedule);

  void SaveState(StateWriter* writer) const;
  absl::Status LoadState(const StateReader& reader);

 private:
  double Scheduled() const;
  void Settle();
  void WatchLoss(double loss);

  double base_;
  ScheduleOptions schedule_;
  double factor_ = 1;
  int64_t step_ = 0;  // since the start or the last restart
  // Plateau: losses of the period that runs, the best mean so far (negative: none), the decay
  // reached.
  double loss_sum_ = 0;
  double best_loss_ = -1;
  double decayed_ = 1;
};

}  // namespace engram::strategies
