#include "tests/bench/end_to_end/workload.h"

#include "engram/v1/learning.pb.h"
#include "engram/v1/prediction.pb.h"
#include "tests/testing/process/learn_session.h"
#include "tests/testing/process/raw_call.h"
#include "tests/testing/process/toy_examples.h"

namespace engram::bench {
namespace {

// Few different images: making them is not what is measured.
constexpr uint64_t kImages = 512;

const std::vector<v1::Example>& Images() {
  static const auto* images = [] {
    const testing::ToyShape shape{kFeatureCount, 3, 1.5F};
    auto* out = new std::vector<v1::Example>;
    for (uint64_t i = 0; i < kImages; ++i) {
      out->push_back(testing::ToyExample(shape, static_cast<int64_t>(i % kClassCount), i));
    }
    return out;
  }();
  return *images;
}

}  // namespace

v1::ModelSpec ReferenceSpec(int64_t batch) {
  v1::ModelSpec spec;
  spec.set_feature_count(kFeatureCount);
  spec.mutable_mlp()->add_hidden(256);
  spec.mutable_mlp()->add_hidden(256);
  spec.mutable_optimizer()->set_learning_rate(0.05);
  spec.set_batch_size(batch);
  spec.set_held_out_fraction(0);
  spec.set_evaluate_every_examples(0);
  spec.set_seed(1);
  return spec;
}

std::vector<Frame> MakeFrames(uint64_t first, size_t count, size_t examples) {
  std::vector<Frame> frames;
  frames.reserve(count);
  for (size_t i = 0; i < count; ++i) {
    v1::LearnRequest request;
    auto* message = request.mutable_message();
    message->set_producer_sequence(first + i);
    for (size_t row = 0; row < examples; ++row) {
      *message->add_examples() = Images()[(i * 7 + row) % kImages];
    }
    const std::string bytes = request.SerializeAsString();
    frames.push_back({testing::ToBuffer(bytes), testing::FrameCrc(bytes)});
  }
  return frames;
}

std::string PredictBody(const std::string& model) {
  v1::PredictRequest request;
  request.set_model(model);
  *request.mutable_features() = Images()[17].features();
  return request.SerializeAsString();
}

FlatExamples MakeFlat(size_t count) {
  FlatExamples flat;
  const testing::ToyShape shape{kFeatureCount, 3, 1.5F};
  for (size_t i = 0; i < count; ++i) {
    const auto label = static_cast<int64_t>(i % kClassCount);
    const std::vector<float> row = testing::ToyFeatures(shape, label, i % kImages);
    flat.features.insert(flat.features.end(), row.begin(), row.end());
    flat.classes.push_back(static_cast<int32_t>(label));
    flat.tasks.push_back(0);
    flat.sequences.push_back(i + 1);
  }
  return flat;
}

}  // namespace engram::bench
