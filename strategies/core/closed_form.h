// The frame of a classifier that is solved in closed form from sums over the stream (slda, ridge):
// which inputs it sees, when it is solved, what it answers. The network is not trained: embeddings
// that moved would leave the sums wrong.
//
// A snapshot always serves the solution of all examples until then: solved when it is taken, at
// most once for a state. The scores of the step itself (test-then-train) come from a solution that
// is part of the state: it is renewed when the examples have doubled since, at the latest every
// `refresh_every_examples`, and at boundaries.
//
// Threading: as Strategy. Ownership: the strategy owns its sums and solutions.
// Failure: RESOURCE_EXHAUSTED when the sums would exceed kSumsBytesMax. As Strategy; a batch with
//   inputs beyond kInputMax is skipped.
// Bounds: those of the sums; two solutions of (width + 1) floats a unit.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "strategies/core/linear_scores.h"
#include "strategies/core/registry.h"
#include "strategies/core/state_archive.h"
#include "strategies/core/strategy.h"

namespace engram::strategies {

// Sums over examples that a linear classifier can be solved from.
class SolvableSums {
 public:
  virtual ~SolvableSums() = default;

  // One example more; `weight` counts as that many. None for a weight of 0.
  virtual void Add(const float* inputs, int64_t unit, double weight) = 0;
  virtual LinearScores Solve(double regularization) const = 0;

  virtual void SaveState(StateWriter* writer) const = 0;
  // Into fresh sums; `units`: as many as there are. FAILED_PRECONDITION (another width), DATA_LOSS.
  virtual absl::Status LoadState(const StateReader& reader, int64_t units) = 0;
};

struct ClosedFormPlan {
  std::string name;              // of the strategy
  std::string regularization;    // the parameter that Solve takes; live
  int64_t random_features = 0;   // 0: the inputs as they are
  std::unique_ptr<SolvableSums> (*make_sums)(int64_t width) = nullptr;
};

// Far from what float64 sums of squares cannot hold.
constexpr float kInputMax = 1e9f;

// Of one sum of outer products; a solve takes three times as much for a moment.
constexpr int64_t kSumsBytesMax = int64_t{4} << 30;

absl::StatusOr<std::unique_ptr<Strategy>> MakeClosedForm(const ClosedFormPlan& plan,
                                                         const StrategyParameters& parameters,
                                                         const StrategyEnvironment& environment);

// The parameters `input` and `refresh_every_examples`.
std::vector<ParameterHelp> ClosedFormParameters();

}  // namespace engram::strategies
