#include "strategies/models/generative_model.h"

namespace engram::strategies {

MlpOptions GenerativeShape(int64_t in, int64_t hidden, int64_t out) {
  MlpOptions shape;
  shape.feature_count = in;
  shape.hidden = {hidden, hidden};
  shape.units = out;
  return shape;
}

FrozenSampler::FrozenSampler(GenerativeModel* model, const GenerativeModelOptions& options)
    : decoder_(&model->decoder()),
      copy_(&decoder_->arena(), "sampler"),
      noise_(options.latent),
      examples_(options.feature_count) {}

at::Tensor FrozenSampler::Sample(int64_t rows, Generator* generator) {
  const at::Tensor noise = noise_.Rows(rows);
  generator->FillNormal(noise.data_ptr<float>(), noise.numel());
  at::Tensor examples = examples_.Rows(rows);
  return at::sigmoid_out(examples, copy_.Forward(decoder_->network(), noise));
}

}  // namespace engram::strategies
