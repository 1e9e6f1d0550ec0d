#include "strategies/core/torch_snapshot.h"

#include <c10/core/InferenceMode.h>

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstring>
#include <exception>
#include <utility>

#include "absl/strings/str_cat.h"
#include "storage/base/status_macros.h"
#include "strategies/api/compute.h"
#include "strategies/core/cross_entropy.h"
#include "strategies/core/kernels.h"
#include "strategies/core/network_export.h"
#include "strategies/core/torchscript_writer.h"

namespace engram::strategies {
namespace {

struct PredictScratch {
  ForwardScratch forward;
  std::vector<float> logits;
  std::vector<int32_t> tasks;
  std::vector<InferredTask> inferred;
};

// Settles torch's threads on the first prediction of each thread.
PredictScratch& ThisThread() {
  thread_local PredictScratch scratch;
  thread_local bool entered = false;
  if (!entered) {
    EnterComputeThread();
    entered = true;
  }
  return scratch;
}

}  // namespace

void TorchSnapshot::Fill(uint64_t version, const LearnerState& state,
                         std::shared_ptr<const UnitMap> units) {
  const at::Tensor& source = state.served();
  if (!flat_.defined() || flat_.numel() != source.numel()) {
    flat_ = at::empty({source.numel()}, at::kFloat);
  }
  network_pass_ = state.network->Bind(flat_);
  if (units_ != units) {
    const auto& owners = units->owners();
    unit_is_class_ = !units->per_task();
    for (size_t i = 0; unit_is_class_ && i < owners.size(); ++i) {
      unit_is_class_ = owners[i].cls == static_cast<int32_t>(i);
    }
    infers_tasks_ =
        units->per_task() &&
        std::any_of(state.strategies.begin(), state.strategies.end(),
                    [](const auto& strategy) { return strategy->Traits().infers_task; });
    units_ = std::move(units);
  }
  std::memcpy(flat_.data_ptr<float>(), source.data_ptr<float>(), source.nbytes());
  served_.clear();
  for (auto strategy = state.strategies.rbegin(); strategy != state.strategies.rend(); ++strategy) {
    std::unique_ptr<const ForwardPass> served = (*strategy)->Serve(pass());
    if (served != nullptr) served_.push_back(std::move(served));
  }
  version_ = version;
  feature_count_ = state.options.feature_count;
}

absl::Status TorchSnapshot::Predict(absl::Span<const float> features, int64_t rows,
                                    absl::Span<const int32_t> tasks,
                                    std::vector<float>* scores) const {
  scores->clear();
  ENGRAM_RETURN_IF_ERROR(CheckInput(features, rows, tasks));
  if (rows == 0 || units_->size() == 0) return absl::OkStatus();
  if (infers_tasks_) {
    ENGRAM_ASSIGN_OR_RETURN(tasks, CompleteTasks(features, rows, tasks));
  }
  ENGRAM_RETURN_IF_ERROR(CheckTasks(rows, tasks));
  try {
    const c10::InferenceMode guard;
    return Score(features, rows, tasks, scores);
  } catch (const std::exception& error) {
    scores->clear();
    return absl::InternalError(absl::StrCat("prediction failed: ", error.what()));
  }
}

absl::Status TorchSnapshot::CheckInput(absl::Span<const float> features, int64_t rows,
                                       absl::Span<const int32_t> tasks) const {
  if (rows < 0 || static_cast<int64_t>(features.size()) != rows * feature_count_) {
    return absl::InvalidArgumentError(absl::StrCat("features: expected ", rows * feature_count_,
                                                   " values, got ", features.size()));
  }
  if (!tasks.empty() && static_cast<int64_t>(tasks.size()) != rows) {
    return absl::InvalidArgumentError(
        absl::StrCat("tasks: expected ", rows, " or none, got ", tasks.size()));
  }
  return absl::OkStatus();
}

absl::Status TorchSnapshot::CheckTasks(int64_t rows, absl::Span<const int32_t> tasks) const {
  if (!units_->per_task()) return absl::OkStatus();
  for (int64_t row = 0; row < rows; ++row) {
    const int32_t task = tasks.empty() ? -1 : tasks[static_cast<size_t>(row)];
    if (task < 0) {
      return absl::InvalidArgumentError(
          absl::StrCat("row ", row, ": a task is required, heads are per task"));
    }
    if (units_->UnitsOf(task).empty()) {
      return absl::NotFoundError(absl::StrCat("row ", row, ": task ", task, " has no head yet"));
    }
  }
  return absl::OkStatus();
}

absl::Status TorchSnapshot::InferTasks(absl::Span<const float> features, int64_t rows,
                                       std::vector<InferredTask>* inferred) const {
  inferred->clear();
  ENGRAM_RETURN_IF_ERROR(CheckInput(features, rows, {}));
  if (!infers_tasks_) return absl::FailedPreconditionError("this model infers no task");
  if (units_->size() == 0) return absl::OkStatus();
  try {
    const c10::InferenceMode guard;
    inferred->resize(static_cast<size_t>(rows));
    pass().InferTasks(features.data(), rows, *units_, &ThisThread().forward,
                      absl::MakeSpan(*inferred));
    return absl::OkStatus();
  } catch (const std::exception& error) {
    inferred->clear();
    return absl::InternalError(absl::StrCat("task inference failed: ", error.what()));
  }
}

NetworkOutputs TorchSnapshot::Outputs() const { return OutputsOf(*units_); }

absl::StatusOr<std::string> TorchSnapshot::Export(const ExportOptions& options) const {
  ThisThread();
  try {
    const c10::InferenceMode guard;
    ENGRAM_ASSIGN_OR_RETURN(const DescribedNetwork network, DescribeNetwork(pass(), *units_));
    if (options.format == ExportFormat::kTorchScript) return WriteTorchScript(network, options);
    // A model made of the file would take the layers for the network that it trains.
    if (!served_.empty()) {
      return absl::FailedPreconditionError(
          "safetensors holds the layers of the network, and something else answers here; export "
          "it as TorchScript");
    }
    return WriteSafetensors(network, options);
  } catch (const std::exception& error) {
    return absl::InternalError(absl::StrCat("export failed: ", error.what()));
  }
}

absl::StatusOr<absl::Span<const int32_t>> TorchSnapshot::CompleteTasks(
    absl::Span<const float> features, int64_t rows, absl::Span<const int32_t> tasks) const {
  const auto is_missing = [](int32_t task) { return task < 0; };
  if (!tasks.empty() && std::none_of(tasks.begin(), tasks.end(), is_missing)) return tasks;
  PredictScratch& scratch = ThisThread();
  ENGRAM_RETURN_IF_ERROR(InferTasks(features, rows, &scratch.inferred));
  scratch.tasks.assign(tasks.begin(), tasks.end());
  scratch.tasks.resize(static_cast<size_t>(rows), -1);
  for (size_t row = 0; row < scratch.tasks.size(); ++row) {
    if (is_missing(scratch.tasks[row])) scratch.tasks[row] = scratch.inferred[row].task;
  }
  return absl::MakeConstSpan(scratch.tasks);
}

absl::Status TorchSnapshot::Score(absl::Span<const float> features, int64_t rows,
                                  absl::Span<const int32_t> tasks,
                                  std::vector<float>* scores) const {
  PredictScratch& scratch = ThisThread();
  const int64_t width = units_->size(), classes = units_->class_count();
  scores->resize(static_cast<size_t>(rows * classes));
  float* logits = scores->data();
  if (!unit_is_class_) {
    scratch.logits.resize(std::max(scratch.logits.size(), static_cast<size_t>(rows * width)));
    logits = scratch.logits.data();
  }
  pass().Run(features.data(), rows, tasks, &scratch.forward, logits);
  if (!std::isfinite(ActiveKernels().largest_magnitude(logits, rows * width))) {
    scores->clear();
    return absl::InternalError(
        absl::StrCat("model version ", version_, " produced non-finite output"));
  }
  SoftmaxRows(logits, rows, width, tasks, *units_, logits);
  if (unit_is_class_) return absl::OkStatus();
  std::fill(scores->begin(), scores->end(), 0.0f);
  const auto& owners = units_->owners();
  for (int64_t row = 0; row < rows; ++row) {
    float* target = scores->data() + row * classes;
    for (int64_t unit = 0; unit < width; ++unit) {
      // Per task, several units stand for one class; those that the row does not see are 0.
      target[owners[static_cast<size_t>(unit)].cls] += logits[row * width + unit];
    }
  }
  return absl::OkStatus();
}

std::shared_ptr<const Snapshot> SnapshotPool::Take(uint64_t version, const LearnerState& state) {
  if (units_ == nullptr || units_->size() != state.units.size()) {
    units_ = std::make_shared<const UnitMap>(state.units);
  }
  for (const std::shared_ptr<TorchSnapshot>& snapshot : snapshots_) {
    if (snapshot.use_count() != 1) continue;
    // The last reader's release of its reference happens before the copy over what it read.
    std::atomic_thread_fence(std::memory_order_acquire);
    snapshot->Fill(version, state, units_);
    return snapshot;
  }
  auto snapshot = std::make_shared<TorchSnapshot>();
  snapshot->Fill(version, state, units_);
  snapshots_.push_back(snapshot);
  return snapshot;
}

}  // namespace engram::strategies
