// A few rows for every scenario, so that each can be made without a file.
//
// Threading: pure functions. Ownership: results are values. Failure: none.
#pragma once

#include <cstdint>
#include <vector>

#include "client/datasets/row_set.h"
#include "client/scenario/scenario.h"

namespace engram::scenario {

// Every class in every task; a stream of `kStreamLabels`.
datasets::RowSplit SmallRows(RowSource source);

// Labels of the small stream: six of the nine follow an equal one.
extern const std::vector<uint8_t> kStreamLabels;

}  // namespace engram::scenario
