// Each task's importance (Fisher) snapshot, for inspection and for redoing a penalty without a
// task; never read in a training step.
//
// Threading: every method from any thread. Bounds: the newest snapshots within `bytes_max` a model
// are kept, the oldest go first. Failure: as the log; DATA_LOSS when a snapshot fails its checksum.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/types.h"

namespace engram::storage {

struct ImportanceRow {
  Sequence boundary = 0;  // sequence of the boundary record
  uint32_t position = 0;  // of the strategy in the model's list
  std::string strategy;
  std::string task;
  std::string estimator;
  std::string label_mode;
  int64_t examples = 0;
  std::string tensors;  // empty in List
  int64_t bytes = 0;
};

class ImportanceStore {
 public:
  virtual ~ImportanceStore() = default;

  virtual absl::Status Put(ModelUid model, const ImportanceRow& row, int64_t bytes_max) = 0;
  virtual absl::StatusOr<std::vector<ImportanceRow>> List(ModelUid model) const = 0;
  virtual absl::StatusOr<ImportanceRow> Read(ModelUid model, Sequence boundary,
                                             uint32_t position) const = 0;
  // Drops snapshots of boundaries in (after, up_to]: a rollback undid them.
  virtual absl::Status RemoveRange(ModelUid model, Sequence after, Sequence up_to) = 0;
  virtual absl::Status RemoveAll(ModelUid model) = 0;
};

}  // namespace engram::storage
