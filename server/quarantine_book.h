// What a model's quarantine shows and gives back: the list as it was last published, joined on
// request with the records in the log; and releases, which put an example into the log once more.
//
// While an erasure looks for its examples there is no release, and it does not begin before the
// last one is durable: otherwise what was read just before it could come back after it.
//
// Threading: every method from any thread. List and Release block on the log.
// Ownership: the parts outlive it; what it submitted needs none of it.
// Failure: statuses of server/errors.h. A release is all or nothing.
// Bounds: what Quarantine keeps; the records of one request in memory.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engram/internal/records.pb.h"
#include "engram/v1/quarantine.pb.h"
#include "server/admission.h"
#include "server/model_context.h"
#include "server/snapshot_slot.h"
#include "storage/base/mutex.h"

namespace engram::server {

class QuarantineBook {
 public:
  using OnReleased = std::function<void(absl::StatusOr<v1::ReleaseQuarantinedResponse>)>;

  QuarantineBook(const ModelContext* context, Admission* admission, const SnapshotSlot* slot);

  // The trainer's side. The state at the sequence that is published.
  void Publish(uint64_t applied, const internal::StreamState& state);
  // False while a release is on its way; its end wakes the trainer.
  bool CloseForErasure();
  void OpenAfterErasure();

  // As published, ascending.
  std::vector<uint64_t> Sequences() const;
  absl::StatusOr<v1::ListQuarantinedResponse> List(
      const v1::ListQuarantinedRequest& request) const;
  void Release(const v1::ReleaseQuarantinedRequest& request, OnReleased done);

 private:
  struct Held {
    uint64_t sequence = 0;
    v1::QuarantinedExample::Reason reason = v1::QuarantinedExample::REASON_UNSPECIFIED;
    double score = 0;
    int32_t task = 0;
  };
  struct Published {
    uint64_t applied = 0;
    std::vector<Held> held;  // ascending
    int64_t displaced = 0;
  };
  // Outlives the model in what waits for the committer.
  struct Gate {
    base::Mutex mutex;
    bool closed ABSL_GUARDED_BY(mutex) = false;
    int under_way ABSL_GUARDED_BY(mutex) = 0;
  };

  // A release begins, unless an erasure is under way.
  bool Enter();
  std::shared_ptr<const Published> published() const;
  absl::StatusOr<Admission::Release> ReadRelease(const Published& list, uint64_t sequence) const;
  absl::StatusOr<std::vector<Admission::Release>> ReadReleases(
      const Published& list, const v1::ReleaseQuarantinedRequest& request) const;

  const ModelContext* const context_;
  Admission* const admission_;
  const SnapshotSlot* const slot_;
  const std::shared_ptr<Gate> gate_ = std::make_shared<Gate>();
  base::Mutex releasing_;  // from the list's reading to the submission: one at a time
  mutable base::Mutex mutex_;
  std::shared_ptr<const Published> published_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace engram::server
