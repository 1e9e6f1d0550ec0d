// Which models there are, and small durable rows beside them (rows of R, by boundary sequence).
//
// Threading: every method from any thread; writes are synced. Failure: as the log.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "storage/types.h"

namespace engram::storage {

struct ModelRow {
  ModelUid uid = 0;
  std::string name;
  std::string spec;  // the caller's bytes, as created; never changed
  bool paused = false;
  int64_t create_time_ms = 0;
};

class ModelCatalog {
 public:
  virtual ~ModelCatalog() = default;

  // ALREADY_EXISTS when the name is taken.
  virtual absl::StatusOr<ModelRow> Create(absl::string_view name, std::string spec) = 0;
  virtual absl::StatusOr<std::vector<ModelRow>> List() const = 0;
  virtual absl::Status SetPaused(ModelUid model, bool paused) = 0;
  // The row goes first, so that a crash midway leaves an orphan uid; Orphans finds its leftovers.
  virtual absl::Status Remove(ModelUid model) = 0;
  // Uids that were given out and are in no row: whatever is stored under them can go.
  virtual absl::StatusOr<std::vector<ModelUid>> Orphans() const = 0;
  virtual absl::Status ForgetOrphan(ModelUid model) = 0;

  // Report rows: the caller's bytes, keyed by a sequence.
  virtual absl::Status PutReportRow(ModelUid model, Sequence boundary, std::string row) = 0;
  virtual absl::StatusOr<std::vector<std::pair<Sequence, std::string>>> ReportRows(
      ModelUid model) const = 0;
  virtual absl::Status RemoveReportRows(ModelUid model) = 0;
};

}  // namespace engram::storage
