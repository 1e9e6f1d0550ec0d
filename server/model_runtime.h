// One live model: admission into its log, its trainer, its served snapshots, its report, its
// checkpoints. What the services talk to.
//
// Threading: every method from any thread; none blocks on training, evaluation or I/O except where
//   said. Callbacks run exactly once, inline or on the committer's, trainer's or background thread:
//   they must be short.
// Ownership: shared_ptr; a deleted model answers NOT_FOUND until the last call lets go.
// Failure: statuses of server/errors.h, ready for the wire.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "engram/v1/admin.pb.h"
#include "engram/v1/checkpoints.pb.h"
#include "engram/v1/evaluation.pb.h"
#include "engram/v1/learning.pb.h"
#include "engram/v1/model.pb.h"
#include "engram/v1/quarantine.pb.h"
#include "server/statistics.h"
#include "strategies/api/learner.h"
#include "strategies/api/snapshot.h"

namespace engram::server {

// What the stream had shown when a snapshot was taken: names for its numbers. Immutable.
struct StreamView {
  std::vector<v1::Label> labels;                            // by class index
  std::vector<std::string> tasks;                           // by column
  absl::flat_hash_map<std::string, int32_t> task_index;
  int32_t current_task = 0;                                 // its column
};

// A version that can answer predictions.
struct Served {
  std::shared_ptr<const strategies::Snapshot> snapshot;
  std::shared_ptr<const StreamView> view;
  uint64_t version() const { return snapshot->version(); }
};

// How a message ended. `rejection` not OK: nothing stored, its producer sequence is used up.
struct Accepted {
  uint64_t first_sequence = 0;
  int64_t count = 0;
  bool duplicate = false;
  absl::Status rejection;
  std::string ended_task;  // of a boundary
  std::string next_task;
};

// A checkpoint's network as a file (model_file.h).
struct ModelFile {
  v1::ExportResponse::Header header;
  std::string bytes;
};

class ModelRuntime {
 public:
  virtual ~ModelRuntime() = default;

  virtual const std::string& name() const = 0;
  virtual v1::Model Describe() const = 0;
  virtual ModelStatistics& statistics() = 0;
  // The spec in force at the head of the log, defaults filled in.
  virtual std::shared_ptr<const v1::ModelSpec> spec() const = 0;

  // Learning. Hello raises the producer's epoch, durably. DATA_LOSS ACK_AHEAD.
  virtual void Hello(const v1::LearnHello& hello,
                     std::function<void(absl::StatusOr<v1::LearnWelcome>)> done) = 0;
  // One message: examples or a boundary. `epoch` 0 = whatever is current. `done` gets an error for
  // what closes a stream (gap, stale epoch, storage), an Accepted otherwise, once it is durable.
  // `message` is moved from.
  virtual void Learn(const std::string& producer, uint64_t epoch, v1::LearnMessage message,
                     std::function<void(absl::StatusOr<Accepted>)> done) = 0;
  // Losses that lock learning, and their acknowledgement: what was acknowledged (`producer` empty:
  // of all). Blocks on disk.
  virtual std::vector<v1::Loss> Losses() const = 0;
  virtual absl::StatusOr<std::vector<v1::Loss>> AcknowledgeLoss(const std::string& producer) = 0;
  virtual uint64_t DurableSequence() const = 0;
  virtual uint64_t AppliedSequence() const = 0;
  // `done` once `sequence` is applied (and, if asked, boundaries up to it evaluated), or with
  // DEADLINE_EXCEEDED at `deadline` of Clock::Monotonic, saying how far it got.
  virtual void WaitApplied(uint64_t sequence, bool evaluated, absl::Duration deadline,
                           std::function<void(absl::StatusOr<v1::WaitAppliedResponse>)> done) = 0;

  // By id, subject or producer; answers when nothing of the examples is left. INVALID_ARGUMENT for
  // a selector that would match everything.
  virtual void Erase(const v1::EraseRequest& request,
                     std::function<void(absl::StatusOr<v1::EraseResponse>)> done) = 0;

  // What was set aside, and what was refused. Both block on the log, but for the rejected.
  virtual absl::StatusOr<v1::ListQuarantinedResponse> ListQuarantined(
      const v1::ListQuarantinedRequest& request) const = 0;
  // Answers when the released are durable.
  virtual void ReleaseQuarantined(
      const v1::ReleaseQuarantinedRequest& request,
      std::function<void(absl::StatusOr<v1::ReleaseQuarantinedResponse>)> done) = 0;
  virtual absl::StatusOr<v1::ListRejectedResponse> ListRejected(
      const v1::ListRejectedRequest& request) const = 0;

  // Prediction. Ready() is OK once there is a snapshot to answer from; until then UNAVAILABLE
  // "recovering: n/m records", or why recovery failed. Live() never blocks; its snapshot is null
  // exactly until Ready().
  virtual absl::Status Ready() const = 0;
  virtual Served Live() const = 0;
  // The live version or a kept checkpoint's (loaded on demand, a few are cached; blocks on disk).
  virtual absl::StatusOr<Served> Version(uint64_t version) = 0;

  // Evaluation.
  virtual v1::Report Report() const = 0;
  // Events from now on, the current report first. Unwatch returns once no callback runs any more.
  virtual uint64_t Watch(std::function<void(const v1::ReportEvent&)> observer) = 0;
  virtual void Unwatch(uint64_t id) = 0;
  virtual absl::StatusOr<v1::EvaluateResponse> Evaluate(const v1::EvaluateRequest& request) = 0;
  // Who taught it what (blame.h). Reads the log and predicts: blocks, CANCELLED once `left` says
  // that nobody waits for the answer.
  virtual absl::StatusOr<v1::BlameResponse> Blame(const v1::BlameRequest& request,
                                                  const std::function<bool()>& left) = 0;

  // Checkpoints.
  virtual void CreateCheckpoint(const v1::CreateCheckpointRequest& request,
                                std::function<void(absl::StatusOr<v1::Checkpoint>)> done) = 0;
  virtual absl::StatusOr<std::vector<v1::Checkpoint>> ListCheckpoints() const = 0;
  virtual absl::StatusOr<v1::Checkpoint> GetCheckpoint(absl::string_view id) const = 0;
  virtual absl::Status DeleteCheckpoint(absl::string_view id) = 0;
  virtual void Rollback(const v1::RollbackRequest& request,
                        std::function<void(absl::StatusOr<v1::RollbackResponse>)> done) = 0;
  // Blocks on disk.
  virtual absl::StatusOr<ModelFile> Export(const v1::ExportRequest& request) = 0;

  virtual strategies::LearnerGauges Gauges() const = 0;
};

}  // namespace engram::server
