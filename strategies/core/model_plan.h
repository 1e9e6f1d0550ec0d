// A model's strategy list, resolved: every name found, every parameter present and in range.
//
// Failure: INVALID_ARGUMENT naming the position, the limit and the value.
#pragma once

#include <vector>

#include "absl/status/statusor.h"
#include "strategies/api/options.h"
#include "strategies/core/parameters.h"
#include "strategies/core/registry.h"

namespace engram::strategies {

struct ResolvedStrategy {
  const StrategyEntry* entry = nullptr;
  StrategyParameters parameters;
};

// Outermost first; {finetune} when the list is empty. A strategy may be listed once.
absl::StatusOr<std::vector<ResolvedStrategy>> ResolveStrategies(const ModelOptions& options);

}  // namespace engram::strategies
