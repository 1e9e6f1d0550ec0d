#include "strategies/core/replay_memory.h"

#include <algorithm>
#include <utility>

#include "storage/base/status_macros.h"

namespace engram::strategies {
namespace {

constexpr int64_t kReplayRowsMax = 1024;

FeatureStorage ParseStorage(const std::string& name) {
  if (name == "uint8") return FeatureStorage::kUint8;
  return name == "float16" ? FeatureStorage::kFloat16 : FeatureStorage::kFloat32;
}

}  // namespace

ParameterHelp MemorySizeParameter() {
  return IntegerParameter("memory_size", 1000).Between(1, 1e7).Help("exemplars kept, M");
}

ParameterHelp StorageParameter() {
  return ChoiceParameter("storage", {"float32", "float16", "uint8"})
      .Help("form of kept features; uint8 is round(255 x) of x in [0, 1]; an example that the form "
            "cannot hold is learned but not kept");
}

ParameterHelp ReplayRowsParameter() {
  return IntegerParameter("replay_batch_size", 0)
      .AtMost(static_cast<double>(kReplayRowsMax))
      .Live()
      .Help("exemplars a draw; 0 = as many as there are stream rows");
}

int64_t ReplayRowsMax(int64_t batch_size) { return std::max(batch_size, kReplayRowsMax); }

absl::StatusOr<ReplayMemory> ReplayMemory::Make(const StrategyParameters& parameters,
                                                const StrategyEnvironment& environment,
                                                ExemplarMemoryOptions options) {
  options.capacity = parameters.Integer("memory_size");
  options.storage = ParseStorage(parameters.Choice("storage"));
  options.feature_count = environment.feature_count;
  options.seed = environment.seed;
  options.memory = environment.memory;
  options.max_sender_share = environment.max_sender_share;
  ENGRAM_ASSIGN_OR_RETURN(std::unique_ptr<ExemplarMemory> memory, ExemplarMemory::Create(options));
  return ReplayMemory(std::move(memory));
}

void ReplayMemory::Reconfigure(const StrategyParameters& parameters) {
  replay_rows_ = parameters.Integer("replay_batch_size");
}

void ReplayMemory::Draw(int64_t stream_rows, StepContext& context, std::vector<int64_t>* slots) {
  memory_->Draw(
      replay_rows_ > 0 ? replay_rows_ : stream_rows,
      [&context] { return context.generator().Next(); }, slots);
}

absl::Status ReplayMemory::Replay(StepContext& context, TrainingBatch* batch,
                                  std::vector<int64_t>* slots) {
  Draw(batch->stream_rows(), context, slots);
  for (const int64_t slot : *slots) {
    const ExemplarView exemplar = memory_->At(slot);
    ENGRAM_RETURN_IF_ERROR(batch->AppendRow(exemplar.features.data(), exemplar.class_index,
                                            exemplar.task, exemplar.sequence));
  }
  return absl::OkStatus();
}

void ReplayMemory::OfferStream(const TrainingBatch& batch, const at::Tensor& logits) {
  const size_t width = logits.defined() ? static_cast<size_t>(logits.size(1)) : 0;
  const float* side = logits.defined() ? logits.data_ptr<float>() : nullptr;
  for (int64_t row = 0; row < batch.stream_rows(); ++row, side += width) {
    ExemplarView example = batch.Example(row);
    example.side = absl::MakeConstSpan(side, width);
    memory_->Offer(example);
  }
}

void ReplayMemory::SaveState(StateWriter* writer) const {
  const std::vector<int32_t>& order = memory_->class_order();
  writer->PutInts("class_order", std::vector<int64_t>(order.begin(), order.end()));
}

absl::Status ReplayMemory::LoadState(const StateReader& reader) {
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<int64_t> order, reader.GetInts("class_order"));
  restored_class_order_.assign(order.begin(), order.end());
  return absl::OkStatus();
}

absl::Status ReplayMemory::RestoreMembers(absl::Span<const MemberPayload> payloads) {
  return memory_->Restore(payloads, std::exchange(restored_class_order_, {}));
}

void ReplayMemory::AddGauges(LearnerGauges* gauges) const {
  memory_->CountByTask(&gauges->episodic_by_task);
  memory_->CountByClass(&gauges->episodic_by_class);
  gauges->episodic_bytes += memory_->Bytes();
}

}  // namespace engram::strategies
