// The mean of the weights over the latest part of a task: where descent at a constant rate circles
// its optimum, the mean of its path is nearer to it than the last step is (Polyak and Juditsky
// 1992). The newest weights count as in polynomial-decay averaging (Shamir and Zhang 2013, section
// 4), so that no end has to be known beforehand: with n samples taken
//   mean += min(1, 1 / (share n)) (theta - mean)
// weighs about the last share n of them, and forgets the steps in which the task was still new.
//
// Every 16th step is a sample: neighbours hardly differ, and a pass over the weights at each step
// would show in its time. Fewer than two samples in the share are no mean: the weights themselves
// stand for it. A head that grew begins anew.
//
// Threading: one thread. Ownership: its array is a companion of the arena; none when share is 0.
// Failure: LoadState as StateReader; DATA_LOSS on a count below 0.
// Bounds: arena.size() floats.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/types/optional.h"
#include "strategies/core/parameter_arena.h"
#include "strategies/core/state_archive.h"

namespace engram::strategies {

class TaskAverage {
 public:
  static constexpr int64_t kStride = 16;

  // Adds the companion NAME.average (saved) when `share`, in [0, 1], is above 0.
  TaskAverage(ParameterArena* arena, const std::string& name, double share);

  // After a step that changed weights.
  void Step();
  // Flat, arena layout: the mean, or the arena's own weights where there is none.
  const at::Tensor& Weights() const;
  // What follows belongs to the next task.
  void Restart();

  void SaveState(StateWriter* writer) const;
  absl::Status LoadState(const StateReader& reader);

 private:
  ParameterArena* arena_;
  double share_;
  absl::optional<CompanionId> average_;
  int64_t steps_ = 0;    // since the start or Restart
  int64_t samples_ = 0;  // in the mean
  int64_t parameters_ = 0;  // in use when the latest was taken
};

}  // namespace engram::strategies
