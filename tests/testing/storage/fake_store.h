// A storage::Store in memory, for tests of what stands on storage. It keeps the contracts of
// storage/*.h (sequences, dedupe rows, trim, labels, sweeps) and adds what a test steers:
// when commits happen, failures, and a crash.
//
// Threading: every method from any thread. kInline runs on_durable inside Submit, kByHand inside
//   Commit, kThread on a committer thread as the real store does (use it where the caller holds a
//   lock across Submit).
// Failure: as the contracts; never DATA_LOSS, except EpisodicStore::Read of a missing key and
//   CheckpointStore::Load after CorruptCheckpoint.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "storage/store.h"
#include "storage/store_folder.h"

namespace engram::testing {

enum class CommitMode { kInline, kByHand, kThread };

struct FakeStoreOptions {
  CommitMode commit = CommitMode::kInline;
  std::function<int64_t()> now_ms;  // null: a clock that stands at 1 000 000
  int64_t checkpoints_max = 64;
  int64_t queue_bytes_max = 64 << 20;
};

class FakeStore : public storage::Store {
 public:
  explicit FakeStore(FakeStoreOptions options = {});
  ~FakeStore() override;

  storage::SampleLog& log() override;
  storage::CheckpointStore& checkpoints() override;
  storage::EpisodicStore& episodic() override;
  storage::ImportanceStore& importance() override;
  storage::HeldOutStore& held_out() override;
  storage::ModelCatalog& catalog() override;
  storage::StoreStatistics Statistics() const override;
  void ObserveCommits(std::function<void(double seconds)> observer) override;
  void ObserveHealth(std::function<void(const absl::Status& read_only)> observer) override;
  absl::Status Scrub() override { return absl::OkStatus(); }
  // What a test said it should do; UNIMPLEMENTED otherwise.
  absl::StatusOr<storage::BackupManifest> BackUp(const storage::BackupRequest& request) override {
    return back_up != nullptr ? back_up(request) : absl::UnimplementedError("no backup here");
  }
  std::function<absl::StatusOr<storage::BackupManifest>(const storage::BackupRequest&)> back_up;
  absl::Status Purge(storage::ModelUid, absl::Span<const storage::Sequence>) override {
    return absl::OkStatus();
  }
  absl::Status RequireFormat(int wanted) override {
    if (format_answer.ok() && wanted > format) format = wanted;
    return format_answer;
  }
  std::atomic<int> format{storage::kStoreFormatAtOpen};
  absl::Status format_answer;  // set before it is asked for
  std::string EngineVersion() const override;

  // Makes everything submitted so far durable, in order, and runs the callbacks. Returns how many
  // submissions that were.
  size_t Commit();
  // From now on every commit fails with `reason`, as after a failed sync: the log is read-only.
  void FailCommits(std::string reason);
  // Submit and CheckpointStore::Put answer this until it is OK again, e.g. RESOURCE_EXHAUSTED.
  void RefuseWrites(absl::Status status);
  // What a power failure leaves: submissions that were not durable are gone, their callbacks never
  // run, every log has to be opened again. Failures injected before are cleared.
  void Crash();
  // How often a model's weights were read.
  int64_t weights_loads() const;
  // `hook` runs while a checkpoint is being deleted: still found, and gone a moment later.
  void WhileDeleting(std::function<void()> hook);
  // The stored tensors of a checkpoint fail their checksum from now on.
  void CorruptCheckpoint(storage::ModelUid model, std::string id);

 private:
  class Shared;
  class Log;
  class Checkpoints;
  class Episodic;
  class Importance;
  class HeldOut;
  class Catalog;

  std::unique_ptr<Shared> shared_;
  std::unique_ptr<Log> log_;
  std::unique_ptr<Checkpoints> checkpoints_;
  std::unique_ptr<Episodic> episodic_;
  std::unique_ptr<Importance> importance_;
  std::unique_ptr<HeldOut> held_out_;
  std::unique_ptr<Catalog> catalog_;
};

}  // namespace engram::testing
