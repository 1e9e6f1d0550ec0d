// The quadratic penalty of EWC and its kin over any number of tasks, in two arrays.
//   separate  lambda/2 sum_k F_k (theta - theta_k)^2   (Kirkpatrick et al. 2017, eq. 3, one term a
//             task). Its gradient is lambda A (theta - m) with A = sum_k F_k and the running anchor
//             m: on each consolidation m += F / (A + F) (theta_k - m), then A += F. O(P) for any
//             number of tasks; keeping A m instead of m would cancel badly in float.
//   online    lambda/2 gamma F~_{t-1} (theta - theta_{t-1})^2 with F~_t = gamma F~_{t-1} + F_t
//             (Schwarz et al. 2018, eq. 9): one anchor, the latest optimum. MAS, SI and RWalk add
//             other importances the same way; their penalties lack the half: they join at 2 lambda.
// The penalty is applied as the proximal step of proximal_pull.h after the task-gradient step, so
// that no lambda diverges. Parameters without importance (a new head row) are not pulled.
//
// theta_k stands for the optimum of task k. The last step of a stream at a constant rate is one
// batch's noise away from it, and every later step would be pulled to that noise: with anchor_share
// above 0 theta_k is the mean over the latest part of the task (task_average.h).
//
// Threading: one thread. Ownership: its arrays are companions of the arena.
// Failure: LoadState as StateReader; DATA_LOSS on a count below 0.
// Bounds: the three companions of a ProximalPull, and a fourth for anchor_share above 0.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "strategies/api/options.h"
#include "strategies/core/importance_fisher.h"
#include "strategies/core/parameter_arena.h"
#include "strategies/core/proximal_pull.h"
#include "strategies/core/state_archive.h"
#include "strategies/core/step_context.h"
#include "strategies/core/task_average.h"

namespace engram::strategies {

class QuadraticPenalty {
 public:
  // `name` prefixes its companions: unique among the strategies of a model.
  // anchor_share: of the task's steps, the latest whose mean is its theta_k; 0: the last weights.
  QuadraticPenalty(ParameterArena* arena, const std::string& name, double anchor_share = 0);

  // theta_k of the task that is being learned, flat.
  const at::Tensor& NextAnchor() const { return average_.Weights(); }
  // Adds the term of one task: `importance` (flat) at NextAnchor.
  void AddSeparate(const at::Tensor& importance);
  // Scales what there is by gamma, adds `importance` and moves the one anchor to NextAnchor.
  void AddOnline(const at::Tensor& importance, double gamma);

  // Before a step: asks for the pull of lambda/2 sum A (theta - m)^2 after the update. A no-op
  // before the first consolidation and for lambda 0.
  void Join(double lambda, StepContext* context);
  // After it, with what it answered. Needed for anchor_share above 0 only.
  void AfterStep(const absl::StatusOr<Observation>& seen);

  // Consolidations held.
  int64_t terms() const { return terms_; }

  // A and m, flat.
  const at::Tensor& importance() const { return pull_.importance(); }
  const at::Tensor& anchor() const { return pull_.anchor(); }

  void SaveState(StateWriter* writer) const;
  absl::Status LoadState(const StateReader& reader);

 private:
  ParameterArena* arena_;
  ProximalPull pull_;
  TaskAverage average_;
  int64_t terms_ = 0;
};

// The parameter `anchor_share` of a strategy whose penalty has one.
ParameterHelp AnchorShareParameter();

// Adds the durable record of one task's importance to `report`: `snapshot` says whose and how it
// was estimated, and gets safetensors with float32 `importance` and `anchor` (both flat here), each
// [parameters in use] in arena order without gaps, and the layout in words.
void RecordImportance(ImportanceSnapshot snapshot, const ParameterArena& arena,
                      const at::Tensor& importance, const at::Tensor& anchor,
                      BoundaryReport* report);

// What EWC and online EWC share at a boundary: estimates the Fisher of the ended task into a new
// flat array (undefined when there was no example) and adds its record, at the anchor that the
// penalty is about to take, to `report`.
at::Tensor ConsolidateFisher(const QuadraticPenalty& penalty, absl::string_view strategy,
                             FisherEstimator estimator, int32_t task,
                             const ConsolidationSet& examples, StepContext& context,
                             BoundaryReport* report);

}  // namespace engram::strategies
