// What can draw examples like those it was trained on: a decoder from standard normal noise to the
// logits of features in [0, 1], and a way to train it.
//
// Threading: one thread. Ownership: owns its networks.
// Failure: Learn answers a loss that is not IsSound and has then changed nothing.
// Bounds: its parameters with gradient and moments, and buffers for the most rows ever passed.
#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <cstdint>

#include "absl/status/status.h"
#include "absl/types/span.h"
#include "strategies/core/frozen_copy.h"
#include "strategies/core/generator.h"
#include "strategies/core/state_archive.h"
#include "strategies/models/row_buffer.h"
#include "strategies/models/side_network.h"

namespace engram::strategies {

struct GenerativeModelOptions {
  int64_t feature_count = 0;
  int64_t hidden = 400;  // units of each of the two hidden layers of each network
  int64_t latent = 100;  // numbers of noise that make one example
  double learning_rate = 1e-3;
};

// Beyond this a step is not learning but the start of a blow-up. False for NaN.
inline bool IsSound(double loss) { return std::abs(loss) < 1e9; }

class GenerativeModel {
 public:
  virtual ~GenerativeModel() = default;

  // Draws every parameter anew.
  virtual void Reinitialise(Generator* generator) = 0;

  // One step on [rows, d] features in [0, 1]; row i counts coefficients[i] times, about 1 in all.
  virtual double Learn(const at::Tensor& features, absl::Span<const float> coefficients,
                       Generator* generator) = 0;

  // [rows, latent] noise to [rows, d] logits of features.
  virtual SideNetwork& decoder() = 0;

  virtual void SetLearningRate(double learning_rate) = 0;
  virtual void SaveState(StateWriter* writer) const = 0;
  virtual absl::Status LoadState(const StateReader& reader) = 0;
};

// Two hidden layers between what comes in and what goes out.
MlpOptions GenerativeShape(int64_t in, int64_t hidden, int64_t out);

// Draws examples from a frozen copy of a decoder: what it knew when the copy was taken, however it
// is trained on. The copy is a companion of the decoder's arena, saved with the model.
class FrozenSampler {
 public:
  // `model` outlives it.
  FrozenSampler(GenerativeModel* model, const GenerativeModelOptions& options);

  void Take() { copy_.Take(decoder_->network()); }
  bool taken() const { return copy_.taken(); }

  // [rows, d] examples in [0, 1], overwritten by the next call.
  at::Tensor Sample(int64_t rows, Generator* generator);

  void SaveState(StateWriter* writer) const { copy_.SaveState(writer); }
  absl::Status LoadState(const StateReader& reader) { return copy_.LoadState(reader); }

 private:
  SideNetwork* decoder_;
  FrozenCopy copy_;
  RowBuffer noise_;
  RowBuffer examples_;
};

}  // namespace engram::strategies
