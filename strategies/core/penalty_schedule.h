// The strength of what holds a model to its past, over time: the factor on lambda of ewc,
// online_ewc, mas, rwalk and lwf and on c of si. With t the present task, from 1, s the steps since
// the latest boundary, and classes counted by their outputs:
//
//   constant     1
//   tasks        t - 1: as many as there are past tasks
//   task_share   1 - 1/t
//   class_share  classes known at the boundary / classes known now (alpha of PyCIL and of BiC, Wu
//                et al. 2019); a FIXED head knows all of its classes from the start
//   step_decay   decay^(s / period_steps), a whole power
//   task_decay   decay^(t - 2): 1 in the second task
// Every factor stays at or above `floor`. With warm_up_steps, the first steps after each boundary
// rise linearly to it: a new task finds its place before the past pulls in full. Before the first
// boundary nothing pulls, whatever the factor.
//
// Steps are those that changed weights. A factor that moves costs a quadratic penalty one more pass
// over its importance (ProximalPull::Prepare): whole powers keep that rare.
//
// Threading: one thread. Failure: LoadState as StateReader. Bounds: three numbers of state.
#pragma once

#include <cstdint>

#include "absl/status/status.h"
#include "strategies/api/options.h"
#include "strategies/core/state_archive.h"

namespace engram::strategies {

class PenaltySchedule {
 public:
  // Of the step that comes next; `classes` are those known now.
  double Factor(const PenaltyScheduleOptions& options, int64_t classes) const;

  void OnStep() { ++steps_; }
  void OnBoundary(int64_t classes);

  void SaveState(StateWriter* writer) const;
  absl::Status LoadState(const StateReader& reader);

 private:
  double Scheduled(const PenaltyScheduleOptions& options, int64_t classes) const;

  int64_t past_tasks_ = 0;
  int64_t steps_ = 0;          // since the latest boundary
  int64_t known_classes_ = 0;  // at the latest boundary
};

}  // namespace engram::strategies
