// The rows that a scenario is made of: from files in their original formats, or drawn.
//
// Threading: free functions without state. Ownership: the result owns its rows.
// Failure: NOT_FOUND for an unknown scenario or absent files; INVALID_ARGUMENT for a scenario that
//   needs files and got none, or an option that is not its own; else the reader's.
// Bounds: the reader's.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "client/datasets/row_set.h"

namespace engram::scenario {

struct RowOptions {
  std::string scenario;
  // The folder that holds the scenario's files, or its one file. Empty: drawn digits, which do not
  // depend on the seed, as real ones would not.
  std::string path = "";
  // Streams: the label of the row before is a feature. No-change knows nothing else.
  bool previous_label = false;
};

absl::StatusOr<datasets::RowSplit> LoadScenarioRows(const RowOptions& options);

}  // namespace engram::scenario
