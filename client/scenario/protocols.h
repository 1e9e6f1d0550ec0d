// Published protocols: how the papers that a figure is compared with ran their scenarios.
//
// A protocol is a table of flags of `engram scenario run`. Its flags stand before the user's own,
// so what the user gives wins; the table reads as what one could type, nothing is hidden in code.
// For a strategy with published parameters it has a line with them, taken over the same way.
//
// Threading: constant tables, any thread. Ownership: static storage.
// Failure: ResolveProtocol answers INVALID_ARGUMENT naming the protocol, scenario or strategy, and
//   what there is.
// Bounds: none.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "client/scenario/scenario.h"

namespace engram::scenario {

using Flags = std::vector<std::string>;

// What every strategy shares on one scenario.
struct ProtocolSetting {
  std::string scenario;
  Flags flags;
  // The source's initialisation where it is not ours (PyTorch's default): the model spec has no
  // such option, so it is not taken over. Empty: the same.
  std::string initialisation;
};

// What a strategy has beside that, on one scenario.
struct ProtocolOverride {
  std::string scenario;
  // "class", "task" or "domain"; empty: each.
  std::string incremental;
  // As --strategy: its name, or its name and published parameters.
  std::string strategy;
  Flags flags;
};

struct Protocol {
  std::string name;
  std::string source;
  // Scenarios without a setting may be run, too.
  bool any_scenario = false;
  std::vector<ProtocolSetting> settings;
  // The first line that fits counts; of several that differ by memory, the one of the user's size.
  std::vector<ProtocolOverride> overrides;
};

// "online" first: no paper, and hardly a flag.
const std::vector<Protocol>& ListProtocols();

// A protocol on a scenario for one strategy list.
struct ResolvedProtocol {
  // To stand before the user's.
  Flags flags;
  // With the published parameters, where the user gave no others.
  std::string strategy;
};

absl::StatusOr<ResolvedProtocol> ResolveProtocol(const Protocol& protocol,
                                                 absl::string_view scenario,
                                                 Incremental incremental,
                                                 absl::string_view strategy);
// By its name in ListProtocols.
absl::StatusOr<ResolvedProtocol> ResolveProtocol(absl::string_view protocol,
                                                 absl::string_view scenario,
                                                 Incremental incremental,
                                                 absl::string_view strategy);

}  // namespace engram::scenario
