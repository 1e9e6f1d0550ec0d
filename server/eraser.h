// Erasing examples, the durable side: finds them by id, subject or producer, and takes them out of
// everything that is stored of a model. The trainer drives it and brings its learner after.
//
// An erasure is a row from the moment it was found (Begin), so that a crash at any point is picked
// up at the next start: each step may be done again. Its phases are those of internal.Erasure:
//   FOUND    the sequences are known, nothing is removed
//   REMOVED  records are tombstones, names and held-out rows are gone; where the weights can be
//            rebuilt, so are the checkpoints that had learned from the examples
//   DONE     the other checkpoints, exemplars and old files are gone as well: the receipt
// A receipt holds no name, only a digest of the selector.
//
// Threading: one thread at a time. It blocks on the disk: not for the trainer's strand while it
//   serves.
// Failure: the store's statuses; what was done stays done, and doing it again continues.
// Bounds: 8 bytes an erased example, one receipt a selector. Ids and subjects have an index; a
//   producer's examples are found by reading what there is of the log.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/optional.h"
#include "engram/internal/records.pb.h"
#include "server/checkpoint_keeper.h"
#include "server/held_out_sets.h"
#include "server/model_context.h"

namespace engram::server {

// INVALID_ARGUMENT for a selector that is not set, empty or too long.
absl::Status CheckSelector(const v1::EraseRequest& request);

class Eraser {
 public:
  Eraser(const ModelContext* context, HeldOutSets* held_out, CheckpointKeeper* checkpoints)
      : context_(context), held_out_(held_out), checkpoints_(checkpoints) {}

  // The one that is not done, if any.
  absl::StatusOr<absl::optional<internal::Erasure>> Interrupted() const;
  // What the request names, durably in phase FOUND; `applied` is where the trainer stands. When it
  // names nothing: DONE, with the receipt of the last erasure of this selector, or one of nothing.
  absl::StatusOr<internal::Erasure> Begin(const v1::EraseRequest& request, uint64_t applied);
  // To REMOVED.
  absl::Status Remove(internal::Erasure* erasure);
  // To DONE. What is served knows nothing of the examples, and the checkpoint of this id (none when
  // empty) was made of it.
  absl::Status Finish(internal::Erasure* erasure, const std::string& clean_checkpoint);

 private:
  struct LoggedRewind {
    uint64_t record = 0;
    std::string checkpoint;
    uint64_t restored = 0;
  };

  absl::StatusOr<std::vector<uint64_t>> Find(const v1::EraseRequest& request) const;
  absl::StatusOr<std::vector<uint64_t>> FindSent(const std::string& producer) const;
  absl::Status FindUnnamed(const v1::EraseRequest& request, std::vector<uint64_t>* found) const;
  absl::Status Bury(const internal::Erasure& erasure);
  absl::StatusOr<std::vector<LoggedRewind>> ForgetLabels(uint64_t first);
  absl::Status Decide(const std::vector<LoggedRewind>& rewinds, internal::Erasure* erasure);
  absl::Status DeleteCheckpoints(const internal::Erasure& erasure, const std::string& besides);
  absl::Status Store(const internal::Erasure& erasure);

  const ModelContext* const context_;
  HeldOutSets* const held_out_;
  CheckpointKeeper* const checkpoints_;
};

}  // namespace engram::server
