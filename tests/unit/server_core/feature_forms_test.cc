// Bytes as features: stored as they came, read as float(byte) * scale, and nothing that is learned,
// held out or evaluated tells them from the same numbers sent as float32.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "server/batch_stage.h"
#include "server/feature_values.h"
#include "server/message_check.h"
#include "server/spec_options.h"
#include "server/stream_state.h"
#include "tests/testing/server/model_bench.h"

namespace engram::server {
namespace {

using ::testing::HasSubstr;
using testing::MakeExample;
using testing::MakeMessage;
using testing::MakeSpec;
using testing::ModelBench;

constexpr float kScale = 0.037f;

v1::Example Bytes(int64_t label, const std::vector<uint8_t>& bytes, float scale = kScale) {
  v1::Example example = MakeExample(label);
  example.clear_features();
  example.mutable_features()->set_dense_uint8(bytes.data(), bytes.size());
  example.mutable_features()->set_uint8_scale(scale);
  return example;
}

// The same numbers as the definition makes them.
v1::Example Floats(int64_t label, const std::vector<uint8_t>& bytes, float scale = kScale) {
  std::vector<float> values;
  for (const uint8_t byte : bytes) values.push_back(static_cast<float>(byte) * scale);
  v1::Example example = MakeExample(label);
  example.mutable_features()->set_dense(values.data(), values.size() * sizeof(float));
  return example;
}

using MakeForm = v1::Example (*)(int64_t, const std::vector<uint8_t>&, float);

// All 256 bytes, two an example.
std::vector<v1::Example> AllBytes(MakeForm form, float scale) {
  std::vector<v1::Example> examples;
  for (int byte = 0; byte < 256; byte += 2) {
    examples.push_back(form(byte % 3, {static_cast<uint8_t>(byte), static_cast<uint8_t>(byte + 1)},
                            scale));
  }
  return examples;
}

// What a learner is given after the way through the record codec.
std::vector<float> TrainedOn(const std::vector<v1::Example>& examples) {
  v1::LearnMessage message = MakeMessage(1, examples);
  Canonicalise(&message);
  const v1::ModelSpec spec = *CompleteSpec(MakeSpec());
  EXPECT_TRUE(CheckMessage(message, spec, "digits", 1024).ok());
  StreamState state = StreamState::Fresh(spec);
  BatchStage stage(spec);
  uint64_t sequence = 0;
  for (const storage::NewRecord& record : ToRecords(message)) {
    EXPECT_TRUE(stage.Add({++sequence, record.kind, record.payload}, state).ok());
  }
  const strategies::BatchView view = stage.Cut(&state, nullptr);
  return {view.features.begin(), view.features.end()};
}

TEST(FeatureFormsTest, BothFormsReachTheLearnerBitForBit) {
  for (const float scale : {kScale, 1.0f, kDefaultUint8Scale}) {
    EXPECT_EQ(TrainedOn(AllBytes(Bytes, scale)), TrainedOn(AllBytes(Floats, scale))) << scale;
  }
}

TEST(FeatureFormsTest, BothFormsTrainHoldOutAndEvaluateAlike) {
  ModelBench bytes;
  ModelBench floats;
  for (const auto& form : {std::make_pair(&bytes, &Bytes), std::make_pair(&floats, &Floats)}) {
    ModelBench& bench = *form.first;
    std::vector<v1::Example> examples = AllBytes(*form.second, kScale);
    for (size_t i = 0; i < examples.size(); i += 4) examples[i].set_split(v1::HELD_OUT);
    bench.LearnNow(examples);
    bench.BoundaryNow("next");
    bench.Settle();
  }
  EXPECT_EQ(bytes.learner().digest(), floats.learner().digest());
  EXPECT_EQ(bytes.model().Report().DebugString(), floats.model().Report().DebugString());
  v1::EvaluateRequest request;
  *request.add_examples() = Bytes(2, {200, 0});
  v1::EvaluateRequest same;
  *same.add_examples() = Floats(2, {200, 0});
  EXPECT_EQ(bytes.model().Evaluate(request)->accuracy(),
            floats.model().Evaluate(same)->accuracy());
}

TEST(FeatureFormsTest, LogKeepsTheBytesAsTheyCame) {
  ModelBench bench;
  bench.LearnNow({Bytes(1, {7, 255})});
  const auto records = bench.store().log().Read(bench.uid(), 1, 10, 1 << 20);
  ASSERT_TRUE(records.ok());
  v1::Example stored;
  ASSERT_TRUE(stored.ParseFromString(records->at(0).payload));
  EXPECT_EQ(stored.features().dense_uint8(), "\x07\xff");
  EXPECT_EQ(stored.features().uint8_scale(), kScale);
  EXPECT_TRUE(stored.features().dense().empty());
}

TEST(FeatureFormsTest, ScaleThatSaysTheDefaultIsTheSameMessage) {
  ModelBench bench;
  const v1::Example explicit_scale = Bytes(1, {7, 255}, kDefaultUint8Scale);
  v1::Example absent_scale = explicit_scale;
  absent_scale.mutable_features()->clear_uint8_scale();
  EXPECT_TRUE(bench.Rejection(MakeMessage(1, {explicit_scale})).ok());
  EXPECT_TRUE(bench.Rejection(MakeMessage(1, {absent_scale})).ok());
  EXPECT_EQ(bench.model().DurableSequence(), 1u);
}

TEST(FeatureFormsTest, WhatBytesMayNotBeIsNamed) {
  ModelBench bench;
  uint64_t sequence = 0;
  const auto expect = [&](const v1::Example& example, const std::string& text) {
    const absl::Status status = bench.Rejection(MakeMessage(++sequence, {example}));
    EXPECT_TRUE(absl::IsInvalidArgument(status)) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(text));
  };
  const std::string at = "examples[0].features";
  expect(Bytes(1, {7}), at + ".dense_uint8: expected 2 bytes (model \"digits\"), got 1");
  expect(Bytes(1, {7, 7, 7}), at + ".dense_uint8: expected 2 bytes");
  expect(Bytes(1, {}), at + ": required");
  for (const float scale : {0.0f, -1.0f, NAN, INFINITY}) {
    expect(Bytes(1, {7, 7}, scale), at + ".uint8_scale: must be finite and > 0");
  }
  expect(Bytes(1, {0, 255}, 1e5f), at + "[1]: 2.55e+07 exceeds max_abs_feature 1e+06");
  expect(Bytes(1, {2, 255}, 3e38f), at + "[0]: is Inf");
  v1::Example both = Bytes(1, {7, 7});
  both.mutable_features()->set_dense(MakeExample(1).features().dense());
  expect(both, at + ": exactly one of dense, values and dense_uint8");
  v1::Example typed = Bytes(1, {7, 7});
  typed.mutable_features()->add_values(1);
  expect(typed, at + ": exactly one of");
  v1::Example scaled = MakeExample(1);
  scaled.mutable_features()->set_uint8_scale(1);
  expect(scaled, at + ".uint8_scale: belongs to dense_uint8");
  v1::Example shaped = Bytes(1, {7, 7});
  shaped.mutable_features()->add_shape(3);
  expect(shaped, at + ".shape: product is 3, got 2 values");
  EXPECT_EQ(bench.model().DurableSequence(), 0u);
}

// A large scale is no harm where the bytes are small.
TEST(FeatureFormsTest, MagnitudeIsThatOfTheValuesNotOfTheScale) {
  ModelBench bench;
  EXPECT_TRUE(bench.Rejection(MakeMessage(1, {Bytes(1, {0, 10}, 1e5f)})).ok());
}

}  // namespace
}  // namespace engram::server
