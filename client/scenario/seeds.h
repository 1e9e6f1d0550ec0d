// What several seeds of a strategy came to: mean, standard deviation and standard error.
//
// Threading: plain values and free functions without state. Ownership: values. Failure: none; a
//   result without a figure is left out of that figure's spread.
// Bounds: none.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/types/optional.h"
#include "client/json.h"
#include "client/scenario/scenario_runner.h"

namespace engram::scenario {

// The figures of one run, as its result object holds them.
struct RunFigures {
  std::string scenario;
  std::string protocol;
  std::string strategy;
  uint64_t seed = 0;
  absl::optional<double> acc;
  absl::optional<double> bwt;
  absl::optional<double> fwt;
  absl::optional<double> forgetting;
  // Of a stream that is scored as it is learned.
  absl::optional<double> prequential_accuracy;
  double examples_per_second = 0;
  // Of a run with a predict load; no part of the result object.
  absl::optional<double> predictions_per_second;
};

RunFigures FiguresOf(const RunResult& result);
// Of an object that ResultJson made.
RunFigures FiguresOf(const client::Json& result);

struct Spread {
  int64_t count = 0;
  double mean = 0;
  // Of the sample (n - 1), and its n-th root's share of it; absent for one value.
  absl::optional<double> sd;
  absl::optional<double> sem;
};

// Absent without a value.
absl::optional<Spread> SpreadOf(const std::vector<absl::optional<double>>& values);
absl::optional<Spread> SpreadOf(const std::vector<RunFigures>& runs,
                                absl::optional<double> RunFigures::*figure);

// One line a strategy (an element of `strategies` is the runs of one): "ACC 91.20 +- 0.35 (0.16)".
std::string SeedsTable(const std::vector<std::vector<RunFigures>>& strategies);

// {"event":"summary","scenario","protocol","strategy","seeds":[...],"acc":{"mean","sd","sem"},...};
// prequential_accuracy only where there is one.
client::Json SummaryJson(const std::vector<RunFigures>& runs);

}  // namespace engram::scenario
