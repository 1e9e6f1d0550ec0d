// A reader of Prometheus' text exposition, strict enough to find what a scraper would refuse.
//
// Threading: pure. Failure: INVALID_ARGUMENT naming the line.
#pragma once

#include <map>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace engram::testing {

struct Exposition {
  std::map<std::string, std::string> types;  // family -> counter, gauge, histogram
  std::map<std::string, double> samples;     // name{label="value",...} as written -> value
  bool Has(const std::string& series) const { return samples.count(series) > 0; }
  double At(const std::string& series) const {
    const auto found = samples.find(series);
    return found == samples.end() ? -1e300 : found->second;
  }
};

absl::StatusOr<Exposition> ParseExposition(absl::string_view text);

}  // namespace engram::testing
