#include "strategies/core/step_context.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

#include "absl/strings/str_cat.h"
#include "storage/base/check.h"
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

double Largest(const at::Tensor& values) {
  return ActiveKernels().largest_magnitude(values.data_ptr<float>(), values.numel());
}

// Shortens a gradient to at most this length (Pascanu et al. 2013, algorithm 1).
void Clip(const at::Tensor& gradient, double longest) {
  const double norm = gradient.norm().item<double>();
  if (norm > longest) gradient.mul_(longest / norm);
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
  Observation observation;
  const bool augments = options_->augmentation.any();
  if (augments && batch.stream_rows() > 0) {
    const at::Tensor stream = batch.features().narrow(0, 0, batch.stream_rows());
    observation.logits = KeepLogits(network_->Forward(stream), batch.stream_rows());
  }
  Augment(batch);
  const at::Tensor& logits = Forward(batch);
  if (!augments) observation.logits = KeepLogits(logits, batch.stream_rows());
  observation.loss = LossAndBackward(batch, logits);
  absl::optional<std::string> reason = Guard(observation.loss);
  if (!reason.has_value()) reason = Update();
  observation.skipped = reason.has_value();
  if (!observation.skipped) optimizer_->OnStep(observation.loss);
  observation.skip_reason = std::move(reason).value_or("");
  return observation;
}

void StepContext::ClearHooks() {
  backbone_rate_ = 1;
  pulls_.clear();
  class_loss_ = nullptr;
  loss_terms_.clear();
  embedding_terms_.clear();
  trace_transforms_.clear();
  transforms_.clear();
  observers_.clear();
  paths_.clear();
}

void StepContext::AddTraceTransform(TraceTransform transform) {
  ENGRAM_CHECK(transforms_.empty());
  trace_transforms_.push_back(std::move(transform));
}

void StepContext::Augment(TrainingBatch& batch) {
  const AugmentationOptions& augmentation = options_->augmentation;
  if (augmentation.any()) augmentation_.Apply(augmentation, generator_->Next(), &batch);
}

const at::Tensor& StepContext::Forward(const TrainingBatch& batch) {
  if (embedding_cache_ != nullptr && !batch.has_views()) return embedding_cache_->Forward(batch);
  return network_->Forward(batch.inputs());
}

double StepContext::LossAndBackward(const TrainingBatch& batch, const at::Tensor& logits) {
  const at::Tensor& gradient = Shaped(logit_gradient_, logits.size(0), logits.size(1));
  LossRows rows = batch.loss_rows();
  rows.label_smoothing = options_->label_smoothing;
  double loss = class_loss_ ? class_loss_(logits, rows, *units_, gradient)
                            : CrossEntropy(logits, rows, *units_, gradient);
  for (const LossTerm& term : loss_terms_) loss += term(batch, logits, gradient);
  if (embedding_terms_.empty()) {
    network_->Backward(gradient);
    return loss;
  }
  const at::Tensor& embeddings = network_->embeddings();
  const at::Tensor& embedding_gradient =
      Shaped(embedding_gradient_, embeddings.size(0), embeddings.size(1));
  embedding_gradient.zero_();
  for (const EmbeddingTerm& term : embedding_terms_) {
    loss += term(batch, embeddings, embedding_gradient);
  }
  network_->Backward(gradient, embedding_gradient);
  return loss;
}

double StepContext::LossTraces(const TrainingBatch& batch) {
  const at::Tensor& logits = Forward(batch);
  const at::Tensor& slopes = Shaped(logit_gradient_, logits.size(0), logits.size(1));
  const double loss = CrossEntropy(logits, batch.loss_rows(), *units_, slopes);
  network_->Backward(slopes);
  return loss;
}

double StepContext::LossGradient(const TrainingBatch& batch, const at::Tensor& gradient) {
  const double loss = LossTraces(batch);
  optimizer_->WriteGradient(network_->traces(), gradient);
  return loss;
}

absl::optional<std::string> StepContext::Guard(double loss) const {
  if (!std::isfinite(loss)) return "loss is not finite";
  if (loss > kLossMax) return absl::StrCat("loss ", loss, " exceeds ", kLossMax);
  return GuardTraces(network_->traces());
}

absl::optional<std::string> StepContext::GuardTraces(const std::vector<LayerTrace>& traces) const {
  for (const LayerTrace& trace : traces) {
    const double ones = trace.bias_input.defined() ? Largest(trace.bias_input) : 1;
    const double input = std::max(ones, Largest(trace.input));
    // No element of delta^T a, nor of the bias gradient, is larger.
    const double bound =
        static_cast<double>(trace.input.size(0)) * Largest(trace.output_gradient) * input;
    if (bound <= kGradientMax) continue;
    const std::string& name = arena_->slot(trace.weight).name;
    if (!std::isfinite(bound)) return absl::StrCat("gradient of ", name, " is not finite");
    return absl::StrCat("gradient of ", name, " may reach ", bound, ", more than ", kGradientMax);
  }
  return absl::nullopt;
}

std::vector<UpdateObserver*> StepContext::AllObservers() const {
  std::vector<UpdateObserver*> observers = observers_;
  observers.insert(observers.end(), paths_.begin(), paths_.end());
  return observers;
}

absl::optional<std::string> StepContext::Update() {
  if (options_->max_update_norm == 0) return Write();
  absl::optional<std::string> reason = WriteAndMeasure();
  if (reason.has_value()) update_norm_.PutBack(optimizer_);
  return reason;
}

absl::optional<std::string> StepContext::TryUpdate() {
  if (options_->max_update_norm == 0) return absl::nullopt;
  absl::optional<std::string> reason = WriteAndMeasure();
  update_norm_.PutBack(optimizer_);
  return reason;
}

absl::optional<std::string> StepContext::WriteAndMeasure() {
  update_norm_.Keep(*arena_, *optimizer_, AllObservers());
  absl::optional<std::string> reason = Write();
  if (reason.has_value()) return reason;
  return BeyondUpdateNorm(update_norm_.Measure(*arena_), options_->max_update_norm);
}

absl::optional<std::string> StepContext::Write() {
  const LayerTrace& head = network_->traces().back();
  arena_->SetRateFactor(backbone_rate_, {head.weight, head.bias});
  const double clip_norm = optimizer_->options().clip_norm;
  if (!trace_transforms_.empty()) {
    transformed_ = network_->traces();
    for (const TraceTransform& transform : trace_transforms_) transform(&transformed_);
    absl::optional<std::string> reason = GuardTraces(transformed_);
    if (reason.has_value()) return reason;
  }
  const std::vector<LayerTrace>& traces =
      trace_transforms_.empty() ? network_->traces() : transformed_;
  if (transforms_.empty() && observers_.empty() && clip_norm == 0) {
    if (paths_.empty()) {
      optimizer_->Step(traces, pulls_);
      return absl::nullopt;
    }
    if (paths_.size() == 1 && optimizer_->Integrates(pulls_)) {
      optimizer_->Step(traces, pulls_, paths_[0]);
      return absl::nullopt;
    }
  }
  if (gradient_generation_ != arena_->generation()) {
    flat_gradient_ = at::zeros({arena_->size()}, at::kFloat);
    gradient_generation_ = arena_->generation();
  }
  optimizer_->WriteGradient(traces, flat_gradient_);
  for (const GradientTransform& transform : transforms_) transform(flat_gradient_);
  // What no transform touched is within what the guard allowed.
  const double largest = transforms_.empty() ? 0 : Largest(flat_gradient_);
  if (!(largest <= kGradientMax)) {
    return absl::StrCat("transformed gradient reaches ", largest, ", more than ", kGradientMax);
  }
  if (clip_norm > 0) Clip(flat_gradient_, clip_norm);
  optimizer_->StepWithGradient(flat_gradient_, pulls_, AllObservers());
  return absl::nullopt;
}

at::Tensor StepContext::KeepLogits(const at::Tensor& logits, int64_t rows) {
  const at::Tensor& kept = Shaped(kept_logits_, rows, logits.size(1));
  std::memcpy(kept.data_ptr<float>(), logits.data_ptr<float>(),
              static_cast<size_t>(kept.numel()) * sizeof(float));
  return kept;
}

}  // namespace engram::strategies
