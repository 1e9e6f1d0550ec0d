#include "strategies/core/random_features.h"

#include <cmath>

#include "strategies/core/generator.h"
#include "strategies/models/products.h"

namespace engram::strategies {
namespace {

// Keeps these numbers apart from others that are drawn from the same seed.
constexpr uint64_t kPurpose = 0x72616e64666561ull;

// Mean 0, variance 1: four 16-bit uniform numbers of variance 1/12 each.
float NearNormal(uint64_t bits) {
  int64_t sum = 0;
  for (int shift = 0; shift < 64; shift += 16) sum += static_cast<int64_t>(bits >> shift & 0xffff);
  return static_cast<float>(sum - 2 * 0xffff) * 0x1.0p-16f * 1.7320508f;
}

}  // namespace

RandomFeatures::RandomFeatures(int64_t inputs, int64_t outputs, uint64_t seed)
    : inputs_(inputs), outputs_(outputs), weights_(static_cast<size_t>(inputs * outputs)) {
  const uint64_t stream = MixBits(seed ^ kPurpose);
  const float scale = 1.0f / std::sqrt(static_cast<float>(inputs));
  for (size_t i = 0; i < weights_.size(); ++i) {
    weights_[i] = scale * NearNormal(MixBits(stream + MixBits(i)));
  }
}

void RandomFeatures::Map(const float* inputs, int64_t rows, float* mapped) const {
  ForwardProduct(inputs, weights_.data(), rows, outputs_, inputs_, mapped);
  // A NaN stays: the guard must see it.
  for (int64_t i = 0; i < rows * outputs_; ++i) mapped[i] = mapped[i] < 0 ? 0.0f : mapped[i];
}

NetworkProgram::Value RandomFeatures::Describe(NetworkProgram::Value inputs,
                                               NetworkProgram* program) const {
  const at::Tensor weights =
      at::from_blob(const_cast<float*>(weights_.data()), {outputs_, inputs_}, at::kFloat);
  return program->Relu(program->Linear(inputs, weights, at::Tensor()));
}

}  // namespace engram::strategies
