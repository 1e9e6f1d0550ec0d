// The Learner: checks what comes in, runs the strategy list around the plain step, and turns a
// c10::Error into a Status.
#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <cmath>
#include <exception>
#include <utility>

#include "absl/strings/str_cat.h"
#include "storage/base/status_macros.h"
#include "strategies/api/learner.h"
#include "strategies/core/learner_state.h"
#include "strategies/core/torch_snapshot.h"
#include "strategies/memory/priority_key.h"

namespace engram::strategies {
namespace {

// Runs `body` as every entry must: without autograd, and with LibTorch's exceptions caught.
template <typename Body>
auto Guarded(const char* what, Body body) -> decltype(body()) {
  try {
    const c10::InferenceMode guard;
    return body();
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat(what, " failed: ", error.what()));
  }
}

absl::Status CheckBatch(const BatchView& batch, const ModelOptions& options) {
  const auto wrong = [](absl::string_view field, int64_t expected, size_t got) {
    return absl::InvalidArgumentError(
        absl::StrCat("batch.", field, ": expected ", expected, " values, got ", got));
  };
  if (batch.rows < 1 || batch.rows > options.batch_size) {
    return absl::InvalidArgumentError(
        absl::StrCat("batch.rows: must be in [1, ", options.batch_size, "], got ", batch.rows));
  }
  if (batch.feature_count != options.feature_count) {
    return absl::InvalidArgumentError(absl::StrCat(
        "batch.feature_count: expected ", options.feature_count, ", got ", batch.feature_count));
  }
  const size_t rows = static_cast<size_t>(batch.rows);
  const size_t values = rows * static_cast<size_t>(batch.feature_count);
  if (batch.features.size() != values) {
    return wrong("features", static_cast<int64_t>(values), batch.features.size());
  }
  if (batch.classes.size() != rows) return wrong("classes", batch.rows, batch.classes.size());
  if (batch.tasks.size() != rows) return wrong("tasks", batch.rows, batch.tasks.size());
  if (batch.sequences.size() != rows) return wrong("sequences", batch.rows, batch.sequences.size());
  if (!batch.weights.empty() && batch.weights.size() != rows) {
    return wrong("weights", batch.rows, batch.weights.size());
  }
  if (!batch.senders.empty() && batch.senders.size() != rows) {
    return wrong("senders", batch.rows, batch.senders.size());
  }
  return absl::OkStatus();
}

// Rows whose unit scores highest among those the row sees and that existed before this batch.
int64_t CountCorrect(const at::Tensor& logits, const TrainingBatch& batch, const UnitMap& units,
                     int64_t known_units) {
  const int64_t width = logits.size(1);
  const float* scores = logits.data_ptr<float>();
  int64_t correct = 0;
  for (int64_t row = 0; row < batch.stream_rows(); ++row, scores += width) {
    const size_t index = static_cast<size_t>(row);
    int64_t best = UnitMap::kNoUnit;
    const auto consider = [&](int64_t unit) {
      if (unit >= known_units || std::isnan(scores[unit])) return;
      if (best < 0 || scores[unit] > scores[best]) best = unit;
    };
    if (units.per_task()) {
      for (int64_t unit : units.UnitsOf(batch.tasks()[index])) consider(unit);
    } else {
      for (int64_t unit = 0; unit < known_units; ++unit) consider(unit);
    }
    correct += best == batch.targets()[index] ? 1 : 0;
  }
  return correct;
}

class TorchLearner : public Learner {
 public:
  explicit TorchLearner(std::unique_ptr<LearnerState> state) : state_(std::move(state)) {}

  absl::Status StartFrom(const PretrainedWeights& weights) override {
    return Guarded("pretrained weights", [&]() -> absl::Status {
      ENGRAM_ASSIGN_OR_RETURN(state_, LearnerState::Make(state_->options, &weights));
      pool_.Reset();
      return absl::OkStatus();
    });
  }

  absl::StatusOr<StepReport> Train(const BatchView& batch) override {
    ENGRAM_RETURN_IF_ERROR(CheckBatch(batch, state_->options));
    return Guarded("training step",
                   [&]() -> absl::StatusOr<StepReport> { return TrainChecked(batch); });
  }

  absl::StatusOr<BoundaryReport> MarkBoundary(const TaskBoundary& boundary) override {
    return Guarded("consolidation",
                   [&]() -> absl::StatusOr<BoundaryReport> { return Consolidate(boundary); });
  }

  absl::Status Reconfigure(const ModelOptions& next) override {
    ENGRAM_RETURN_IF_ERROR(ValidateLiveChange(state_->options, next));
    ENGRAM_ASSIGN_OR_RETURN(const auto resolved, ResolveStrategies(next));
    for (size_t i = 0; i < resolved.size(); ++i) {
      state_->strategies[i]->Reconfigure(resolved[i].parameters);
    }
    state_->optimizer->Reconfigure(next.optimizer);
    state_->options = next;
    return absl::OkStatus();
  }

  absl::StatusOr<std::shared_ptr<const Snapshot>> TakeSnapshot(uint64_t version) override {
    return Guarded("snapshot", [&]() -> absl::StatusOr<std::shared_ptr<const Snapshot>> {
      return pool_.Take(version, *state_);
    });
  }

  absl::StatusOr<SavedLearner> Save(
      const std::function<bool(const MemberKey&)>& is_stored) const override {
    return Guarded("save", [&] { return SaveState(*state_, is_stored); });
  }

  absl::Status Restore(const SavedLearner& saved,
                       const std::vector<MemberPayload>& payloads) override {
    return Guarded("restore", [&]() -> absl::Status {
      ENGRAM_ASSIGN_OR_RETURN(state_, LoadState(state_->options, saved, payloads));
      pool_.Reset();
      return absl::OkStatus();
    });
  }

  LearnerGauges Gauges() const override {
    LearnerGauges gauges;
    gauges.parameters = state_->arena.parameter_count();
    for (const auto& strategy : state_->strategies) strategy->AddGauges(&gauges);
    return gauges;
  }

 private:
  absl::StatusOr<StepReport> TrainChecked(const BatchView& view) {
    LearnerState& state = *state_;
    const int64_t known_units = state.units.size();
    int64_t added = 0;
    ENGRAM_RETURN_IF_ERROR(state.units.Admit(view.classes, view.tasks, &added));
    if (added > 0) {
      state.network->AddUnits(added, &state.generator);
      state.AverageNewUnits(known_units);
    }
    state.batch->Reset(view, state.units);
    absl::StatusOr<Observation> seen = Observe(0, *state.batch, *state.context);
    state.context->ClearHooks();
    ENGRAM_RETURN_IF_ERROR(seen.status());
    StepReport report;
    report.rows = view.rows;
    report.correct = CountCorrect(seen->logits, *state.batch, state.units, known_units);
    report.loss = seen->loss;
    report.skipped = seen->skipped;
    report.skip_reason = std::move(seen->skip_reason);
    state.examples_seen += view.rows;
    if (!report.skipped) {
      KeepForConsolidation();
      state.AverageStep();
      state.context->penalty_schedule().OnStep();
    }
    return report;
  }

  // Strategies from `position` on, then the plain step.
  absl::StatusOr<Observation> Observe(size_t position, TrainingBatch& batch, StepContext& context) {
    if (position == state_->strategies.size()) return context.PlainStep(batch);
    return state_->strategies[position]->Observe(
        batch, context, [this, position](TrainingBatch& inner, StepContext& inner_context) {
          return Observe(position + 1, inner, inner_context);
        });
  }

  void KeepForConsolidation() {
    if (state_->consolidation == nullptr) return;
    const TrainingBatch& batch = *state_->batch;
    for (int64_t row = 0; row < batch.stream_rows(); ++row) {
      state_->consolidation->Offer(batch.Example(row));
    }
  }

  // The slots of highest priority: a uniform draw of any size from the reservoir. Where senders are
  // capped the highest are of the one who sent most, so there they take turns.
  std::vector<int64_t> ConsolidationSlots() const {
    const ExemplarMemory* memory = state_->consolidation.get();
    if (memory == nullptr) return {};
    std::vector<std::pair<uint64_t, int64_t>> ranked;
    for (int64_t slot = 0; slot < memory->size(); ++slot) {
      const uint64_t sequence = memory->At(slot).sequence;
      ranked.emplace_back(PriorityKey(state_->options.seed, kConsolidationMemory, sequence), slot);
    }
    std::sort(ranked.rbegin(), ranked.rend());
    std::vector<int64_t> slots;
    for (const auto& entry : ranked) slots.push_back(entry.second);
    const double share = state_->options.max_sender_share;
    if (!CapsSenders(share)) return slots;
    std::vector<uint64_t> senders;
    for (const int64_t slot : slots) senders.push_back(memory->At(slot).sender);
    std::vector<int64_t> spread;
    for (const int64_t rank : SpreadSenders(senders, share)) spread.push_back(slots[rank]);
    return spread;
  }

  absl::StatusOr<BoundaryReport> Consolidate(const TaskBoundary& boundary) {
    LearnerState& state = *state_;
    const std::vector<int64_t> slots = ConsolidationSlots();
    const int64_t width = state.options.feature_count;
    const at::Tensor features = at::empty({static_cast<int64_t>(slots.size()), width}, at::kFloat);
    std::vector<int64_t> targets;
    std::vector<int32_t> classes;
    std::vector<int32_t> tasks;
    std::vector<uint64_t> sequences;
    std::vector<uint64_t> senders;
    float* row = features.data_ptr<float>();
    for (int64_t slot : slots) {
      const ExemplarView example = state.consolidation->At(slot);
      row = std::copy(example.features.begin(), example.features.end(), row);
      targets.push_back(state.units.Find(example.task, example.class_index));
      classes.push_back(example.class_index);
      tasks.push_back(example.task);
      sequences.push_back(example.sequence);
      senders.push_back(example.sender);
    }
    BoundaryReport report;
    const at::Tensor before = state.average.has_value() ? state.arena.flat().clone() : at::Tensor();
    for (const auto& strategy : state.strategies) {
      const int64_t count =
          std::min(strategy->ConsolidationExamples(), static_cast<int64_t>(slots.size()));
      const size_t rows = static_cast<size_t>(count);
      const ConsolidationSet examples{features.narrow(0, 0, count),
                                      absl::MakeConstSpan(targets).first(rows),
                                      absl::MakeConstSpan(tasks).first(rows),
                                      absl::MakeConstSpan(classes).first(rows),
                                      absl::MakeConstSpan(sequences).first(rows),
                                      absl::MakeConstSpan(senders).first(rows)};
      ENGRAM_RETURN_IF_ERROR(strategy->Consolidate(boundary, examples, *state.context, &report));
    }
    if (state.consolidation != nullptr) state.consolidation->Clear();
    // Weights that a strategy replaced at the boundary have no past to average with.
    if (before.defined() && !before.equal(state.arena.flat())) state.RestartAverage();
    state.optimizer->OnBoundary();
    state.context->ClearHooks();
    state.context->set_boundaries(++state.boundaries_seen);
    state.context->penalty_schedule().OnBoundary(state.units.size());
    return report;
  }

  std::unique_ptr<LearnerState> state_;
  SnapshotPool pool_;
};

}  // namespace

absl::StatusOr<std::unique_ptr<Learner>> MakeLearner(const ModelOptions& options) {
  ENGRAM_RETURN_IF_ERROR(ValidateOptions(options));
  return Guarded("learner", [&]() -> absl::StatusOr<std::unique_ptr<Learner>> {
    ENGRAM_ASSIGN_OR_RETURN(std::unique_ptr<LearnerState> state, LearnerState::Make(options));
    return std::make_unique<TorchLearner>(std::move(state));
  });
}

}  // namespace engram::strategies
