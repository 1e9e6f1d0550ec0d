#include "strategies/core/step_context.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "strategies/core/cross_entropy.h"
#include "strategies/core/kernels.h"

namespace engram::strategies {
namespace {

// Beyond these a step is not learning but the start of a blow-up. Both leave room for features at
// the default door limit of 1e6 with weight 100.
constexpr double kLossMax = 1e9;
constexpr double kGradientMax = 1e9;

// `buffer` with this shape, allocated anew only when it has another.
const at::Tensor& Shaped(at::Tensor& buffer, int64_t rows, int64_t columns) {
  if (!buffer.defined() || buffer.size(0) != rows || buffer.size(1) != columns) {
    buffer = at::empty({rows, columns}, at::kFloat);
  }
  return buffer;
}

}  // namespace

StepContext::StepContext(const ModelOptions* options, ParameterArena* arena, Network* network,
                         Optimizer* optimizer, UnitMap* units, Generator* generator)
    : options_(options),
      arena_(arena),
      network_(network),
      optimizer_(optimizer),
      units_(units),
      generator_(generator) {}

absl::StatusOr<Observation> StepContext::PlainStep(TrainingBatch& batch) {
  const at::Tensor& logits = Forward(batch);
  Observation observation;
  observation.logits = KeepLogits(logits, batch.stream_rows());
  observation.loss = LossAndBackward(batch, logits);
  if (absl::optional<std::string> reason = Guard(observation.loss)) {
    observation.skipped = true;
    observation.skip_reason = *std::move(reason);
    return observation;
  }
  Update();
  return observation;
}

const at::Tensor& StepContext::Forward(const TrainingBatch& batch) {
  return network_->Forward(batch.features());
}

double StepContext::LossAndBackward(const TrainingBatch& batch, const at::Tensor& logits) {
  const at::Tensor& gradient = Shaped(logit_gradient_, logits.size(0), logits.size(1));
  const LossRows rows{batch.targets(), batch.tasks(), batch.weights()};
  const double loss = CrossEntropy(logits, rows, *units_, gradient);
  network_->Backward(gradient);
  return loss;
}

absl::optional<std::string> StepContext::Guard(double loss) const {
  if (!std::isfinite(loss)) return "loss is not finite";
  if (loss > kLossMax) return absl::StrCat("loss ", loss, " exceeds ", kLossMax);
  for (const LayerTrace& trace : network_->traces()) {
    const double input =
        ActiveKernels().largest_magnitude(trace.input.data_ptr<float>(), trace.input.numel());
    const double delta = ActiveKernels().largest_magnitude(trace.output_gradient.data_ptr<float>(),
                                                           trace.output_gradient.numel());
    // No element of delta^T a, nor of the bias gradient, is larger.
    const double bound = static_cast<double>(trace.input.size(0)) * delta * std::max(1.0, input);
    if (bound <= kGradientMax) continue;
    const std::string& name = arena_->slot(trace.weight).name;
    if (!std::isfinite(bound)) return absl::StrCat("gradient of ", name, " is not finite");
    return absl::StrCat("gradient of ", name, " may reach ", bound, ", more than ", kGradientMax);
  }
  return absl::nullopt;
}

void StepContext::Update() { optimizer_->Step(network_->traces(), pulls_); }

at::Tensor StepContext::KeepLogits(const at::Tensor& logits, int64_t rows) {
  const at::Tensor& kept = Shaped(kept_logits_, rows, logits.size(1));
  std::memcpy(kept.data_ptr<float>(), logits.data_ptr<float>(),
              static_cast<size_t>(kept.numel()) * sizeof(float));
  return kept;
}

}  // namespace engram::strategies
