// A snapshot: a flat copy of the parameters, a forward pass bound to it, and the unit map of that
// moment. Kept in a pool, so that publishing in steady state is one memcpy.
//
// Threading: a snapshot is const once handed out; the pool belongs to the learner's thread.
// Ownership: the pool holds one reference; a snapshot that nobody else holds is overwritten by the
//   next Take.
// Failure: as Snapshot.
// Bounds: as many copies as readers hold at once, plus one.
#pragma once

#include <ATen/ATen.h>

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "strategies/api/snapshot.h"
#include "strategies/core/learner_state.h"
#include "strategies/core/unit_map.h"
#include "strategies/models/network.h"

namespace engram::strategies {

class TorchSnapshot : public Snapshot {
 public:
  // Copies the state of now. `units` is the state's own map as an immutable copy.
  void Fill(uint64_t version, const LearnerState& state, std::shared_ptr<const UnitMap> units);

  uint64_t version() const override { return version_; }
  int64_t class_count() const override { return units_->class_count(); }
  absl::Status Predict(absl::Span<const float> features, int64_t rows,
                       absl::Span<const int32_t> tasks, std::vector<float>* scores) const override;
  bool infers_tasks() const override { return infers_tasks_; }
  absl::Status InferTasks(absl::Span<const float> features, int64_t rows,
                          std::vector<InferredTask>* inferred) const override;
  NetworkOutputs Outputs() const override;
  absl::StatusOr<std::string> Export(const ExportOptions& options) const override;

 private:
  const ForwardPass& pass() const { return served_.empty() ? *network_pass_ : *served_.back(); }
  absl::Status CheckInput(absl::Span<const float> features, int64_t rows,
                          absl::Span<const int32_t> tasks) const;
  absl::Status CheckTasks(int64_t rows, absl::Span<const int32_t> tasks) const;
  // The tasks of all rows, those that are missing inferred, in this thread's buffer.
  absl::StatusOr<absl::Span<const int32_t>> CompleteTasks(absl::Span<const float> features,
                                                          int64_t rows,
                                                          absl::Span<const int32_t> tasks) const;
  absl::Status Score(absl::Span<const float> features, int64_t rows,
                     absl::Span<const int32_t> tasks, std::vector<float>* scores) const;

  uint64_t version_ = 0;
  int64_t feature_count_ = 0;
  at::Tensor flat_;
  std::unique_ptr<const ForwardPass> network_pass_;
  // What strategies serve in front of it, innermost first; the last answers.
  std::vector<std::unique_ptr<const ForwardPass>> served_;
  std::shared_ptr<const UnitMap> units_;
  bool unit_is_class_ = false;
  bool infers_tasks_ = false;
};

class SnapshotPool {
 public:
  std::shared_ptr<const Snapshot> Take(uint64_t version, const LearnerState& state);
  // Forgets the unit map it shares with past snapshots; after a restore.
  void Reset() { units_ = nullptr; }

 private:
  std::vector<std::shared_ptr<TorchSnapshot>> snapshots_;
  std::shared_ptr<const UnitMap> units_;
};

}  // namespace engram::strategies
