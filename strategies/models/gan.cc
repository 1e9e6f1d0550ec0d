#include "strategies/models/gan.h"

#include "absl/strings/str_cat.h"
#include "storage/base/status_macros.h"

namespace engram::strategies {
namespace {

// A singular vector that starts at random needs many iterations, one that follows a weight matrix
// from step to step few.
constexpr int kIterationsAtStart = 30;
constexpr int kIterationsAStep = 2;

// Against a moving opponent, old gradients mislead (Radford et al. 2016 chose beta1 0.5).
OptimizerOptions AdversarialAdam(double learning_rate) {
  OptimizerOptions adam;
  adam.kind = OptimizerKind::kAdam;
  adam.learning_rate = learning_rate;
  adam.beta1 = 0.5;
  return adam;
}

void Normalise(const at::Tensor& vector) {
  vector.div_(vector.norm().clamp_min_(1e-12));
}

}  // namespace

Gan::Gan(const GenerativeModelOptions& options, Generator* generator)
    : decoder_(GenerativeShape(options.latent, options.hidden, options.feature_count),
               AdversarialAdam(options.learning_rate), generator),
      critic_(GenerativeShape(options.feature_count, options.hidden, 1),
              AdversarialAdam(options.learning_rate), generator),
      noise_(options.latent),
      both_(options.feature_count),
      critic_slopes_(1),
      slopes_(options.feature_count) {
  for (const LayerTrace& trace : critic_.network().traces()) {
    directions_.push_back(at::ones({critic_.arena().slot(trace.weight).rows}, at::kFloat));
  }
}

void Gan::Reinitialise(Generator* generator) {
  decoder_.network().Reinitialise(generator);
  critic_.network().Reinitialise(generator);
  for (const at::Tensor& direction : directions_) {
    generator->FillNormal(direction.data_ptr<float>(), direction.numel());
  }
  BoundCritic(kIterationsAtStart);
}

double Gan::Learn(const at::Tensor& features, absl::Span<const float> coefficients,
                  Generator* generator) {
  const int64_t rows = features.size(0);
  const at::Tensor noise = noise_.Rows(rows);
  generator->FillNormal(noise.data_ptr<float>(), noise.numel());
  const at::Tensor both = both_.Rows(2 * rows);
  both.narrow(0, 0, rows).copy_(features);
  at::Tensor drawn = both.narrow(0, rows, rows);
  at::sigmoid_out(drawn, decoder_.network().Forward(noise));

  const double loss = CriticBackward(both, coefficients);
  if (!IsSound(loss)) return loss;
  critic_.Update();
  BoundCritic(kIterationsAStep);
  UpdateDecoder(drawn);
  return loss;
}

double Gan::CriticBackward(const at::Tensor& both, absl::Span<const float> coefficients) {
  const int64_t rows = both.size(0) / 2;
  const float* scores = critic_.network().Forward(both).data_ptr<float>();
  const at::Tensor slope_rows = critic_slopes_.Rows(2 * rows);
  float* slopes = slope_rows.data_ptr<float>();
  const float share = 1.0f / static_cast<float>(rows);
  double loss = 0;
  // Row and coefficient with the side on which it should be: real above 1, drawn below -1.
  const auto hinge = [&](int64_t row, float side, float coefficient) {
    const float margin = 1 - side * scores[row];
    slopes[row] = margin > 0 ? -side * coefficient : 0;
    // Not max(0, margin): NaN must reach the loss.
    if (!(margin <= 0)) loss += static_cast<double>(coefficient * margin);
  };
  for (int64_t row = 0; row < rows; ++row) {
    hinge(row, 1, coefficients[static_cast<size_t>(row)]);
    hinge(rows + row, -1, share);
  }
  critic_.network().Backward(slope_rows);
  return loss;
}

void Gan::UpdateDecoder(const at::Tensor& drawn) {
  const int64_t rows = drawn.size(0);
  critic_.network().Forward(drawn);
  const at::Tensor critic_slopes = critic_slopes_.Rows(rows);
  critic_slopes.fill_(-1.0 / static_cast<double>(rows));
  critic_.network().Backward(critic_slopes);
  const at::Tensor slopes = slopes_.Rows(rows);
  critic_.network().WriteInputGradient(slopes);
  slopes.mul_(drawn).mul_(1 - drawn);  // through the sigmoid
  decoder_.network().Backward(slopes);
  decoder_.Update();
}

void Gan::BoundCritic(int iterations) {
  size_t layer = 0;
  for (const LayerTrace& trace : critic_.network().traces()) {
    const at::Tensor weight = critic_.arena().View(trace.weight);
    const at::Tensor& left = directions_[layer++];
    at::Tensor right, image;
    for (int i = 0; i < iterations; ++i) {
      right = weight.t().mv(left);
      Normalise(right);
      image = weight.mv(right);
      left.copy_(image);
      Normalise(left);
    }
    const double norm = image.norm().item<double>();
    if (norm > 1) weight.div_(norm);
  }
}

void Gan::SetLearningRate(double learning_rate) {
  decoder_.SetLearningRate(learning_rate);
  critic_.SetLearningRate(learning_rate);
}

void Gan::SaveState(StateWriter* writer) const {
  StateWriter decoder = writer->Scoped("decoder/"), critic = writer->Scoped("critic/");
  decoder_.SaveState(&decoder);
  critic_.SaveState(&critic);
  for (size_t layer = 0; layer < directions_.size(); ++layer) {
    critic.PutTensor(absl::StrCat("direction", layer), directions_[layer]);
  }
}

absl::Status Gan::LoadState(const StateReader& reader) {
  ENGRAM_RETURN_IF_ERROR(decoder_.LoadState(reader.Scoped("decoder/")));
  const StateReader critic = reader.Scoped("critic/");
  ENGRAM_RETURN_IF_ERROR(critic_.LoadState(critic));
  for (size_t layer = 0; layer < directions_.size(); ++layer) {
    ENGRAM_RETURN_IF_ERROR(
        critic.GetTensor(absl::StrCat("direction", layer), directions_[layer]));
  }
  return absl::OkStatus();
}

}  // namespace engram::strategies
