// A planted bug: a server in which the witness sees nothing. Linked in place of
// storage/witness_check.cc into a program that only the damage matrix starts: where this server
// opens a store that has lost acknowledged examples, the matrix must say so.
#include "storage/witness_check.h"

namespace engram::storage {

absl::Status CheckAgainstWitness(const HighWater& /*witness*/, const OpenedEvidence& /*evidence*/) {
  return absl::OkStatus();
}

}  // namespace engram::storage
