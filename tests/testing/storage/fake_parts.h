// The parts of FakeStore beside its log. Private to FakeStore.
#pragma once

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "storage/checkpoint_id.h"
#include "tests/testing/storage/fake_shared.h"

namespace engram::testing {

class FakeStore::Checkpoints : public storage::CheckpointStore {
 public:
  explicit Checkpoints(Shared* shared) : shared_(shared) {}

  absl::StatusOr<storage::CheckpointRow> Put(storage::ModelUid model,
                                             storage::NewCheckpoint checkpoint) override;
  absl::StatusOr<storage::CheckpointRow> PutAlias(storage::ModelUid model,
                                                  absl::string_view source_id,
                                                  storage::Sequence applied,
                                                  std::string stream_state) override;
  absl::StatusOr<storage::CheckpointRow> Find(storage::ModelUid model,
                                              absl::string_view id) const override;
  absl::StatusOr<std::vector<storage::CheckpointRow>> List(storage::ModelUid model) const override;
  absl::StatusOr<std::string> Load(storage::ModelUid model,
                                   const storage::CheckpointRow& row) const override;
  absl::Status Delete(storage::ModelUid model, absl::string_view id) override;
  absl::Status RemoveAll(storage::ModelUid model) override;

  void Corrupt(storage::ModelUid model, std::string id);

 private:
  using Rows = std::map<std::string, storage::CheckpointRow>;  // by id

  absl::StatusOr<storage::CheckpointRow> FindLocked(storage::ModelUid model,
                                                    absl::string_view id) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  absl::Status CheckRoom(storage::ModelUid model, absl::string_view label) const
      ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  Shared* const shared_;
  storage::CheckpointIds ids_;
  mutable base::Mutex mutex_;
  std::map<storage::ModelUid, Rows> rows_ ABSL_GUARDED_BY(mutex_);
  std::map<std::string, std::string> files_ ABSL_GUARDED_BY(mutex_);
};

class FakeStore::Episodic : public storage::EpisodicStore {
 public:
  absl::Status Put(
      storage::ModelUid model,
      absl::Span<const std::pair<storage::ExemplarKey, std::string>> payloads) override;
  absl::StatusOr<std::vector<std::string>> Read(
      storage::ModelUid model, absl::Span<const storage::ExemplarKey> keys) const override;
  absl::StatusOr<std::vector<storage::ExemplarKey>> Keys(storage::ModelUid model) const override;
  absl::StatusOr<int64_t> Sweep(storage::ModelUid model,
                                std::vector<storage::ExemplarKey> keep) override;
  absl::Status RemoveAll(storage::ModelUid model) override;

 private:
  mutable base::Mutex mutex_;
  std::map<storage::ModelUid, std::map<storage::ExemplarKey, std::string>> payloads_
      ABSL_GUARDED_BY(mutex_);
};

class FakeStore::Importance : public storage::ImportanceStore {
 public:
  absl::Status Put(storage::ModelUid model, const storage::ImportanceRow& row,
                   int64_t bytes_max) override;
  absl::StatusOr<std::vector<storage::ImportanceRow>> List(storage::ModelUid model) const override;
  absl::StatusOr<storage::ImportanceRow> Read(storage::ModelUid model, storage::Sequence boundary,
                                              uint32_t position) const override;
  absl::Status RemoveRange(storage::ModelUid model, storage::Sequence after,
                           storage::Sequence up_to) override;
  absl::Status RemoveAll(storage::ModelUid model) override;

 private:
  using Key = std::pair<storage::Sequence, uint32_t>;  // boundary, position

  mutable base::Mutex mutex_;
  std::map<storage::ModelUid, std::map<Key, storage::ImportanceRow>> rows_ ABSL_GUARDED_BY(mutex_);
};

class FakeStore::HeldOut : public storage::HeldOutStore {
 public:
  absl::Status Put(storage::ModelUid model, absl::Span<const storage::HeldOutRow> rows) override;
  absl::Status Delete(storage::ModelUid model, absl::string_view task,
                      storage::Sequence sequence) override;
  absl::Status ForEach(storage::ModelUid model,
                       const std::function<bool(storage::HeldOutRow)>& visit) const override;
  absl::Status RemoveAll(storage::ModelUid model) override;

 private:
  using Key = std::pair<std::string, storage::Sequence>;  // task, sequence

  mutable base::Mutex mutex_;
  std::map<storage::ModelUid, std::map<Key, std::string>> rows_ ABSL_GUARDED_BY(mutex_);
};

class FakeStore::Catalog : public storage::ModelCatalog {
 public:
  explicit Catalog(Shared* shared) : shared_(shared) {}

  absl::StatusOr<storage::ModelRow> Create(absl::string_view name, std::string spec,
                                           const storage::StartingWeights& weights) override;
  absl::StatusOr<std::string> LoadWeights(storage::ModelUid model) const override;
  absl::StatusOr<std::vector<storage::ModelRow>> List() const override;
  absl::Status SetPaused(storage::ModelUid model, bool paused) override;
  absl::Status PauseFor(storage::ModelUid model, std::string reason) override;
  absl::Status Remove(storage::ModelUid model) override;
  absl::StatusOr<std::vector<storage::ModelUid>> Orphans() const override;
  absl::Status ForgetOrphan(storage::ModelUid model) override;
  absl::Status PutReportRow(storage::ModelUid model, storage::Sequence boundary,
                            std::string row) override;
  absl::StatusOr<std::vector<std::pair<storage::Sequence, std::string>>> ReportRows(
      storage::ModelUid model) const override;
  absl::Status RemoveReportRows(storage::ModelUid model) override;
  absl::Status PutErasure(storage::ModelUid model, absl::string_view name,
                          std::string row) override;
  absl::StatusOr<absl::optional<std::string>> FindErasure(storage::ModelUid model,
                                                          absl::string_view name) const override;
  absl::Status RemoveErasure(storage::ModelUid model, absl::string_view name) override;
  absl::Status RemoveErasures(storage::ModelUid model) override;
  int64_t weights_loads() const;

 private:
  Shared* const shared_;
  mutable base::Mutex mutex_;
  mutable int64_t weights_loads_ ABSL_GUARDED_BY(mutex_) = 0;
  storage::ModelUid last_uid_ ABSL_GUARDED_BY(mutex_) = 0;
  std::map<storage::ModelUid, storage::ModelRow> rows_ ABSL_GUARDED_BY(mutex_);
  std::set<storage::ModelUid> orphans_ ABSL_GUARDED_BY(mutex_);
  std::map<storage::ModelUid, std::string> weights_ ABSL_GUARDED_BY(mutex_);
  std::map<storage::ModelUid, std::map<storage::Sequence, std::string>> report_rows_
      ABSL_GUARDED_BY(mutex_);
  std::map<storage::ModelUid, std::map<std::string, std::string>> erasures_
      ABSL_GUARDED_BY(mutex_);
};

}  // namespace engram::testing
