// What a model does when a producer shows acks for messages that the server does not hold: learning
// is locked until an administrator has acknowledged the loss (promises.md 42, P5). Afterwards the
// producer may go on after the acks it holds, once.
//
// LossBook is the file that makes it last, one for all models; LossLock is one model's part of it.
//
// Threading: from any thread. Put and Acknowledge block on the disk, the rest does not.
// Ownership: the book and the background queue outlive the locks. A lock is shared with the
//   admission of its model, whose callbacks may outlive the model.
// Failure: Open: DATA_LOSS for a damaged file, UNAVAILABLE for one that cannot be read. Put:
//   UNAVAILABLE or RESOURCE_EXHAUSTED; the file is then as it was. CheckOpen: FAILED_PRECONDITION.
// Bounds: 64 losses a model; while it is locked, more would tell nothing new.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "engram/internal/losses.pb.h"
#include "engram/v1/admin.pb.h"
#include "server/background.h"
#include "storage/base/mutex.h"
#include "storage/types.h"

namespace engram::server {

class LossBook {
 public:
  static constexpr char kFile[] = "losses";

  // Of the file `kFile` in this folder.
  static absl::StatusOr<std::unique_ptr<LossBook>> Open(const std::string& folder);

  std::vector<internal::StoredLoss> Of(storage::ModelUid uid) const ABSL_LOCKS_EXCLUDED(mutex_);
  // Replaces what is stored of a model; none: it is forgotten.
  absl::Status Put(storage::ModelUid uid, const std::vector<internal::StoredLoss>& losses)
      ABSL_LOCKS_EXCLUDED(mutex_);

 private:
  LossBook(std::string folder, internal::LossBook stored)
      : folder_(std::move(folder)), stored_(std::move(stored)) {}

  const std::string folder_;
  mutable base::Mutex mutex_;
  internal::LossBook stored_ ABSL_GUARDED_BY(mutex_);
};

class LossLock : public std::enable_shared_from_this<LossLock> {
 public:
  // Null `book`: nothing lasts.
  LossLock(storage::ModelUid uid, std::string model, LossBook* book, Background* background);

  // OK unless learning is locked.
  absl::Status CheckOpen() const;
  // Locks at once; `done` runs on the background thread when that will last.
  void Lock(v1::Loss loss, std::function<void()> done) ABSL_LOCKS_EXCLUDED(mutex_);
  // Up to which sequence this producer's lost acks are acknowledged; 0: none are.
  uint64_t Acknowledged(absl::string_view producer) const ABSL_LOCKS_EXCLUDED(mutex_);
  // The producer went on after its acks: the acknowledgement is used up.
  void Forget(const std::string& producer) ABSL_LOCKS_EXCLUDED(mutex_);
  // What locks learning.
  std::vector<v1::Loss> Open() const ABSL_LOCKS_EXCLUDED(mutex_);
  // Of one producer, or of all ("").
  absl::StatusOr<std::vector<v1::Loss>> Acknowledge(const std::string& producer)
      ABSL_LOCKS_EXCLUDED(mutex_, write_mutex_);

 private:
  void NoteLocked() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  // Makes what is now known last.
  absl::Status Write() ABSL_LOCKS_EXCLUDED(mutex_, write_mutex_);

  const storage::ModelUid uid_;
  const std::string model_;
  LossBook* const book_;
  Background* const background_;
  std::atomic<bool> locked_{false};
  base::Mutex write_mutex_;  // one write at a time, the last one of the latest state
  mutable base::Mutex mutex_;
  std::vector<internal::StoredLoss> losses_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace engram::server
