// What a folder may look like after a power loss, from the journal of fault_shim.cc: names whose
// folder was not synced since are as before, files end where their last sync began, bytes written
// over others are the old ones.
//
// Threading: none. Failure: CHECK-fails on a journal that does not parse, or files it cannot mend.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "tests/testing/faults/fault_box.h"

namespace engram::testing {

// Regular files below the folder, by inode.
std::map<uint64_t, int64_t> FileSizes(const std::string& folder);

struct PowerLossInput {
  std::string folder;
  std::string journal;
  std::string graves;
  std::map<uint64_t, int64_t> durable_sizes;  // when the journal began
  PowerLoss loss;
};

PowerLossReport PlayPowerLoss(const PowerLossInput& input);

}  // namespace engram::testing
