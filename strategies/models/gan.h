// A generative adversarial network (Goodfellow et al. 2014) over features in [0, 1], with the hinge
// loss of Miyato et al. 2018 (arXiv 1802.05957, eqs. 16-17) and a critic whose every layer has a
// spectral norm of at most 1:
//
//   L_critic  = sum_i c_i max(0, 1 - D(x_i)) + E_z max(0, 1 + D(G(z)))
//   L_decoder = - E_z D(G(z))
//
// After each update a critic's matrix is divided by its norm where that exceeds 1 (Gouk et al.
// 2021, Machine Learning 110), estimated by power iterations that go on from step to step. A
// gradient penalty would bound the critic too, but needs second derivatives.
//
// Threading, ownership, failure, bounds: as GenerativeModel.
#pragma once

#include <vector>

#include "strategies/models/generative_model.h"

namespace engram::strategies {

class Gan final : public GenerativeModel {
 public:
  Gan(const GenerativeModelOptions& options, Generator* generator);

  void Reinitialise(Generator* generator) override;
  double Learn(const at::Tensor& features, absl::Span<const float> coefficients,
               Generator* generator) override;
  SideNetwork& decoder() override { return decoder_; }
  void SetLearningRate(double learning_rate) override;
  void SaveState(StateWriter* writer) const override;
  absl::Status LoadState(const StateReader& reader) override;

  SideNetwork& critic() { return critic_; }

 private:
  // The loss of real rows, then as many drawn ones, with all gradients of the critic.
  double CriticBackward(const at::Tensor& both, absl::Span<const float> coefficients);
  void UpdateDecoder(const at::Tensor& drawn);
  void BoundCritic(int iterations);

  SideNetwork decoder_;
  SideNetwork critic_;
  std::vector<at::Tensor> directions_;  // by layer of the critic, [out]: left singular vectors
  RowBuffer noise_;
  RowBuffer both_;
  RowBuffer critic_slopes_;
  RowBuffer slopes_;
};

}  // namespace engram::strategies
