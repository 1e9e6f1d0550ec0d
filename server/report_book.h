// The report of one model: rows of R, live accuracies, rollbacks, events. Rows are durable
// (ModelCatalog); which of them stand follows from the stream's rollbacks, so nothing is rewritten.
//
// Threading: every method from any thread. Observers run under the observers' lock, one at a time,
//   and must not call Watch or Unwatch.
// Bounds: one row a boundary; the live row is one; the last 16 firings of the guard;
//   1 000 classes.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/status.h"
#include "engram/internal/records.pb.h"
#include "engram/v1/evaluation.pb.h"
#include "server/lineage.h"
#include "server/stream_state.h"
#include "storage/base/mutex.h"
#include "storage/types.h"
#include "strategies/api/learner.h"

namespace engram::server {

class ReportBook {
 public:
  using Observer = std::function<void(const v1::ReportEvent&)>;

  explicit ReportBook(std::string model) : model_(std::move(model)) {}

  absl::Status Load(const std::vector<std::pair<storage::Sequence, std::string>>& rows);

  bool Has(uint64_t sequence) const;
  // A boundary whose row is on its way.
  void OpenBoundary(uint64_t sequence, const std::string& ended_task);
  // Ends OpenBoundary, with its row or, when it could not be evaluated, without.
  void AddRow(const internal::ReportRow& row);
  void DropBoundary(uint64_t sequence);
  uint64_t OldestOpenBoundary() const;  // AppliedWaiters::kNoneOpen when none
  void AddRollback(const v1::ReportEvent::RolledBack& rollback);
  void SetLive(const v1::AccuracyRow& row);
  void AddCanary(const v1::ReportEvent::Canary& canary);
  void AnnounceCheckpoint(const std::string& id, uint64_t applied);
  void AnnounceReport(const v1::Report& report);

  // What is applied: counts, columns, rollbacks, and what the learner keeps.
  void SetStream(uint64_t version, const StreamState& state,
                 const strategies::LearnerGauges& gauges);
  // Of the stream that was set last.
  Rewinds CurrentRewinds() const;
  // Columns without a baseline and without training up to now.
  std::vector<int32_t> ColumnsWithoutBaseline(const StreamState& state) const;
  // Ended tasks of the boundaries that stand now and would not with these rollbacks.
  std::vector<std::string> UndoneWith(const Rewinds& rewinds) const;

  v1::Report Report(uint64_t durable,
                    const absl::flat_hash_map<std::string, int64_t>& held_out) const;

  // STATE_UNSPECIFIED when there never was one.
  v1::TuneReport Tune() const;

  uint64_t Watch(const v1::Report& now, Observer observer);
  void Unwatch(uint64_t id);

 private:
  struct Column {
    std::string name;
    int64_t train_examples = 0;
    int64_t exemplars = 0;
  };
  struct Baseline {
    double accuracy = 0;
    double task_accuracy = 0;
  };

  void FillSummaries(v1::Report* report) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void FillLatest(v1::Report* report) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);
  void Emit(const v1::ReportEvent& event);

  const std::string model_;
  mutable base::Mutex mutex_;
  std::map<uint64_t, v1::AccuracyRow> rows_ ABSL_GUARDED_BY(mutex_);
  std::map<uint64_t, std::string> open_ ABSL_GUARDED_BY(mutex_);
  std::map<uint64_t, v1::ReportEvent::RolledBack> rollbacks_ ABSL_GUARDED_BY(mutex_);
  std::map<int32_t, Baseline> baselines_ ABSL_GUARDED_BY(mutex_);
  v1::AccuracyRow live_ ABSL_GUARDED_BY(mutex_);
  std::deque<v1::ReportEvent::Canary> canaries_ ABSL_GUARDED_BY(mutex_);
  uint64_t version_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<Column> columns_ ABSL_GUARDED_BY(mutex_);
  std::vector<v1::ClassExemplars> classes_ ABSL_GUARDED_BY(mutex_);
  StepCounters counters_ ABSL_GUARDED_BY(mutex_);
  int64_t train_examples_ ABSL_GUARDED_BY(mutex_) = 0;
  v1::TuneReport tune_ ABSL_GUARDED_BY(mutex_);
  Rewinds rewinds_ ABSL_GUARDED_BY(mutex_);

  base::Mutex observers_mutex_;
  uint64_t next_observer_ ABSL_GUARDED_BY(observers_mutex_) = 1;
  std::map<uint64_t, Observer> observers_ ABSL_GUARDED_BY(observers_mutex_);
};

}  // namespace engram::server
