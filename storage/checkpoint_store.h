// Checkpoints: restartable states of a model. Tensors go to a file (temp, fsync, rename, fsync of
// the folder); the commit point is one synced row. Files without a row are swept at open.
//
// Threading: every method from any thread. Blocking I/O: never call it from a service thread's
//   fast path or from the trainer's strand, except Load and List.
// Failure: DATA_LOSS when bytes fail their SHA-256 or length, naming id, expected, found and the
//   newest valid checkpoint; FAILED_PRECONDITION for a newer format; OUT_OF_RANGE at
//   `checkpoints_max`; RESOURCE_EXHAUSTED without room on the disk; ALREADY_EXISTS for a label in
//   use. Nothing is changed on failure.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "storage/types.h"

namespace engram::storage {

struct CheckpointRow {
  std::string id;     // 26 characters of Crockford base32, time-ordered (ULID)
  std::string label;  // may be empty
  bool automatic = false;
  Sequence applied = 0;
  int64_t create_time_ms = 0;
  std::string file;  // name inside the checkpoint folder; two rows may share one
  int64_t bytes = 0;
  std::string sha256;  // hex
  int32_t format_version = 0;
  std::string compute;       // fingerprint of what computed it
  std::string stream_state;  // the caller's own bytes
  std::vector<ExemplarKey> members;
};

struct NewCheckpoint {
  std::string label;
  bool automatic = false;
  Sequence applied = 0;
  std::string compute;
  std::string stream_state;
  std::vector<ExemplarKey> members;  // payloads must be in the EpisodicStore before
  std::string tensors;
};

class CheckpointStore {
 public:
  static constexpr int32_t kFormatVersion = 1;

  virtual ~CheckpointStore() = default;

  virtual absl::StatusOr<CheckpointRow> Put(ModelUid model, NewCheckpoint checkpoint) = 0;

  // A row at `applied` that points to the file of `source` and copies its members; `stream_state`
  // replaces the source's. For a rollback record: after it the source need not be pinned.
  virtual absl::StatusOr<CheckpointRow> PutAlias(ModelUid model, absl::string_view source_id,
                                                 Sequence applied, std::string stream_state) = 0;

  // By id or by label. NOT_FOUND names what is there. INVALID_ARGUMENT for a malformed id.
  virtual absl::StatusOr<CheckpointRow> Find(ModelUid model, absl::string_view id) const = 0;
  // Newest applied sequence first.
  virtual absl::StatusOr<std::vector<CheckpointRow>> List(ModelUid model) const = 0;
  // The tensor bytes, verified.
  virtual absl::StatusOr<std::string> Load(ModelUid model, const CheckpointRow& row) const = 0;

  // Removes the row; the file when no row names it. Payloads are swept by EpisodicStore::Sweep.
  virtual absl::Status Delete(ModelUid model, absl::string_view id) = 0;
  virtual absl::Status RemoveAll(ModelUid model) = 0;
};

}  // namespace engram::storage
