// A variational autoencoder (Kingma & Welling 2014, arXiv 1312.6114) over features in [0, 1]: two
// multilayer perceptrons and the evidence lower bound between them, by closed-form gradients.
//
//   loss = sum_i c_i / d [ BCE(decode(z_i), x_i) + KL(N(mu_i, sigma_i^2) || N(0, I)) ]
//   z_i = mu_i + sigma_i eps_i,  [mu, log sigma^2] = encode(x)
//
// The KL is divided by the number of features d as the reconstruction is: with a mean over pixels
// on one side only, the KL would weigh d times too much (van de Ven et al. 2020, Nature Comm. 11).
//
// Threading: one thread; a VaePass is immutable and may be used from any thread.
// Ownership: owns its networks. Failure: as GenerativeModel.
// Bounds: as GenerativeModel.
#pragma once

#include <cstdint>
#include <memory>
#include <utility>

#include "strategies/models/generative_model.h"

namespace engram::strategies {

// Estimates log p(x) under the parameters of the moment it was made.
class VaePass {
 public:
  VaePass(std::unique_ptr<const ForwardPass> encoder, std::unique_ptr<const ForwardPass> decoder,
          int64_t latent)
      : encoder_(std::move(encoder)), decoder_(std::move(decoder)), latent_(latent) {}

  // For each of the [rows, d] features, with S = noise.size(0) draws eps_s, [S, latent], that all
  // rows share: log 1/S sum_s p(x|z_s) p(z_s) / q(z_s|x), z_s = mu + sigma eps_s (Burda et al.
  // 2016, eq. 8). One row of zeros looks at the posterior's mean alone.
  void Score(const at::Tensor& features, const at::Tensor& noise, ForwardScratch* scratch,
             float* scores, int64_t stride) const;

 private:
  at::Tensor ScoreRows(const at::Tensor& features, const at::Tensor& noise,
                       ForwardScratch* scratch) const;

  std::unique_ptr<const ForwardPass> encoder_;
  std::unique_ptr<const ForwardPass> decoder_;
  int64_t latent_;
};

class Vae final : public GenerativeModel {
 public:
  Vae(const GenerativeModelOptions& options, Generator* generator);

  void Reinitialise(Generator* generator) override;
  double Learn(const at::Tensor& features, absl::Span<const float> coefficients,
               Generator* generator) override;
  SideNetwork& decoder() override { return decoder_; }
  void SetLearningRate(double learning_rate) override;
  void SaveState(StateWriter* writer) const override;
  absl::Status LoadState(const StateReader& reader) override;

  // Learn in two: the loss and all gradients, no parameter written; then the update. `features`
  // stay as they are in between.
  double Backward(const at::Tensor& features, absl::Span<const float> coefficients,
                  Generator* generator);
  void Update();

  SideNetwork& encoder() { return encoder_; }

  // Follows the live parameters.
  const VaePass& live() const { return live_; }
  // A copy that does not.
  std::shared_ptr<const VaePass> Copy() const;

 private:
  // Each returns its part of the loss, rows times `weights` [rows, 1], and writes its slopes.
  double Reconstruction(const at::Tensor& logits, const at::Tensor& features,
                        const at::Tensor& weights, at::Tensor slopes);
  double Divergence(const at::Tensor& code, const at::Tensor& noise, const at::Tensor& weights,
                    const at::Tensor& latent_slopes, const at::Tensor& code_slopes);

  GenerativeModelOptions options_;
  SideNetwork encoder_;  // d to mu and log sigma^2
  SideNetwork decoder_;
  VaePass live_;
  RowBuffer noise_;
  RowBuffer latents_;
  RowBuffer latent_slopes_;
  RowBuffer code_slopes_;
  RowBuffer slopes_;
  RowBuffer terms_;
};

}  // namespace engram::strategies
