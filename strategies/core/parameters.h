// A strategy's parameters as resolved from its spec: every one present, of the right kind, in
// range.
//
// Failure: Resolve answers INVALID_ARGUMENT naming the field, the limit and the value. The
//   accessors CHECK: asking for a parameter that the help does not list is our bug.
#pragma once

#include <cstdint>
#include <string>

#include "absl/container/btree_map.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "strategies/api/options.h"

namespace engram::strategies {

class StrategyParameters {
 public:
  static absl::StatusOr<StrategyParameters> Resolve(const StrategyHelp& help,
                                                    const StrategySpec& spec);

  bool Bool(absl::string_view name) const;
  int64_t Integer(absl::string_view name) const;
  double Number(absl::string_view name) const;
  const std::string& Choice(absl::string_view name) const;

  const absl::btree_map<std::string, ParameterValue>& values() const { return values_; }

 private:
  const ParameterValue& At(absl::string_view name) const;
  absl::btree_map<std::string, ParameterValue> values_;
};

}  // namespace engram::strategies
