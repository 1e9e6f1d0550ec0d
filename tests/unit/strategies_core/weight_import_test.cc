// Weights from outside: what is taken, and that nothing hostile is.
#include "strategies/core/weight_import.h"

#include <gmock/gmock.h>
#include <torch/torch.h>

#include <limits>

#include "strategies/api/learner.h"
#include "strategies/core/state_archive.h"
#include "tests/testing/process/safetensors_file.h"
#include "tests/unit/strategies_core/small_stream.h"

namespace engram::strategies {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using engram::testing::SafetensorsFile;
using Scope = PretrainedWeights::Scope;

constexpr int64_t kFeatures = 3;
constexpr int64_t kHidden[] = {4, 2};
constexpr int64_t kClasses = 2;

// Small exact numbers, a different one at every place.
std::vector<float> Ramp(size_t count, float first) {
  std::vector<float> values(count);
  for (size_t i = 0; i < count; ++i) values[i] = first + 0.25f * static_cast<float>(i % 7);
  return values;
}

struct Layer {
  int64_t out;
  int64_t in;
  std::vector<float> weight;
  std::vector<float> bias;
};

std::vector<Layer> Layers(bool with_head = true) {
  std::vector<Layer> layers;
  layers.push_back({kHidden[0], kFeatures, Ramp(12, -0.5f), Ramp(4, 0.5f)});
  layers.push_back({kHidden[1], kHidden[0], Ramp(8, -1.0f), Ramp(2, 0.25f)});
  if (with_head) layers.push_back({kClasses, kHidden[1], Ramp(4, -0.75f), Ramp(2, -0.25f)});
  return layers;
}

SafetensorsFile Named(const std::vector<Layer>& layers, const std::vector<std::string>& names) {
  SafetensorsFile file;
  for (size_t i = 0; i < layers.size(); ++i) {
    file.AddFloats(names[i] + ".weight", {layers[i].out, layers[i].in}, layers[i].weight);
    file.AddFloats(names[i] + ".bias", {layers[i].out}, layers[i].bias);
  }
  return file;
}

SafetensorsFile Ours(bool with_head = true) {
  return Named(Layers(with_head), {"hidden0", "hidden1", "head"});
}

ModelOptions Model(HeadKind head = HeadKind::kGrowing) {
  ModelOptions options;
  options.feature_count = kFeatures;
  options.hidden.assign(std::begin(kHidden), std::end(kHidden));
  options.head.kind = head;
  if (head == HeadKind::kFixed) options.head.head_classes = kClasses;
  options.batch_size = 8;
  options.seed = 5;
  return options;
}

struct Started {
  std::unique_ptr<Learner> learner;
  absl::Status status;
};

Started Start(const ModelOptions& options, const std::string& bytes, Scope scope,
              std::vector<std::string> labels = {"cat", "dog"}) {
  Started started;
  auto learner = MakeLearner(options);
  EXPECT_TRUE(learner.ok()) << learner.status();
  started.learner = *std::move(learner);
  PretrainedWeights weights;
  weights.safetensors = bytes;
  weights.scope = scope;
  weights.labels = std::move(labels);
  started.status = started.learner->StartFrom(weights);
  return started;
}

at::Tensor Parameter(const Learner& learner, const std::string& name) {
  const std::string bytes = SavedTensors(learner);
  return *StateReader::Open(bytes)->GetTensor("parameter/" + name);
}

void ExpectLayer(const Learner& learner, const std::string& name, const Layer& layer) {
  EXPECT_TRUE(Parameter(learner, name + ".weight")
                  .equal(at::tensor(layer.weight).view({layer.out, layer.in})))
      << name;
  EXPECT_TRUE(Parameter(learner, name + ".bias").equal(at::tensor(layer.bias).view({-1, 1})))
      << name;
}

// Softmax of the layers' forward pass, one number after the other, in double.
std::vector<double> Scores(const std::vector<Layer>& layers, std::vector<double> values) {
  for (size_t i = 0; i < layers.size(); ++i) {
    std::vector<double> out;
    for (int64_t row = 0; row < layers[i].out; ++row) {
      double sum = layers[i].bias[static_cast<size_t>(row)];
      for (int64_t column = 0; column < layers[i].in; ++column) {
        sum += layers[i].weight[static_cast<size_t>(row * layers[i].in + column)] *
               values[static_cast<size_t>(column)];
      }
      out.push_back(i + 1 < layers.size() ? std::max(sum, 0.0) : std::exp(sum));
    }
    values = out;
  }
  double total = 0;
  for (const double value : values) total += value;
  for (double& value : values) value /= total;
  return values;
}

TEST(WeightImportTest, AStrictFileAnswersAsTheNetworkThatWroteIt) {
  for (const HeadKind head : {HeadKind::kGrowing, HeadKind::kFixed}) {
    const Started started = Start(Model(head), Ours().Bytes(), Scope::kStrict);
    ASSERT_TRUE(started.status.ok()) << started.status;
    const auto snapshot = started.learner->TakeSnapshot(0);
    ASSERT_TRUE(snapshot.ok());
    ASSERT_EQ((*snapshot)->class_count(), kClasses) << "its outputs are there before any example";
    const std::vector<float> features = {0.5f, -2, 1, 3, 0.125f, -1};
    std::vector<float> scores;
    ASSERT_TRUE((*snapshot)->Predict(features, 2, {}, &scores).ok());
    for (size_t row = 0; row < 2; ++row) {
      const float* first = &features[row * kFeatures];
      const auto expected = Scores(Layers(), {first, first + kFeatures});
      for (size_t c = 0; c < 2; ++c) EXPECT_NEAR(scores[row * 2 + c], expected[c], 1e-6);
    }
  }
}

TEST(WeightImportTest, TheTrunkComesFromTheFileAndTheHeadIsDrawn) {
  SafetensorsFile other_head = Ours(false);
  other_head.AddFloats("head.weight", {5, 2}, Ramp(10, 0)).AddFloats("head.bias", {5}, Ramp(5, 0));
  for (const std::string& bytes : {Ours(false).Bytes(), Ours().Bytes(), other_head.Bytes()}) {
    const Started started = Start(Model(HeadKind::kFixed), bytes, Scope::kTrunk);
    ASSERT_TRUE(started.status.ok()) << started.status;
    ExpectLayer(*started.learner, "hidden0", Layers()[0]);
    ExpectLayer(*started.learner, "hidden1", Layers()[1]);
    const auto drawn = MakeLearner(Model(HeadKind::kFixed));
    EXPECT_TRUE(Parameter(*started.learner, "head.weight").equal(Parameter(**drawn, "head.weight")))
        << "as the seed draws it";
  }
}

TEST(WeightImportTest, ASequentialsNumbersAreLayersInAscendingOrder) {
  const std::vector<std::vector<std::string>> namings = {
      {"0", "2", "4"}, {"1", "2", "3"}, {"net.0", "net.2", "net.10"}, {"a.b.7", "a.b.8", "a.b.11"}};
  for (const auto& names : namings) {
    const Started whole = Start(Model(), Named(Layers(), names).Bytes(), Scope::kStrict);
    ASSERT_TRUE(whole.status.ok()) << whole.status;
    ExpectLayer(*whole.learner, "hidden1", Layers()[1]);
    ExpectLayer(*whole.learner, "head", Layers()[2]);
    const Started trunk = Start(Model(), Named(Layers(false), names).Bytes(), Scope::kTrunk);
    ASSERT_TRUE(trunk.status.ok()) << trunk.status;
    ExpectLayer(*trunk.learner, "hidden0", Layers()[0]);
  }
}

// The file's header, made so long with spaces.
std::string WithHeaderOf(uint64_t size, std::string bytes) {
  const uint64_t before = static_cast<uint8_t>(bytes[0]) | static_cast<uint8_t>(bytes[1]) << 8;
  const std::string header = bytes.substr(8, before) + std::string(size - before, ' ');
  return SafetensorsFile::WithHeader(header, bytes.substr(8 + before));
}

TEST(WeightImportTest, ALengthThatLooksLikeAnotherFormatIsStillALength) {
  const std::string pickle = WithHeaderOf(0x0480, Ours().Bytes());
  ASSERT_EQ(pickle.substr(0, 2), "\x80\x04");
  EXPECT_TRUE(Start(Model(), pickle, Scope::kStrict).status.ok());
  const std::string zip = WithHeaderOf(0x4b50, Ours().Bytes());
  ASSERT_EQ(zip.substr(0, 2), "PK");
  EXPECT_TRUE(Start(Model(), zip, Scope::kStrict).status.ok());
}

TEST(WeightImportTest, HeadsOfTasksThatAreCalledByNumbersAreLeftOutLikeOthers) {
  SafetensorsFile file = Ours(false);
  for (const char* task : {"head.0", "head.1"}) {
    file.AddFloats(std::string(task) + ".weight", {kClasses, kHidden[1]}, Ramp(4, 1));
    file.AddFloats(std::string(task) + ".bias", {kClasses}, Ramp(2, 1));
  }
  const Started started = Start(Model(), file.Bytes(), Scope::kTrunk);
  ASSERT_TRUE(started.status.ok()) << started.status;
  const std::vector<Layer> layers = Layers();
  ExpectLayer(*started.learner, "hidden0", layers[0]);
  ExpectLayer(*started.learner, "hidden1", layers[1]);
}

TEST(WeightImportTest, EveryFloatTypeBecomesFloat32) {
  const struct {
    std::string name;
    at::ScalarType type;
  } types[] = {{"F64", at::kDouble}, {"F16", at::kHalf}, {"BF16", at::kBFloat16}};
  for (const auto& type : types) {
    SafetensorsFile file;
    const auto add = [&](const std::string& name, const std::vector<int64_t>& shape,
                         const std::vector<float>& values) {
      const at::Tensor stored = at::tensor(values).to(type.type);
      file.Add(name, type.name, shape,
               std::string(static_cast<const char*>(stored.data_ptr()), stored.nbytes()));
    };
    for (size_t i = 0; i < 2; ++i) {
      const Layer layer = Layers()[i];
      add(absl::StrCat("hidden", i, ".weight"), {layer.out, layer.in}, layer.weight);
      add(absl::StrCat("hidden", i, ".bias"), {layer.out}, layer.bias);
    }
    const Started started = Start(Model(), file.Bytes(), Scope::kTrunk);
    ASSERT_TRUE(started.status.ok()) << type.name << started.status;
    ExpectLayer(*started.learner, "hidden0", Layers()[0]);  // quarters are exact in all of them
    ExpectLayer(*started.learner, "hidden1", Layers()[1]);
  }
}

TEST(WeightImportTest, SavedAndRestoredItIsTheSameLearner) {
  ModelOptions options = Model();
  options.ema_decay = 0.5;
  options.optimizer.momentum = 0.9;
  const Started started = Start(options, Ours().Bytes(), Scope::kStrict);
  ASSERT_TRUE(started.status.ok()) << started.status;
  const auto saved = started.learner->Save([](const MemberKey&) { return false; });
  const auto restored = MakeLearner(options);
  ASSERT_TRUE((*restored)->Restore(*saved, {}).ok());
  SmallStream stream(kFeatures, 3);
  for (int step = 0; step < 5; ++step) {
    const SmallBatch batch = stream.Next({0, 1, 2, 1});
    ASSERT_TRUE(started.learner->Train(batch.View()).ok());
    ASSERT_TRUE((*restored)->Train(batch.View()).ok());
  }
  EXPECT_EQ(SavedTensors(*started.learner), SavedTensors(**restored));
}

// How far the hidden layers are from the file after some steps, and whether the head moved.
std::pair<double, bool> MovedBy(const std::string& strategy) {
  ModelOptions options = Model();
  options.strategies = {{strategy, {}}};
  const Started started = Start(options, Ours(false).Bytes(), Scope::kTrunk);
  EXPECT_TRUE(started.status.ok()) << started.status;
  SmallStream stream(kFeatures, 4);
  EXPECT_TRUE(started.learner->Train(stream.Next({0, 1, 0, 1}).View()).ok());
  const at::Tensor head = Parameter(*started.learner, "head.weight");
  for (int step = 0; step < 30; ++step) {
    EXPECT_TRUE(started.learner->Train(stream.Next({0, 1, 0, 1}).View()).ok());
  }
  double moved = 0;
  for (size_t i = 0; i < 2; ++i) {
    const Layer layer = Layers()[i];
    const at::Tensor now = Parameter(*started.learner, absl::StrCat("hidden", i, ".weight"));
    moved += (now - at::tensor(layer.weight).view({layer.out, layer.in})).norm().item<double>();
  }
  return {moved, !Parameter(*started.learner, "head.weight").equal(head)};
}

TEST(WeightImportTest, FeatureExtractionKeepsThePretrainedTrunkAndFineTuningMovesIt) {
  const auto frozen = MovedBy("feature_extraction");
  EXPECT_EQ(frozen.first, 0);
  EXPECT_TRUE(frozen.second) << "the head learns";
  const auto tuned = MovedBy("fine_tuning");
  EXPECT_GT(tuned.first, 0);
  EXPECT_TRUE(tuned.second);
  EXPECT_LT(tuned.first, MovedBy("finetune").first);
}

TEST(WeightImportTest, LabelsInTheFileMustBeTheModels) {
  const auto with_labels = [](const std::string& labels) {
    SafetensorsFile file = Ours();
    return file.Entry(R"("__metadata__":{"labels":")" + labels + "\"}").Bytes();
  };
  EXPECT_TRUE(Start(Model(), with_labels(R"([\"cat\",\"dog\"])"), Scope::kStrict).status.ok());
  EXPECT_TRUE(Start(Model(), with_labels("[3,-4]"), Scope::kStrict, {"3", "-4"}).status.ok());
  EXPECT_TRUE(Start(Model(), with_labels("[3]"), Scope::kTrunk).status.ok()) << "of the head only";
  const struct {
    std::string labels, words;
  } cases[] = {{R"([\"dog\",\"cat\"])", "labels[0] is \"dog\", the model's is \"cat\""},
               {R"([\"cat\"])", "names 1, the model has 2"},
               {"[1,[2]]", "labels[0] is \"1\""},
               {"{", "expected a JSON array"}};
  for (const auto& test : cases) {
    const absl::Status status = Start(Model(), with_labels(test.labels), Scope::kStrict).status;
    EXPECT_THAT(std::string(status.message()), HasSubstr(test.words));
  }
}

struct Refusal {
  std::string name;
  std::string bytes;
  std::string words;
  Scope scope = Scope::kTrunk;
};

std::vector<Refusal> WrongForms() {
  const std::string good = Ours().Bytes();
  SafetensorsFile twice = Ours(false);
  twice.AddFloats("hidden0.bias", {4}, Ramp(4, 0));
  SafetensorsFile hole = Ours(false);
  hole.Pad("gap!").AddFloats("head.bias", {1}, {0});
  SafetensorsFile overlap = Ours(false);
  overlap.Entry(R"("head.bias":{"dtype":"F32","shape":[1],"data_offsets":[0,4]})");
  SafetensorsFile overflow = Ours(false);
  overflow.Entry(
      R"("head.weight":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]})");
  SafetensorsFile far = Ours(false);
  far.Entry(R"("head.bias":{"dtype":"F32","shape":[1],"data_offsets":[0,18446744073709551615]})");
  SafetensorsFile unknown_type = Ours(false);
  unknown_type.Entry(R"("head.bias":{"dtype":"PY","shape":[1],"data_offsets":[0,4]})");
  return {{"nothing", "", "empty"},
          {"zip", std::string("PK\x03\x04", 4) + good, "zip archive"},
          {"pickle", "\x80\x02}q" + good, "pickle"},
          {"hdf5", "\x89HDF\r\n" + good, "HDF5"},
          {"header of 2^63 bytes", std::string("\0\0\0\0\0\0\0\x80{}", 10),
           "9223372036854775808 exceeds the limit of 1048576"},
          {"header above the limit",
           SafetensorsFile::WithHeader(std::string((1 << 20) + 1, ' '), ""), "exceeds the limit"},
          {"header longer than the file", std::string("\x40\0\0\0\0\0\0\0{}", 10), "cut off"},
          {"header not JSON", SafetensorsFile::WithHeader("{'a':1}", ""), "not a JSON object"},
          {"name twice", twice.Bytes(), "twice"},
          {"hole", hole.Bytes(), "hole"},
          {"overlap", overlap.Bytes(), "overlap"},
          {"shape overflows", overflow.Bytes(), "overflows"},
          {"offset beyond the end", far.Bytes(), "out of bounds"},
          {"unknown type", unknown_type.Bytes(), "unknown dtype"},
          {"bytes behind the last tensor", good + "x", "after the last"},
          {"no tensor", SafetensorsFile::WithHeader("{}", ""), "no tensor"}};
}

std::vector<Refusal> WrongContents() {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  std::vector<Layer> with_nan = Layers();
  with_nan[1].bias[1] = nan;
  std::vector<Layer> head_nan = Layers();
  head_nan[2].weight[3] = nan;
  std::vector<Layer> wide = Layers();
  wide[0] = {5, kFeatures, Ramp(15, 0), Ramp(5, 0)};
  const std::vector<std::string> names = {"hidden0", "hidden1", "head"};
  SafetensorsFile overflow = Named({Layers()[0]}, names);
  overflow.AddValues<double>("hidden1.weight", "F64", {2, 4}, {1, 2, 3, 4, 5, 6, 7, 1e300});
  overflow.AddFloats("hidden1.bias", {2}, {0, 0});
  SafetensorsFile integers = Named({Layers()[0]}, names);
  integers.AddValues<int64_t>("hidden1.bias", "I64", {2}, {1, 2});
  integers.AddFloats("hidden1.weight", {2, 4}, Ramp(8, 0));
  SafetensorsFile flat = Named({Layers()[0]}, names);
  flat.AddFloats("hidden1.weight", {8}, Ramp(8, 0)).AddFloats("hidden1.bias", {2}, {0, 0});
  SafetensorsFile half_head = Ours(false);
  half_head.AddFloats("head.weight", {2, 2}, Ramp(4, 0));
  SafetensorsFile uneven_head = Ours(false);
  uneven_head.AddFloats("head.weight", {2, 2}, Ramp(4, 0)).AddFloats("head.bias", {3}, Ramp(3, 0));
  SafetensorsFile foreign = Ours(false);
  foreign.AddFloats("decoder.weight", {1}, {0});
  SafetensorsFile control = Ours(false);
  control.AddFloats("a\\nb", {1}, {0});
  SafetensorsFile mixed = Named(Layers(), {"0", "2", "4"});
  mixed.AddFloats("norm.scale", {1}, {0});
  SafetensorsFile zero_pad = Named(Layers(), {"0", "2", "4"});
  zero_pad.AddFloats("00.weight", {4, 3}, Ramp(12, 0));
  SafetensorsFile dotted = Named(Layers(), {"0", "2", "4"});
  dotted.AddFloats(".0.weight", {4, 3}, Ramp(12, 0));
  return {
      {"NaN", Named(with_nan, names).Bytes(), "\"hidden1.bias\"[1] is NaN"},
      {"NaN in the head that is left out", Named(head_nan, names).Bytes(), "[3] is NaN"},
      {"too large for float32", overflow.Bytes(), "\"hidden1.weight\"[7] is Inf as float32"},
      {"integers", integers.Bytes(), "is I64, expected F32, F64, F16 or BF16"},
      {"width", Named(wide, names).Bytes(), "\"hidden0.weight\" is [5,3], the model needs [4,3]"},
      {"rank", flat.Bytes(), "\"hidden1.weight\" is [8], the model needs [2,4]"},
      {"layer missing", Named({Layers()[0]}, names).Bytes(), "hidden1.weight is missing"},
      {"head missing", Ours(false).Bytes(), "head.weight is missing; scope TRUNK", Scope::kStrict},
      {"half a head", half_head.Bytes(), "head.bias is missing"},
      {"uneven head", uneven_head.Bytes(), "\"head.bias\" is [3], \"head.weight\" is [2,2]"},
      {"foreign tensor", foreign.Bytes(), "\"decoder.weight\" is not of this model, which has hid"},
      {"name is escaped", control.Bytes(), R"("a\nb" is not of this model)"},
      {"too few numbers", Named({Layers()[0]}, {"0"}).Bytes(), "has 1 linear layers, the model"},
      {"another beside a sequential", mixed.Bytes(), "\"norm.scale\" is not named NUMBER"},
      {"number written twice", zero_pad.Bytes(), "\"00.weight\" is not named NUMBER"},
      {"two tensors for one place", dotted.Bytes(), "are both for hidden0.weight"},
      {"two sequentials", Named(Layers(), {"a.0", "a.2", "b.4"}).Bytes(), "different prefixes"}};
}

void ExpectRefused(const Refusal& refusal) {
  const Started started = Start(Model(), refusal.bytes, refusal.scope);
  EXPECT_EQ(started.status.code(), absl::StatusCode::kInvalidArgument) << refusal.name;
  EXPECT_THAT(std::string(started.status.message()),
              AllOf(HasSubstr("weights: "), HasSubstr(refusal.words)))
      << refusal.name;
  EXPECT_EQ(SavedTensors(*started.learner), SavedTensors(**MakeLearner(Model())))
      << refusal.name << " changed the learner";
}

TEST(WeightImportTest, EachBrokenRuleOfTheFormIsNamed) {
  for (const Refusal& refusal : WrongForms()) ExpectRefused(refusal);
}

TEST(WeightImportTest, WhatIsNotOfTheModelIsNamed) {
  for (const Refusal& refusal : WrongContents()) ExpectRefused(refusal);
}

TEST(WeightImportTest, EveryTruncationIsRefused) {
  const std::string whole = Ours().Bytes();
  auto learner = MakeLearner(Model());
  for (size_t size = 0; size < whole.size(); ++size) {
    PretrainedWeights weights;
    weights.safetensors = absl::string_view(whole).substr(0, size);
    ASSERT_EQ((*learner)->StartFrom(weights).code(), absl::StatusCode::kInvalidArgument) << size;
  }
}

// A changed value is still a value; whatever else a byte changes is refused or harmless.
TEST(WeightImportTest, EveryChangedByteOfTheHeaderIsAnswered) {
  const std::string whole = Ours().Bytes();
  const size_t body = 4 * (12 + 4 + 8 + 2 + 4 + 2);
  auto learner = MakeLearner(Model());
  for (size_t at = 0; at < whole.size() - body; ++at) {
    for (const char flip : {'\x01', '\x10', '\x80'}) {
      std::string bytes = whole;
      bytes[at] = static_cast<char>(bytes[at] ^ flip);
      PretrainedWeights weights;
      weights.safetensors = bytes;
      const absl::Status status = (*learner)->StartFrom(weights);
      EXPECT_TRUE(status.ok() || absl::IsInvalidArgument(status)) << at << ": " << status;
    }
  }
}

TEST(WeightImportTest, ModelsThatCannotTakeThemSayWhy) {
  ModelOptions per_task = Model(HeadKind::kPerTask);
  EXPECT_TRUE(Start(per_task, Ours().Bytes(), Scope::kTrunk).status.ok());
  EXPECT_THAT(std::string(Start(per_task, Ours().Bytes(), Scope::kStrict).status.message()),
              HasSubstr("one a task; take scope TRUNK"));
  EXPECT_THAT(std::string(Start(Model(), Ours().Bytes(), Scope::kStrict, {}).status.message()),
              HasSubstr("STRICT needs the model's labels"));
  per_task.strategies = {{"progressive", {}}};
  EXPECT_THAT(std::string(Start(per_task, Ours().Bytes(), Scope::kTrunk).status.message()),
              HasSubstr("progressive has a network of its own"));
  ModelOptions dumb = Model();
  dumb.strategies = {{"gdumb", {}}};
  EXPECT_THAT(std::string(Start(dumb, Ours().Bytes(), Scope::kTrunk).status.message()),
              HasSubstr("gdumb draws new weights"));
  dumb.strategies = {{"feature_extraction", {}}, {"gdumb", {}}};
  EXPECT_TRUE(Start(dumb, Ours().Bytes(), Scope::kTrunk).status.ok());
  EXPECT_THAT(std::string(Start(dumb, Ours().Bytes(), Scope::kStrict).status.message()),
              HasSubstr("gdumb draws new weights"));
  ModelOptions linear = Model();
  linear.hidden.clear();
  EXPECT_THAT(std::string(Start(linear, Ours().Bytes(), Scope::kTrunk).status.message()),
              HasSubstr("no layer below its head"));
  const Layer only{kClasses, kFeatures, Ramp(6, 0), Ramp(2, 0)};
  EXPECT_TRUE(Start(linear, Named({only}, {"0"}).Bytes(), Scope::kStrict).status.ok());
}

}  // namespace
}  // namespace engram::strategies
