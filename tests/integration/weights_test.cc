// Pretrained weights on a real server: what they predict, that they are durable when the call
// returns, that transfer strategies learn on top of them, and that nothing hostile leaves a trace.
#include <zlib.h>

#include <cmath>
#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "google/rpc/error_details.pb.h"
#include "nlohmann/json.hpp"
#include "tests/integration/server_test.h"
#include "tests/testing/process/raw_call.h"
#include "tests/testing/process/safetensors_file.h"
#include "tests/testing/process/status_details.h"

namespace engram::integration {
namespace {

using testing::SafetensorsFile;
using Scope = v1::PretrainedWeights::Scope;

constexpr int64_t kFeatures = 16;
constexpr int64_t kHidden = 32;
constexpr int64_t kClasses = 3;

// Small numbers, a pure function of the seed.
std::vector<float> Values(int64_t count, uint64_t seed) {
  std::vector<float> values;
  for (int64_t i = 0; i < count; ++i) {
    const uint64_t bits = testing::Mix(seed + static_cast<uint64_t>(i)) >> 40;
    values.push_back(static_cast<float>(bits) / static_cast<float>(1 << 24) - 0.5F);
  }
  return values;
}

// One hidden layer and a head of three classes.
struct Network {
  std::vector<float> hidden = Values(kHidden * kFeatures, 11);
  std::vector<float> hidden_bias = Values(kHidden, 22);
  std::vector<float> head = Values(kClasses * kHidden, 33);
  std::vector<float> head_bias = Values(kClasses, 44);

  SafetensorsFile File(const std::string& first = "hidden0",
                       const std::string& second = "head") const {
    SafetensorsFile file;
    file.AddFloats(first + ".weight", {kHidden, kFeatures}, hidden);
    file.AddFloats(first + ".bias", {kHidden}, hidden_bias);
    file.AddFloats(second + ".weight", {kClasses, kHidden}, head);
    file.AddFloats(second + ".bias", {kClasses}, head_bias);
    return file;
  }

  // Softmax scores, number by number.
  std::vector<double> Scores(const std::vector<float>& features) const {
    const auto layer = [](const std::vector<float>& weight, const std::vector<float>& bias,
                          const std::vector<double>& input) {
      std::vector<double> output(bias.begin(), bias.end());
      for (size_t i = 0; i < weight.size(); ++i) {
        output[i / input.size()] += double{weight[i]} * input[i % input.size()];
      }
      return output;
    };
    std::vector<double> units = layer(hidden, hidden_bias, {features.begin(), features.end()});
    for (double& unit : units) unit = std::max(unit, 0.0);
    std::vector<double> scores = layer(head, head_bias, units);
    double total = 0;
    for (double& score : scores) total += score = std::exp(score);
    for (double& score : scores) score /= total;
    return scores;
  }
};

class WeightsTest : public ServerTest {
 protected:
  void SetUp() override {
    ServerTest::SetUp();
    model_.UseStubs(stubs_.get());
  }

  static v1::ModelSpec Spec(bool labelled) {
    v1::ModelSpec spec = ToySpec();
    for (int64_t label = 0; labelled && label < kClasses; ++label) {
      spec.add_labels()->set_number(label);
    }
    return spec;
  }

  testing::Outcome<v1::Model> Create(const v1::ModelSpec& spec, const std::string& file,
                                     Scope scope) {
    v1::CreateModelRequest request;
    request.set_name("toy");
    *request.mutable_spec() = spec;
    request.mutable_weights()->set_safetensors(file);
    request.mutable_weights()->set_scope(scope);
    return testing::Call(*stubs_->models, &v1::Models::Stub::CreateModel, request);
  }

  void ExpectPredictionsOf(const Network& network) {
    const std::vector<int64_t> rows = {0, 1, 2, 0, 1};
    v1::PredictRequest request;
    request.set_model("toy");
    request.mutable_features()->set_dense(testing::ToyRows({}, rows, 77));
    const auto reply = testing::Call(*stubs_->prediction, &v1::Prediction::Stub::Predict, request);
    ASSERT_TRUE(reply.ok()) << reply.status.error_message();
    ASSERT_EQ(reply->predictions_size(), static_cast<int>(rows.size()));
    for (size_t row = 0; row < rows.size(); ++row) {
      const auto expected = network.Scores(testing::ToyFeatures({}, rows[row], 77 + row));
      const auto& scores = reply->predictions(static_cast<int>(row)).scores();
      ASSERT_EQ(scores.size(), kClasses);
      for (int c = 0; c < kClasses; ++c) {
        EXPECT_NEAR(scores[c], expected[static_cast<size_t>(c)], 1e-5);
      }
    }
  }

  size_t FilesOfWeights() const {
    size_t files = 0;
    for (const auto& entry :
         std::filesystem::recursive_directory_iterator(options_.data_dir + "/weights")) {
      files += entry.is_regular_file() ? 1 : 0;
    }
    return files;
  }

  ToyModel model_{nullptr, "toy"};
};

TEST_F(WeightsTest, AStrictFilePredictsAtOnceAndAfterKillNine) {
  const Network network;
  const auto made = Create(Spec(true), network.File("net.0", "net.2").Bytes(),
                           v1::PretrainedWeights::STRICT);
  ASSERT_TRUE(made.ok()) << made.status.error_message();
  EXPECT_EQ(made->spec().weights().scope(), v1::PretrainedWeights::STRICT);
  ExpectPredictionsOf(network);
  const std::string before = ScoreBits(model_.Predict({0, 1, 2}));
  Restart(/*kill=*/true, &model_);
  ExpectPredictionsOf(network);
  EXPECT_EQ(ScoreBits(model_.Predict({0, 1, 2})), before);
  EXPECT_EQ(model_.Describe().spec().weights().sha256(), made->spec().weights().sha256());
}

TEST_F(WeightsTest, TransferStrategiesLearnOnAPretrainedTrunkAndRecoverTheirBits) {
  for (const bool frozen : {true, false}) {
    v1::ModelSpec spec = Spec(false);
    spec.clear_strategies();
    if (frozen) {
      spec.add_strategies()->mutable_feature_extraction();
    } else {
      spec.add_strategies()->mutable_fine_tuning();
    }
    ToyModel model(stubs_.get(), "toy", frozen ? "p" : "q");
    const auto made = Create(spec, Network().File().Bytes(), v1::PretrainedWeights::TRUNK);
    ASSERT_TRUE(made.ok()) << made.status.error_message();
    model.Learn({0, 1, 2}, 1500);
    model.WaitApplied();
    EXPECT_GE(model.Accuracy({0, 1, 2}), 0.9) << "frozen: " << frozen;
    const std::string before = ScoreBits(model.Predict({0, 1, 2}));
    Restart(/*kill=*/true, &model);
    model.WaitApplied();
    EXPECT_EQ(ScoreBits(model.Predict({0, 1, 2})), before) << "the log replayed over the file";
    v1::DeleteModelRequest remove;
    remove.set_name("toy");
    ASSERT_TRUE(testing::Call(*stubs_->models, &v1::Models::Stub::DeleteModel, remove).ok());
    EXPECT_EQ(FilesOfWeights(), 0u);
  }
}

TEST_F(WeightsTest, HostileFilesAreRefusedAndLeaveNothing) {
  const std::string good = Network().File().Bytes();
  Network not_finite;
  not_finite.hidden[17] = std::nanf("");
  const struct {
    std::string file, words;
  } cases[] = {{"", "weights: the file is empty"},
               {"PK\x03\x04" + good, "weights: expected a safetensors file, got a zip archive"},
               {std::string("\0\0\0\0\0\0\0\x80{}", 10), "exceeds the limit"},
               {good + "x", "bytes after the last tensor"},
               {good.substr(0, good.size() - 1), "out of bounds"},
               {not_finite.File().Bytes(), "\"hidden0.weight\"[17] is NaN"},
               {Network().File("hidden0", "tail").Bytes(), "\"tail.bias\" is not of this model"}};
  for (const auto& test : cases) {
    const auto made = Create(Spec(true), test.file, v1::PretrainedWeights::STRICT);
    EXPECT_EQ(made.status.error_code(), grpc::INVALID_ARGUMENT) << test.words;
    EXPECT_NE(made.status.error_message().find(test.words), std::string::npos)
        << made.status.error_message();
    const auto detail = testing::FindDetail<google::rpc::BadRequest>(made.status);
    ASSERT_TRUE(detail.has_value());
    EXPECT_EQ(detail->field_violations(0).field(), "weights");
  }
  v1::GetModelRequest get;
  get.set_name("toy");
  EXPECT_EQ(testing::Call(*stubs_->models, &v1::Models::Stub::GetModel, get).status.error_code(),
            grpc::NOT_FOUND);
  EXPECT_EQ(FilesOfWeights(), 0u);
}

TEST_F(WeightsTest, MutatedFilesAreAnsweredAndTheServerStays) {
  const std::string good = Network().File().Bytes();
  uint64_t state = 31;
  const auto draw = [&state](uint64_t below) { return (state = testing::Mix(state)) % below; };
  int taken = 0;
  for (int i = 0; i < 300; ++i) {
    std::string file = good;
    for (uint64_t times = 1 + draw(3); times > 0; --times) {
      const size_t at = draw(400);
      switch (draw(3)) {
        case 0:
          file[at] = static_cast<char>(file[at] ^ (1 << draw(8)));
          break;
        case 1:
          file.erase(at, draw(20));
          break;
        default:
          file.insert(at, file.substr(draw(400), draw(20)));
      }
    }
    const auto made = Create(Spec(true), file, v1::PretrainedWeights::STRICT);
    ASSERT_TRUE(made.ok() || made.status.error_code() == grpc::INVALID_ARGUMENT)
        << i << ": " << made.status.error_message();
    if (!made.ok()) continue;
    ++taken;
    v1::DeleteModelRequest remove;
    remove.set_name("toy");
    ASSERT_TRUE(testing::Call(*stubs_->models, &v1::Models::Stub::DeleteModel, remove).ok());
  }
  EXPECT_LT(taken, 100);
  EXPECT_TRUE(server_->WaitReady().ok());
}

TEST_F(WeightsTest, TheCommandSendsAFileLargerThanAMessage) {
  constexpr int64_t kWide = 1100;
  SafetensorsFile file;
  file.AddFloats("0.weight", {kWide, kFeatures}, Values(kWide * kFeatures, 1));
  file.AddFloats("0.bias", {kWide}, Values(kWide, 2));
  file.AddFloats("2.weight", {kWide, kWide}, Values(kWide * kWide, 3));
  file.AddFloats("2.bias", {kWide}, Values(kWide, 4));
  const std::string path = scratch_.path() + "/weights.safetensors";
  std::ofstream(path, std::ios::binary) << file.Bytes();
  ASSERT_GT(std::filesystem::file_size(path), 4u << 20);
  const auto finished = testing::RunToEnd(
      {testing::CommandBinary(), "--server", server_->grpc_address(), "model", "create", "toy",
       "--features", "16", "--hidden", absl::StrCat(kWide, ",", kWide), "--weights", path,
       "--json"},
      absl::Seconds(60), scratch_.path() + "/output");
  ASSERT_TRUE(finished.ok()) << finished.status();
  ASSERT_EQ(finished->code, 0) << finished->output;
  const auto model = nlohmann::json::parse(finished->output, nullptr, false);
  EXPECT_EQ(model["spec"]["weights"]["scope"], "TRUNK") << finished->output;
  EXPECT_EQ(FilesOfWeights(), 1u);
}

TEST_F(WeightsTest, KilledAmidAnUploadTheServerKnowsNothingOfIt) {
  grpc::ClientContext context;
  v1::Model made;
  const auto writer = stubs_->models->CreateModelFromWeights(&context, &made);
  v1::CreateModelFromWeightsRequest part;
  part.mutable_create()->set_name("toy");
  *part.mutable_create()->mutable_spec() = Spec(true);
  ASSERT_TRUE(writer->Write(part));
  part.set_chunk(Network().File().Bytes());
  ASSERT_TRUE(writer->Write(part));
  server_->Kill();
  EXPECT_FALSE(writer->Finish().ok());
  StartServer();
  v1::GetModelRequest get;
  get.set_name("toy");
  EXPECT_EQ(testing::Call(*stubs_->models, &v1::Models::Stub::GetModel, get).status.error_code(),
            grpc::NOT_FOUND);
  EXPECT_EQ(FilesOfWeights(), 0u);
}

}  // namespace
}  // namespace engram::integration
