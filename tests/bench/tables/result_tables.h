// What the rows came to: verdicts, RESULTS.md and results.json.
//
// Threading: plain values and free functions. Ownership: outcomes own their rows.
// Failure: none; a row without runs says why. Bounds: none.
#pragma once

#include <string>
#include <vector>

#include "absl/types/optional.h"
#include "client/json.h"
#include "client/scenario/seeds.h"
#include "tests/bench/tables/table_rows.h"

namespace engram::bench {

struct RowOutcome {
  TableRow row;
  // As it ran: with the published parameters.
  std::string strategy;
  // By seed, as far as they are done.
  std::vector<scenario::RunFigures> runs;
  // Whether R of the first seed is the same through a server; absent: not run there.
  absl::optional<bool> served_equal;
  // Why it did not run.
  std::string skipped;
};

enum class Verdict {
  kNone,    // nothing to hold
  kOpen,    // not all seeds, or not all rows that it is compared with, are there
  kHolds,
  kMisses,
};

Verdict VerdictOf(const RowOutcome& outcome, const std::vector<RowOutcome>& all);

// One table a protocol and scenario, in the order of the rows, with the commands below it.
std::string ResultsText(const std::vector<RowOutcome>& outcomes);
client::Json ResultsJson(const std::vector<RowOutcome>& outcomes);

// What ResultsJson once told of the same run of this row, if `kept` holds more seeds of it.
void TakeKept(const client::Json& kept, RowOutcome* outcome);

}  // namespace engram::bench
