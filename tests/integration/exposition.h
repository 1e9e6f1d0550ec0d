// A strict reader of Prometheus' text format 0.0.4: what it does not understand is an error, with
// the line.
//
// Threading: free functions and plain values. Failure: INVALID_ARGUMENT "line N: ...".
#pragma once

#include <map>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"

namespace engram::integration {

using LabelSet = std::map<std::string, std::string>;

struct Sample {
  std::string name;
  LabelSet labels;
  double value = 0;
};

struct MetricFamily {
  std::string name;
  std::string type;  // counter, gauge, histogram
  std::string help;
  std::vector<Sample> samples;
};

struct Exposition {
  std::map<std::string, MetricFamily> families;

  // The one sample with exactly these labels.
  absl::optional<double> Find(const std::string& sample_name, const LabelSet& labels) const;
  // Families that have a sample.
  bool Has(const std::string& family) const;
};

// Beyond the grammar it holds every family to: HELP and TYPE first and once, samples together, no
// sample twice, counters named _total and never negative, histograms with cumulative buckets in
// order, +Inf equal to the count, and a sum.
absl::StatusOr<Exposition> ParseExposition(absl::string_view text);

}  // namespace engram::integration
