#include "strategies/models/vae.h"

#include <algorithm>
#include <cmath>

#include "storage/base/status_macros.h"

namespace engram::strategies {
namespace {

// Decoded rows held at once while scoring.
constexpr int64_t kDecodedRows = 256;

OptimizerOptions Adam(double learning_rate) {
  OptimizerOptions adam;
  adam.kind = OptimizerKind::kAdam;
  adam.learning_rate = learning_rate;
  return adam;
}

// Row i's part in a sum over rows and a mean over `width` features, [rows, 1].
at::Tensor RowWeights(absl::Span<const float> coefficients, int64_t width) {
  const int64_t rows = static_cast<int64_t>(coefficients.size());
  return at::from_blob(const_cast<float*>(coefficients.data()), {rows, 1}, at::kFloat)
      .div(static_cast<double>(width));
}

double WeighedSum(const at::Tensor& terms, const at::Tensor& weights) {
  return terms.sum(1, /*keepdim=*/true).mul_(weights).sum().item<double>();
}

}  // namespace

at::Tensor VaePass::ScoreRows(const at::Tensor& features, const at::Tensor& noise,
                              ForwardScratch* scratch) const {
  const int64_t rows = features.size(0), samples = noise.size(0);
  const at::Tensor code = at::empty({rows, 2 * latent_}, at::kFloat);
  encoder_->Run(features.data_ptr<float>(), rows, {}, scratch, code.data_ptr<float>());
  const at::Tensor mean = code.narrow(1, 0, latent_).unsqueeze(1);  // [rows, 1, latent]
  const at::Tensor log_variance = code.narrow(1, latent_, latent_).unsqueeze(1);
  const at::Tensor latents =
      at::addcmul(mean, log_variance.mul(0.5).exp_(), noise.unsqueeze(0)).contiguous();
  const at::Tensor logits = at::empty({rows, samples, features.size(1)}, at::kFloat);
  decoder_->Run(latents.data_ptr<float>(), rows * samples, {}, scratch, logits.data_ptr<float>());
  const at::Tensor likelihood =
      logits.mul(features.unsqueeze(1)).sub_(at::softplus(logits)).sum(2);  // [rows, samples]
  // log p(z) - log q(z|x), where the factors 2 pi cancel.
  const at::Tensor prior =
      noise.square().unsqueeze(0).add(log_variance).sub(latents.square()).sum(2).mul_(0.5);
  return likelihood.add(prior).logsumexp(1).sub_(std::log(static_cast<double>(samples)));
}

void VaePass::Score(const at::Tensor& features, const at::Tensor& noise, ForwardScratch* scratch,
                    float* scores, int64_t stride) const {
  const int64_t rows = features.size(0);
  const int64_t chunk = std::max<int64_t>(1, kDecodedRows / noise.size(0));
  for (int64_t begin = 0; begin < rows; begin += chunk) {
    const int64_t count = std::min(chunk, rows - begin);
    const at::Tensor some = ScoreRows(features.narrow(0, begin, count), noise, scratch);
    const float* values = some.data_ptr<float>();
    for (int64_t i = 0; i < count; ++i) scores[(begin + i) * stride] = values[i];
  }
}

Vae::Vae(const GenerativeModelOptions& options, Generator* generator)
    : options_(options),
      encoder_(GenerativeShape(options.feature_count, options.hidden, 2 * options.latent),
               Adam(options.learning_rate), generator),
      decoder_(GenerativeShape(options.latent, options.hidden, options.feature_count),
               Adam(options.learning_rate), generator),
      live_(encoder_.network().Bind(encoder_.arena().flat()),
            decoder_.network().Bind(decoder_.arena().flat()), options.latent),
      noise_(options.latent),
      latents_(options.latent),
      latent_slopes_(options.latent),
      code_slopes_(2 * options.latent),
      slopes_(options.feature_count),
      terms_(options.feature_count) {}

void Vae::Reinitialise(Generator* generator) {
  encoder_.network().Reinitialise(generator);
  decoder_.network().Reinitialise(generator);
}

double Vae::Learn(const at::Tensor& features, absl::Span<const float> coefficients,
                  Generator* generator) {
  const double loss = Backward(features, coefficients, generator);
  if (IsSound(loss)) Update();
  return loss;
}

double Vae::Backward(const at::Tensor& features, absl::Span<const float> coefficients,
                     Generator* generator) {
  const int64_t rows = features.size(0), latent = options_.latent;
  const at::Tensor weights = RowWeights(coefficients, options_.feature_count);
  const at::Tensor& code = encoder_.network().Forward(features);
  const at::Tensor noise = noise_.Rows(rows);
  generator->FillNormal(noise.data_ptr<float>(), noise.numel());
  at::Tensor latents = latents_.Rows(rows);
  at::addcmul_out(latents, code.narrow(1, 0, latent),
                  code.narrow(1, latent, latent).mul(0.5).exp_(), noise);

  const at::Tensor slopes = slopes_.Rows(rows);
  const at::Tensor& logits = decoder_.network().Forward(latents);
  const double reconstruction = Reconstruction(logits, features, weights, slopes);
  decoder_.network().Backward(slopes);
  const at::Tensor latent_slopes = latent_slopes_.Rows(rows);
  decoder_.network().WriteInputGradient(latent_slopes);

  const at::Tensor code_slopes = code_slopes_.Rows(rows);
  const double divergence = Divergence(code, noise, weights, latent_slopes, code_slopes);
  encoder_.network().Backward(code_slopes);
  return reconstruction + divergence;
}

double Vae::Reconstruction(const at::Tensor& logits, const at::Tensor& features,
                           const at::Tensor& weights, at::Tensor slopes) {
  // BCE(l, x) = softplus(l) - x l, and its slope is sigmoid(l) - x.
  at::sigmoid_out(slopes, logits).sub_(features).mul_(weights);
  at::Tensor terms = terms_.Rows(logits.size(0));
  at::softplus_out(terms, logits).addcmul_(logits, features, -1);
  return WeighedSum(terms, weights);
}

double Vae::Divergence(const at::Tensor& code, const at::Tensor& noise, const at::Tensor& weights,
                       const at::Tensor& latent_slopes, const at::Tensor& code_slopes) {
  const int64_t latent = options_.latent;
  const at::Tensor mean = code.narrow(1, 0, latent);
  const at::Tensor log_variance = code.narrow(1, latent, latent);
  const at::Tensor deviation = log_variance.mul(0.5).exp_();
  const at::Tensor variance = deviation.square();
  // What comes back through z = mu + sigma eps, and the KL's own slopes mu and (sigma^2 - 1) / 2.
  code_slopes.narrow(1, 0, latent).copy_(at::addcmul(latent_slopes, mean, weights));
  code_slopes.narrow(1, latent, latent)
      .copy_(latent_slopes.mul(noise).mul_(deviation).addcmul_(variance.sub(1), weights).mul_(0.5));
  return 0.5 * WeighedSum(mean.square().add_(variance).sub_(log_variance).sub_(1), weights);
}

void Vae::Update() {
  encoder_.Update();
  decoder_.Update();
}

void Vae::SetLearningRate(double learning_rate) {
  encoder_.SetLearningRate(learning_rate);
  decoder_.SetLearningRate(learning_rate);
}

std::shared_ptr<const VaePass> Vae::Copy() const {
  return std::make_shared<VaePass>(encoder_.network().Bind(encoder_.arena().flat().clone()),
                                   decoder_.network().Bind(decoder_.arena().flat().clone()),
                                   options_.latent);
}

void Vae::SaveState(StateWriter* writer) const {
  StateWriter encoder = writer->Scoped("encoder/"), decoder = writer->Scoped("decoder/");
  encoder_.SaveState(&encoder);
  decoder_.SaveState(&decoder);
}

absl::Status Vae::LoadState(const StateReader& reader) {
  ENGRAM_RETURN_IF_ERROR(encoder_.LoadState(reader.Scoped("encoder/")));
  return decoder_.LoadState(reader.Scoped("decoder/"));
}

}  // namespace engram::strategies
