#include "tests/unit/strategies_core/small_stream.h"

#include <algorithm>

#include "storage/base/check.h"
#include "strategies/core/generator.h"

namespace engram::strategies {
namespace {

float Symmetric(uint64_t bits) {
  return 2 * static_cast<float>(MixBits(bits) >> 40) * 0x1.0p-24f - 1;
}

}  // namespace

BatchView SmallBatch::View() const {
  BatchView view;
  view.rows = static_cast<int64_t>(classes.size());
  view.feature_count = feature_count;
  view.features = features;
  view.classes = classes;
  view.tasks = tasks;
  view.sequences = sequences;
  view.weights = weights;
  return view;
}

SmallStream::SmallStream(int64_t feature_count, uint64_t seed)
    : feature_count_(feature_count), seed_(seed) {}

SmallBatch SmallStream::Next(const std::vector<int32_t>& classes, int32_t task) {
  SmallBatch batch;
  batch.feature_count = feature_count_;
  for (int32_t cls : classes) {
    for (int64_t j = 0; j < feature_count_; ++j) {
      const float centre = Symmetric(static_cast<uint64_t>(cls) * 1000 + static_cast<uint64_t>(j));
      batch.features.push_back(centre + 0.2f * Symmetric(seed_ * 1000003 + ++draws_));
    }
    batch.classes.push_back(cls);
    batch.tasks.push_back(task);
    batch.sequences.push_back(++sequence_);
  }
  return batch;
}

ModelOptions SmallModel(int64_t feature_count) {
  ModelOptions options;
  options.feature_count = feature_count;
  options.hidden = {8, 6};
  options.optimizer.learning_rate = 0.1;
  options.batch_size = 8;
  options.seed = 11;
  return options;
}

std::string SavedTensors(const Learner& learner) {
  auto saved = learner.Save([](const MemberKey&) { return true; });
  ENGRAM_CHECK(saved.ok());
  return saved->tensors;
}

std::vector<MemberPayload> AllPayloads(const SavedLearner& saved) {
  std::vector<MemberPayload> payloads;
  for (const MemberKey& key : saved.members) {
    const auto found = std::find_if(saved.new_payloads.begin(), saved.new_payloads.end(),
                                    [&key](const MemberPayload& p) { return p.key == key; });
    ENGRAM_CHECK(found != saved.new_payloads.end());
    payloads.push_back(*found);
  }
  return payloads;
}

}  // namespace engram::strategies
