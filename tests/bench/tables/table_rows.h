// The list of figures that Engram is held against: rows.json, a visible table.
//
// Threading: plain values and free functions. Ownership: values.
// Failure: INVALID_ARGUMENT naming the row (by its id, else its number) and the key.
// Bounds: none.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"

namespace engram::bench {

// "At least `by` points above the mean of row `id`, on the same seeds."
struct Comparison {
  std::string id;
  double by = 0;
};

struct TableRow {
  std::string id;
  std::string scenario;
  std::string protocol;
  // "class", "task" or "domain".
  std::string incremental;
  std::string strategy;
  // Beside the protocol's, as `engram scenario run` takes them.
  std::vector<std::string> flags;
  // Which files: the KEY of --data KEY=PATH.
  std::string files = "mnist";
  int64_t seeds = 0;
  // The first seed runs through a server, too.
  bool served = false;
  // "acc", or "prequential_accuracy" of a stream.
  std::string figure = "acc";
  // In per cent, like all that follow; absent where nothing is published.
  absl::optional<double> published;
  // As published: "0.15 SEM of 20".
  std::string spread;
  std::string source;
  // What the mean must hold.
  absl::optional<double> at_least;
  absl::optional<double> at_most;
  std::vector<Comparison> above;
  // About the row: how it differs from the source, what was tried when it missed.
  std::string note;
  // Why it cannot run yet, whatever strategies there are; empty: it can.
  std::string blocked;

  // Of `scenario run`; `path` may be a placeholder.
  std::vector<std::string> Arguments(const std::string& path) const;
};

absl::StatusOr<std::vector<TableRow>> ParseRows(absl::string_view json);

}  // namespace engram::bench
