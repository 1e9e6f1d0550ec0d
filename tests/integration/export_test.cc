// A model out of one server's checkpoint and into a new model: what is exported answers alike, by
// the wire and by the command, and what is no export is refused.
#include <zlib.h>

#include <filesystem>
#include <fstream>

#include "absl/strings/str_cat.h"
#include "nlohmann/json.hpp"
#include "tests/integration/server_test.h"
#include "tests/testing/process/subprocess.h"

namespace engram::integration {
namespace {

using Format = v1::ExportRequest::Format;

const std::vector<int64_t> kLabels = {3, 1, 2};  // classes come in this order
const std::vector<int64_t> kProbe = {1, 2, 3, 1, 2, 3, 3, 1};

struct Exported {
  grpc::Status status;
  v1::ExportResponse::Header header;
  std::string bytes;
};

class ExportTest : public ServerTest {
 protected:
  void SetUp() override {
    ServerTest::SetUp();
    model_.UseStubs(stubs_.get());
  }

  void Learn(const v1::ModelSpec& spec) {
    model_.Create(spec);
    model_.Learn(kLabels, 300);
    model_.Boundary("b");
    model_.WaitApplied();
    model_.Checkpoint("kept");
  }

  Exported Export(Format format, const std::string& checkpoint = "kept",
                  const std::string& model = "toy") {
    v1::ExportRequest request;
    request.set_model(model);
    request.set_checkpoint(checkpoint);
    request.set_format(format);
    grpc::ClientContext context;
    const auto reader = stubs_->checkpoints->Export(&context, request);
    Exported exported;
    v1::ExportResponse part;
    while (reader->Read(&part)) {
      if (part.has_header()) exported.header = part.header();
      exported.bytes += part.chunk();
    }
    exported.status = reader->Finish();
    return exported;
  }

  testing::Outcome<v1::Model> Import(const std::string& name, const std::string& file) {
    grpc::ClientContext context;
    testing::Outcome<v1::Model> outcome;
    const auto writer = stubs_->checkpoints->Import(&context, &outcome.reply);
    v1::ImportRequest part;
    part.mutable_header()->set_name(name);
    bool open = writer->Write(part);
    part.set_chunk(file);
    open = open && writer->Write(part);
    part.mutable_end()->set_bytes(static_cast<int64_t>(file.size()));
    part.mutable_end()->set_crc32(static_cast<uint32_t>(
        crc32_z(0, reinterpret_cast<const unsigned char*>(file.data()), file.size())));
    if (open) writer->Write(part);
    writer->WritesDone();
    outcome.status = writer->Finish();
    return outcome;
  }

  // Scores by label: the classes of two models may come in different orders.
  static void ExpectSameScores(const v1::PredictResponse& a, const v1::PredictResponse& b) {
    ASSERT_EQ(a.predictions_size(), b.predictions_size());
    for (int row = 0; row < a.predictions_size(); ++row) {
      ASSERT_EQ(a.predictions(row).label().number(), b.predictions(row).label().number());
      ASSERT_EQ(a.predictions(row).scores_size(), b.predictions(row).scores_size());
      for (int c = 0; c < a.predictions(row).scores_size(); ++c) {
        EXPECT_NEAR(a.predictions(row).scores(c), b.predictions(row).scores(c), 1e-6);
      }
    }
  }

  std::string Command(std::vector<std::string> args, int expected_code = 0) {
    args.insert(args.begin(),
                {testing::CommandBinary(), "--server", server_->grpc_address(), "--json"});
    const std::string output = absl::StrCat(scratch_.path(), "/output.", ++runs_);
    const auto ran = testing::RunToEnd(args, absl::Seconds(30), output);
    EXPECT_TRUE(ran.ok()) << ran.status();
    if (!ran.ok()) return "";
    EXPECT_EQ(ran->code, expected_code) << ran->output;
    return ran->output;
  }

  ToyModel model_{nullptr, "toy"};
  int runs_ = 0;
};

v1::ModelSpec ReplayingSpec() {
  v1::ModelSpec spec = ToySpec();
  spec.set_ema_decay(0.9);
  spec.add_strategies()->mutable_experience_replay()->set_memory_size(50);
  spec.add_strategies()->mutable_ewc()->set_lambda(1);
  return spec;
}

TEST_F(ExportTest, AnImportedModelAnswersAsTheCheckpointDidAndLearnsOn) {
  Learn(ReplayingSpec());
  const v1::PredictResponse before = model_.Predict(kProbe);
  model_.Learn({4, 5}, 200);  // what is exported is the checkpoint
  model_.WaitApplied();
  const Exported file = Export(v1::ExportRequest::SAFETENSORS);
  ASSERT_TRUE(file.status.ok()) << file.status.error_message();
  ASSERT_EQ(file.header.labels_size(), 3);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(file.header.labels(i).number(), kLabels[i]);
  const auto imported = Import("copy", file.bytes);
  ASSERT_TRUE(imported.ok()) << imported.status.error_message();
  EXPECT_EQ(imported->spec().strategies_size(), 2);
  EXPECT_EQ(imported->spec().weights().sha256(), file.header.sha256());
  ToyModel copy(stubs_.get(), "copy");
  ExpectSameScores(copy.Predict(kProbe), before);
  copy.Checkpoint("start");  // version 0, which is not the live one for long
  copy.Learn({4, 5}, 200);
  copy.WaitApplied();
  EXPECT_GT(copy.Accuracy({4, 5}), 0.9);
  const Exported start = Export(v1::ExportRequest::SAFETENSORS, "start", "copy");
  ASSERT_TRUE(start.status.ok()) << start.status.error_message();
  EXPECT_EQ(start.header.model_version(), 0u);
  EXPECT_EQ(start.header.labels_size(), 3);
}

TEST_F(ExportTest, WhatCannotBeImportedLeavesNoModel) {
  Learn(ReplayingSpec());
  const Exported program = Export(v1::ExportRequest::TORCHSCRIPT);
  ASSERT_TRUE(program.status.ok()) << program.status.error_message();
  const auto refused = Import("copy", program.bytes);
  EXPECT_EQ(refused.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  std::string damaged = Export(v1::ExportRequest::SAFETENSORS).bytes;
  damaged.resize(damaged.size() - 4);
  EXPECT_EQ(Import("copy", damaged).status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  const auto whole = Export(v1::ExportRequest::SAFETENSORS, "").bytes;
  EXPECT_EQ(Import("toy", whole).status.error_code(), grpc::StatusCode::ALREADY_EXISTS);
  EXPECT_EQ(testing::Call(*stubs_->models, &v1::Models::Stub::ListModels, v1::ListModelsRequest())
                ->models_size(),
            1);
}

TEST_F(ExportTest, AnAnswerThatIsNoNetworkIsRefusedByItsStrategysName) {
  v1::ModelSpec spec = ToySpec();
  spec.add_strategies()->mutable_generative_classifier();
  Learn(spec);
  for (const Format format : {v1::ExportRequest::SAFETENSORS, v1::ExportRequest::TORCHSCRIPT}) {
    const Exported refused = Export(format);
    EXPECT_EQ(refused.status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
    EXPECT_NE(refused.status.error_message().find("strategy generative_classifier"),
              std::string::npos)
        << refused.status.error_message();
  }
  EXPECT_EQ(Export(v1::ExportRequest::SAFETENSORS, "none").status.error_code(),
            grpc::StatusCode::NOT_FOUND);
}

TEST_F(ExportTest, OfAHeadATaskTheLayersBelowCanBeginAnotherModel) {
  v1::ModelSpec spec = ToySpec();
  spec.mutable_head()->set_kind(v1::Head::PER_TASK);
  Learn(spec);
  const Exported file = Export(v1::ExportRequest::SAFETENSORS);
  ASSERT_TRUE(file.status.ok()) << file.status.error_message();
  const auto refused = Import("copy", file.bytes);
  EXPECT_EQ(refused.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_NE(refused.status.error_message().find("a head a task"), std::string::npos);
  v1::CreateModelRequest request;
  request.set_name("copy");
  *request.mutable_spec() = ToySpec();
  request.mutable_weights()->set_safetensors(file.bytes);
  request.mutable_weights()->set_scope(v1::PretrainedWeights::TRUNK);
  const auto created = testing::Call(*stubs_->models, &v1::Models::Stub::CreateModel, request);
  EXPECT_TRUE(created.ok()) << created.status.error_message();
}

TEST_F(ExportTest, TheReportCountsExemplarsByTaskAndClass) {
  Learn(ReplayingSpec());
  const v1::Report report = model_.Report();
  ASSERT_EQ(report.tasks_size(), 2);
  EXPECT_EQ(report.tasks(0).exemplars(), 50);
  EXPECT_EQ(report.tasks(1).exemplars(), 0);
  ASSERT_EQ(report.classes_size(), 3);
  int64_t exemplars = 0;
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(report.classes(i).label().number(), kLabels[i]);
    exemplars += report.classes(i).exemplars();
  }
  EXPECT_EQ(exemplars, 50);
}

TEST_F(ExportTest, TheCommandWritesAWholeFileAndReadsItBack) {
  Learn(ReplayingSpec());
  const std::string path = scratch_.path() + "/toy.safetensors";
  const auto written = nlohmann::json::parse(
      Command({"checkpoint", "export", "toy", "kept", "--out", path}), nullptr, false);
  ASSERT_TRUE(written.is_object());
  EXPECT_EQ(written["labels"], nlohmann::json({3, 1, 2}));
  EXPECT_EQ(written["bytes"], std::filesystem::file_size(path));
  EXPECT_FALSE(std::filesystem::exists(path + ".partial"));
  Command({"checkpoint", "import", "copy", path});
  ToyModel copy(stubs_.get(), "copy");
  ExpectSameScores(copy.Predict(kProbe), model_.Predict(kProbe));

  const std::string nowhere = scratch_.path() + "/none/toy.pt";
  Command({"checkpoint", "export", "toy", "--format", "torchscript", "--out", nowhere}, 1);
  Command({"checkpoint", "export", "toy", "--format", "onnx", "--out", path}, 2);
  Command({"checkpoint", "export", "toy"}, 2);
  Command({"checkpoint", "import", "again", nowhere}, 2);
  Command({"checkpoint", "import", "again", scratch_.path()}, 2);
  Command({"model", "create", "again", "--features", "4", "--weights", scratch_.path()}, 2);
}

TEST_F(ExportTest, TheCommandReplacesFilesAndNothingElse) {
  Learn(ReplayingSpec());
  const std::string file = scratch_.path() + "/toy.safetensors";
  const std::string link = scratch_.path() + "/link";
  const std::string device = scratch_.path() + "/device";
  std::ofstream(file) << "older";
  std::filesystem::create_symlink(file, link);
  std::filesystem::create_symlink("/dev/null", device);
  Command({"checkpoint", "export", "toy", "--out", link});
  EXPECT_TRUE(std::filesystem::is_symlink(link));
  EXPECT_GT(std::filesystem::file_size(file), 100u);
  Command({"checkpoint", "export", "toy", "--out", device});
  EXPECT_TRUE(std::filesystem::is_symlink(device));
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/null"));
  EXPECT_FALSE(std::filesystem::exists("/dev/null.partial"));
  Command({"checkpoint", "export", "toy", "--out", scratch_.path()}, 1);
  EXPECT_TRUE(std::filesystem::is_directory(scratch_.path()));
}

}  // namespace
}  // namespace engram::integration
