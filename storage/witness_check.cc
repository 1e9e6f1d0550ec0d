#include "storage/witness_check.h"

#include "absl/strings/str_cat.h"
#include "storage/base/status_macros.h"
#include "storage/manifest_mark.h"
#include "storage/wal_check.h"

namespace engram::storage {

absl::Status CheckAgainstWitness(const HighWater& witness, const OpenedEvidence& evidence) {
  if (evidence.last_write < witness.value()) {
    return absl::DataLossError(absl::StrCat("the database ends at write ", evidence.last_write,
                                            ", write ", witness.value(), " was durable"));
  }
  if (witness.manifest().number != 0) {
    ENGRAM_RETURN_IF_ERROR(CheckManifest(evidence.db_folder, witness.manifest()));
  }
  return CheckWriteAheadLogs(evidence.db_folder, evidence.oldest_wal);
}

}  // namespace engram::storage
