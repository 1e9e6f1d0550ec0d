// R matrix and what is read from it. Definitions (one meaning each):
//   R[i][j]  accuracy on task j's held-out set after learning task i (rows = boundaries)
//   ACC = mean_j R[T][j]        BWT = 1/(T-1) sum_{j<T} (R[T][j] - R[j][j])
//   FWT = 1/(T-1) sum_{i>=2} (R[i-1][i] - R0[i])      R0 = accuracy before any learning
//   forgetting of j = max_{l<T} R[l][j] - R[T][j]
// R[j][j] is taken at the first end of j. Sources: Lopez-Paz & Ranzato 2017 (ACC, BWT, FWT),
// Chaudhry et al. 2018 (forgetting). Torch-free: the server reports with it.
//
// Threading: plain values. Failure: none; what cannot be computed is absent (nullopt).
#pragma once

#include <cstdint>
#include <vector>

#include "absl/types/optional.h"

namespace engram::strategies {

struct AccuracyRow {
  int32_t ended_task = 0;  // column of the task that this boundary ended
  // One cell a task column; absent: no held-out rows of that task before this boundary.
  std::vector<absl::optional<double>> accuracy;
};

struct ForgettingReport {
  absl::optional<double> acc;
  absl::optional<double> bwt;
  absl::optional<double> fwt;
  absl::optional<double> average_forgetting;         // mean over tasks with a value
  std::vector<absl::optional<double>> forgetting;    // by column
  std::vector<absl::optional<double>> best;          // by column: max over rows
  std::vector<absl::optional<double>> last;          // by column: last row
};

// `baseline` is R0 by column (absent: the task's held-out rows came after learning began on it).
// ACC and BWT run over the tasks that have ended and have a held-out set.
ForgettingReport Summarize(const std::vector<AccuracyRow>& rows,
                           const std::vector<absl::optional<double>>& baseline);

}  // namespace engram::strategies
