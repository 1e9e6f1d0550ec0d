#include "tests/testing/process/toy_examples.h"

namespace engram::testing {

uint64_t Mix(uint64_t value) {
  value += 0x9E3779B97F4A7C15ULL;
  value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9ULL;
  value = (value ^ (value >> 27)) * 0x94D049BB133111EBULL;
  return value ^ (value >> 31);
}

std::vector<float> ToyFeatures(const ToyShape& shape, int64_t label, uint64_t index) {
  const uint64_t corner = Mix(shape.seed ^ (static_cast<uint64_t>(label) << 32));
  uint64_t state = Mix(corner ^ index);
  std::vector<float> out(static_cast<size_t>(shape.feature_count));
  for (size_t i = 0; i < out.size(); ++i) {
    state = Mix(state);
    const float uniform = static_cast<float>(state >> 40) / static_cast<float>(1 << 24);
    const float center = (Mix(corner + i) & 1) == 0 ? -1.0F : 1.0F;
    out[i] = center + shape.blur * (2 * uniform - 1);
  }
  return out;
}

std::string DenseBytes(const std::vector<float>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(float));
}

v1::Example ToyExample(const ToyShape& shape, int64_t label, uint64_t index) {
  v1::Example example;
  example.mutable_features()->set_dense(DenseBytes(ToyFeatures(shape, label, index)));
  example.mutable_label()->set_number(label);
  return example;
}

std::string ToyRows(const ToyShape& shape, const std::vector<int64_t>& labels, uint64_t first) {
  std::string rows;
  for (size_t i = 0; i < labels.size(); ++i) {
    rows += DenseBytes(ToyFeatures(shape, labels[i], first + i));
  }
  return rows;
}

}  // namespace engram::testing
