// Which models there are, what they were started from, and small durable rows beside them (rows of
// R, by boundary sequence).
//
// A model's weights go to a file (temp, fsync, rename, fsync of the folder) before its row, which
// names the file with its SHA-256: the row is the commit point. Files without a row are swept at
// open.
//
// Threading: every method from any thread; writes are synced. Failure: as the log; ALREADY_EXISTS
//   for a name that is taken; RESOURCE_EXHAUSTED for weights that the disk has no room for.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/types/optional.h"
#include "storage/types.h"

namespace engram::storage {

// Bytes that a model was started from.
struct WeightsFile {
  std::string file;  // its name inside the folder of weights
  int64_t bytes = 0;
  std::string sha256;  // hex
};

// What a new model is to start from.
struct StartingWeights {
  absl::string_view bytes;   // empty: nothing
  absl::string_view sha256;  // theirs in hex, as the caller found it: what LoadWeights verifies
};

struct ModelRow {
  ModelUid uid = 0;
  std::string name;
  std::string spec;  // the caller's bytes, as created; never changed
  bool paused = false;
  std::string pause_reason;  // what PauseFor said; empty while it is not paused
  int64_t create_time_ms = 0;
  absl::optional<WeightsFile> weights;
};

class ModelCatalog {
 public:
  virtual ~ModelCatalog() = default;

  // Row and weights, or neither.
  virtual absl::StatusOr<ModelRow> Create(absl::string_view name, std::string spec,
                                          const StartingWeights& weights) = 0;
  // The bytes that were given, verified; empty when there were none. DATA_LOSS naming what was
  // expected and found.
  virtual absl::StatusOr<std::string> LoadWeights(ModelUid model) const = 0;
  virtual absl::StatusOr<std::vector<ModelRow>> List() const = 0;
  virtual absl::Status SetPaused(ModelUid model, bool paused) = 0;
  // SetPaused(true) with a reason, which stays until SetPaused(false).
  virtual absl::Status PauseFor(ModelUid model, std::string reason) = 0;
  // The row goes first, so that a crash midway leaves an orphan uid; Orphans finds its leftovers.
  // Then the weights.
  virtual absl::Status Remove(ModelUid model) = 0;
  // Uids that were given out and are in no row: whatever is stored under them can go.
  virtual absl::StatusOr<std::vector<ModelUid>> Orphans() const = 0;
  virtual absl::Status ForgetOrphan(ModelUid model) = 0;

  // Report rows: the caller's bytes, keyed by a sequence.
  virtual absl::Status PutReportRow(ModelUid model, Sequence boundary, std::string row) = 0;
  virtual absl::StatusOr<std::vector<std::pair<Sequence, std::string>>> ReportRows(
      ModelUid model) const = 0;
  virtual absl::Status RemoveReportRows(ModelUid model) = 0;

  // Rows of erasures: the caller's bytes, by a name of its own.
  virtual absl::Status PutErasure(ModelUid model, absl::string_view name, std::string row) = 0;
  virtual absl::StatusOr<absl::optional<std::string>> FindErasure(ModelUid model,
                                                                  absl::string_view name) const = 0;
  virtual absl::Status RemoveErasure(ModelUid model, absl::string_view name) = 0;
  virtual absl::Status RemoveErasures(ModelUid model) = 0;
};

}  // namespace engram::storage
