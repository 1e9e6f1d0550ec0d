// The Open Inference Protocol over a real connection. The fake snapshot's scores are the row
// itself.
#include <cmath>
#include <cstring>
#include <future>
#include <thread>

#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "inference/grpc_service.grpc.pb.h"
#include "tests/testing/process/raw_call.h"
#include "tests/testing/process/status_details.h"
#include "tests/testing/process/toy_examples.h"
#include "tests/testing/server_edge/edge_rig.h"

namespace engram::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

class InferenceServiceTest : public ::testing::Test {
 protected:
  InferenceServiceTest()
      : model_(rig_.AddDigits()), stub_(inference::GRPCInferenceService::NewStub(rig_.channel())) {
    model_->Apply(7, 3);
    request_.set_model_name("digits");
    SetTyped({{0.1F, 0.7F, 0.2F, 0.0F}});
  }

  void SetTyped(const std::vector<std::vector<float>>& rows) {
    request_.clear_raw_input_contents();
    auto* tensor = Tensor(rows.size());
    for (const std::vector<float>& row : rows) {
      for (const float value : row) tensor->mutable_contents()->add_fp32_contents(value);
    }
  }
  void SetRaw(const std::vector<float>& row) {
    Tensor(1);
    request_.clear_raw_input_contents();
    request_.add_raw_input_contents(DenseBytes(row));
  }
  inference::ModelInferRequest::InferInputTensor* Tensor(int64_t rows) {
    request_.clear_inputs();
    auto* tensor = request_.add_inputs();
    tensor->set_name("features");
    tensor->set_datatype("FP32");
    tensor->add_shape(rows);
    tensor->add_shape(4);
    return tensor;
  }

  // `method`: a member of the stub.
  template <typename Method, typename Request, typename Response>
  grpc::Status Call(Method method, const Request& request, Response* response) {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(10)));
    return ((*stub_).*method)(&context, request, response);
  }
  grpc::Status Infer() {
    response_.Clear();
    return Call(&Stub::ModelInfer, request_, &response_);
  }
  void ExpectBad(const std::string& text) {
    const grpc::Status status = Infer();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(status.error_message(), HasSubstr(text));
    EXPECT_TRUE(FindDetail<google::rpc::BadRequest>(status).has_value());
  }
  inference::ModelStatistics Statistics() {
    inference::ModelStatisticsRequest request;
    request.set_name("digits");
    inference::ModelStatisticsResponse response;
    EXPECT_TRUE(Call(&Stub::ModelStatistics, request, &response).ok());
    return response.model_stats_size() == 1 ? response.model_stats(0)
                                            : inference::ModelStatistics();
  }

  using Stub = inference::GRPCInferenceService::Stub;
  EdgeRig rig_;
  std::shared_ptr<FakeModel> model_;
  std::unique_ptr<Stub> stub_;
  inference::ModelInferRequest request_;
  inference::ModelInferResponse response_;
};

TEST_F(InferenceServiceTest, AnswersLabelAndScoresAndTheExactVersion) {
  request_.set_id("call-1");
  SetTyped({{0.1F, 0.7F, 0.2F, 0.0F}, {0.9F, 0.0F, 0.1F, 0.0F}});
  ASSERT_TRUE(Infer().ok());
  EXPECT_EQ(response_.model_name(), "digits");
  EXPECT_EQ(response_.model_version(), "7");
  EXPECT_EQ(response_.id(), "call-1");
  ASSERT_EQ(response_.outputs_size(), 2);
  EXPECT_EQ(response_.raw_output_contents_size(), 0);
  const auto& label = response_.outputs(0);
  EXPECT_EQ(label.name(), "label");
  EXPECT_EQ(label.datatype(), "INT64");
  EXPECT_THAT(label.shape(), ElementsAre(2));
  EXPECT_THAT(label.contents().int64_contents(), ElementsAre(101, 100));
  const auto& scores = response_.outputs(1);
  EXPECT_EQ(scores.name(), "scores");
  EXPECT_EQ(scores.datatype(), "FP32");
  EXPECT_THAT(scores.shape(), ElementsAre(2, 3));
  EXPECT_THAT(scores.contents().fp32_contents(), ElementsAre(0.1F, 0.7F, 0.2F, 0.9F, 0.0F, 0.1F));
}

TEST_F(InferenceServiceTest, RawIsAnsweredRaw) {
  SetRaw({0.1F, 0.7F, 0.2F, 0.0F});
  ASSERT_TRUE(Infer().ok());
  ASSERT_EQ(response_.raw_output_contents_size(), 2);
  EXPECT_FALSE(response_.outputs(0).has_contents());
  const int64_t label = 101;
  EXPECT_EQ(response_.raw_output_contents(0),
            std::string(reinterpret_cast<const char*>(&label), sizeof(label)));
  EXPECT_EQ(response_.raw_output_contents(1), DenseBytes({0.1F, 0.7F, 0.2F}));
}

TEST_F(InferenceServiceTest, OnlyWhatIsAskedForComes) {
  request_.add_outputs()->set_name("scores");
  ASSERT_TRUE(Infer().ok());
  ASSERT_EQ(response_.outputs_size(), 1);
  EXPECT_EQ(response_.outputs(0).name(), "scores");
}

TEST_F(InferenceServiceTest, ClassificationIsScoreIndexLabelBestFirst) {
  auto* scores = request_.add_outputs();
  scores->set_name("scores");
  (*scores->mutable_parameters())["classification"].set_int64_param(2);
  SetTyped({{0.25F, 0.5F, 0.125F, 0.0F}, {1, 0, 2, 0}});
  ASSERT_TRUE(Infer().ok());
  EXPECT_EQ(response_.outputs(0).datatype(), "BYTES");
  EXPECT_THAT(response_.outputs(0).shape(), ElementsAre(2, 2));
  EXPECT_THAT(response_.outputs(0).contents().bytes_contents(),
              ElementsAre("0.5:1:101", "0.25:0:100", "2:2:102", "1:0:100"));
  // More than there are: all there are.
  (*scores->mutable_parameters())["classification"].set_int64_param(99);
  ASSERT_TRUE(Infer().ok());
  EXPECT_THAT(response_.outputs(0).shape(), ElementsAre(2, 3));
}

TEST_F(InferenceServiceTest, ValuesAreHeldToTheModelsRules) {
  SetTyped({{0.1F, std::nanf(""), 0.2F, 0.0F}});
  ExpectBad("features[1]: is NaN");
  SetTyped({{0.1F, 0.0F, 1000.0F, 0.0F}});
  ExpectBad("features[2]: 1000 exceeds max_abs_feature 100");
  request_.mutable_inputs(0)->set_shape(1, 3);
  ExpectBad("inputs[0].shape: expected [rows,4] (model \"digits\"), got [1,3]");
  request_.mutable_inputs(0)->set_shape(0, 1025);
  request_.mutable_inputs(0)->set_shape(1, 4);
  ExpectBad("inputs[0].shape: batch 1025 exceeds 1024");
  request_.clear_model_name();
  ExpectBad("model_name: required");
}

TEST_F(InferenceServiceTest, WhatIsNotThereIsNotFound) {
  request_.set_model_version("4");
  EXPECT_EQ(Infer().error_code(), grpc::StatusCode::NOT_FOUND);
  request_.set_model_version("0");
  EXPECT_THAT(Infer().error_message(), HasSubstr("\"0\" not found; there is: 7 (live)"));
  request_.clear_model_version();
  (*request_.mutable_parameters())["task"].set_string_param("task-9");
  EXPECT_EQ(Infer().error_code(), grpc::StatusCode::NOT_FOUND);
  request_.clear_parameters();
  request_.set_model_name("letters");
  EXPECT_EQ(Infer().error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(InferenceServiceTest, AKeptVersionAnswersUnderItsOwnName) {
  model_->Keep(3, 2);
  request_.set_model_version("3");
  ASSERT_TRUE(Infer().ok());
  EXPECT_EQ(response_.model_version(), "3");
  EXPECT_THAT(response_.outputs(1).shape(), ElementsAre(1, 2));
  request_.set_model_version("7");
  ASSERT_TRUE(Infer().ok());
  EXPECT_EQ(response_.model_version(), "7");
}

TEST_F(InferenceServiceTest, OneHeadATaskNeedsTheTask) {
  rig_.AddDigits(FakeModel::Commits::kInline, v1::Head::PER_TASK)->Apply(7, 3);
  ExpectBad("task: required");
  (*request_.mutable_parameters())["task"].set_string_param("task-2");
  EXPECT_TRUE(Infer().ok());
}

TEST_F(InferenceServiceTest, WithoutAClassThereIsNothingToPredict) {
  model_->Apply(8, 0);
  EXPECT_EQ(Infer().error_code(), grpc::StatusCode::FAILED_PRECONDITION);
}

TEST_F(InferenceServiceTest, WaitsForItsOwnWrites) {
  (*request_.mutable_parameters())["min_applied_sequence"].set_int64_param(9);
  auto call = std::async(std::launch::async, [this] { return Infer(); });
  while (rig_.edge().gate->OpenCalls() == 0) std::this_thread::yield();
  model_->Apply(9, 3);
  ASSERT_TRUE(call.get().ok());
  EXPECT_EQ(response_.model_version(), "9");
}

TEST_F(InferenceServiceTest, BytesThatAreNoMessageAreNamed) {
  const RawReply reply = CallRaw(rig_.channel(), "/inference.GRPCInferenceService/ModelInfer",
                                 "\x0a\xff\xff\xff\xff\x0f");
  EXPECT_EQ(reply.status.error_message(),
            "request is not a valid ModelInferRequest message (6 bytes)");
}

TEST_F(InferenceServiceTest, ManyRowsAnswerFromAnotherThread) {
  v1::ModelSpec spec;
  spec.set_feature_count(256);
  spec.set_max_abs_feature(100);
  rig_.host().Add(std::make_shared<FakeModel>("wide", spec))->Apply(7, 3);
  request_.set_model_name("wide");
  auto* tensor = Tensor(1000);
  tensor->set_shape(1, 256);
  request_.add_raw_input_contents(std::string(1000 * 256 * sizeof(float), '\0'));
  ASSERT_TRUE(Infer().ok());
  EXPECT_THAT(response_.outputs(1).shape(), ElementsAre(1000, 3));
}

TEST_F(InferenceServiceTest, MetadataNamesTensorsAndVersions) {
  v1::Checkpoint kept;
  kept.set_applied_sequence(3);
  model_->AddCheckpoint(kept);
  model_->Keep(3, 2);
  inference::ModelMetadataRequest request;
  request.set_name("digits");
  inference::ModelMetadataResponse response;
  ASSERT_TRUE(Call(&Stub::ModelMetadata, request, &response).ok());
  EXPECT_EQ(response.name(), "digits");
  EXPECT_EQ(response.platform(), "engram");
  EXPECT_THAT(response.versions(), ElementsAre("3", "7"));
  ASSERT_EQ(response.inputs_size(), 1);
  EXPECT_EQ(response.inputs(0).name(), "features");
  EXPECT_EQ(response.inputs(0).datatype(), "FP32");
  EXPECT_THAT(response.inputs(0).shape(), ElementsAre(-1, 4));
  ASSERT_EQ(response.outputs_size(), 2);
  EXPECT_EQ(response.outputs(0).datatype(), "INT64");
  EXPECT_THAT(response.outputs(0).shape(), ElementsAre(-1));
  EXPECT_THAT(response.outputs(1).shape(), ElementsAre(-1, 3));
  request.set_version("3");
  ASSERT_TRUE(Call(&Stub::ModelMetadata, request, &response).ok());
  EXPECT_THAT(response.outputs(1).shape(), ElementsAre(-1, 2));
  request.set_version("5");
  EXPECT_EQ(Call(&Stub::ModelMetadata, request, &response).error_code(),
            grpc::StatusCode::NOT_FOUND);
  request.set_version("five");
  EXPECT_EQ(Call(&Stub::ModelMetadata, request, &response).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(InferenceServiceTest, ConfigurationSaysWhatMetadataCannot) {
  inference::ModelConfigRequest request;
  request.set_name("digits");
  inference::ModelConfigResponse response;
  ASSERT_TRUE(Call(&Stub::ModelConfig, request, &response).ok());
  const inference::ModelConfig& config = response.config();
  EXPECT_EQ(config.max_batch_size(), 1024);
  EXPECT_EQ(config.backend(), "engram");
  EXPECT_EQ(config.input(0).data_type(), inference::TYPE_FP32);
  EXPECT_THAT(config.input(0).dims(), ElementsAre(4));
  EXPECT_EQ(config.output(0).data_type(), inference::TYPE_INT64);
  EXPECT_THAT(config.output(1).dims(), ElementsAre(3));
  EXPECT_THAT(config.version_policy().specific().versions(), ElementsAre(7));
  EXPECT_EQ(config.parameters().at("tasks").string_value(), "task-1,task-2");
}

TEST_F(InferenceServiceTest, StatisticsCountSuccessFailureAndBatches) {
  ASSERT_TRUE(Infer().ok());
  SetTyped({{0, 1, 0, 0}, {0, 1, 0, 0}, {0, 0, 1, 0}});
  ASSERT_TRUE(Infer().ok());
  ASSERT_TRUE(Infer().ok());
  request_.mutable_inputs(0)->set_datatype("FP8");
  ExpectBad("unknown datatype");
  const inference::ModelStatistics counts = Statistics();
  EXPECT_EQ(counts.name(), "digits");
  EXPECT_EQ(counts.version(), "");
  EXPECT_EQ(counts.inference_count(), 7u);
  EXPECT_EQ(counts.execution_count(), 3u);
  EXPECT_GT(counts.last_inference(), 1'600'000'000'000u);
  EXPECT_EQ(counts.inference_stats().success().count(), 3u);
  EXPECT_EQ(counts.inference_stats().fail().count(), 1u);
  EXPECT_GT(counts.inference_stats().fail().ns(), 0u);
  EXPECT_EQ(counts.inference_stats().compute_infer().count(), 3u);
  const uint64_t stages = counts.inference_stats().queue().ns() +
                          counts.inference_stats().compute_input().ns() +
                          counts.inference_stats().compute_infer().ns() +
                          counts.inference_stats().compute_output().ns();
  EXPECT_NEAR(static_cast<double>(counts.inference_stats().success().ns()),
              static_cast<double>(stages), 100);
  ASSERT_EQ(counts.batch_stats_size(), 2);
  EXPECT_EQ(counts.batch_stats(1).batch_size(), 3u);
  EXPECT_EQ(counts.batch_stats(1).compute_infer().count(), 2u);
}

TEST_F(InferenceServiceTest, StatisticsWithoutANameAreEveryModels) {
  v1::ModelSpec spec;
  spec.set_feature_count(2);
  rig_.host().Add(std::make_shared<FakeModel>("toy", spec));
  inference::ModelStatisticsResponse response;
  ASSERT_TRUE(Call(&Stub::ModelStatistics, inference::ModelStatisticsRequest(), &response).ok());
  EXPECT_EQ(response.model_stats_size(), 2);
  inference::ModelStatisticsRequest request;
  request.set_version("7");
  EXPECT_EQ(Call(&Stub::ModelStatistics, request, &response).error_code(),
            grpc::StatusCode::INVALID_ARGUMENT);
  request.set_name("digits");
  EXPECT_TRUE(Call(&Stub::ModelStatistics, request, &response).ok());
  request.set_version("5");
  EXPECT_EQ(Call(&Stub::ModelStatistics, request, &response).error_code(),
            grpc::StatusCode::NOT_FOUND);
}

TEST_F(InferenceServiceTest, TheIndexListsModels) {
  inference::RepositoryIndexRequest request;
  inference::RepositoryIndexResponse response;
  ASSERT_TRUE(Call(&Stub::RepositoryIndex, request, &response).ok());
  ASSERT_EQ(response.models_size(), 1);
  EXPECT_EQ(response.models(0).name(), "digits");
  EXPECT_EQ(response.models(0).version(), "7");
  EXPECT_EQ(response.models(0).state(), "READY");
  request.set_repository_name("elsewhere");
  EXPECT_EQ(Call(&Stub::RepositoryIndex, request, &response).error_code(),
            grpc::StatusCode::NOT_FOUND);
}

TEST_F(InferenceServiceTest, ServerMetadataNamesItself) {
  inference::ServerMetadataResponse response;
  ASSERT_TRUE(Call(&Stub::ServerMetadata, inference::ServerMetadataRequest(), &response).ok());
  EXPECT_EQ(response.name(), "engram");
  EXPECT_EQ(response.version(), "0.0.1");
  EXPECT_THAT(response.extensions(), ::testing::Contains("classification"));
}

TEST_F(InferenceServiceTest, ModelsAreReadyByVersion) {
  model_->Keep(3, 2);
  inference::ModelReadyRequest request;
  inference::ModelReadyResponse response;
  request.set_name("digits");
  for (const char* version : {"", "7", "3"}) {
    request.set_version(version);
    response.Clear();
    EXPECT_TRUE(Call(&Stub::ModelReady, request, &response).ok()) << version;
    EXPECT_TRUE(response.ready()) << version;
  }
  request.set_version("4");
  EXPECT_EQ(Call(&Stub::ModelReady, request, &response).error_code(), grpc::StatusCode::NOT_FOUND);
  request.set_name("letters");
  EXPECT_EQ(Call(&Stub::ModelReady, request, &response).error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(InferenceServiceTest, ReadinessFallsBeforeTheSocketCloses) {
  inference::ServerReadyResponse ready;
  ASSERT_TRUE(Call(&Stub::ServerReady, inference::ServerReadyRequest(), &ready).ok());
  EXPECT_TRUE(ready.ready());
  rig_.edge().gate->Drain();
  ASSERT_TRUE(Call(&Stub::ServerReady, inference::ServerReadyRequest(), &ready).ok());
  EXPECT_FALSE(ready.ready());
  inference::ServerLiveResponse live;
  ASSERT_TRUE(Call(&Stub::ServerLive, inference::ServerLiveRequest(), &live).ok());
  EXPECT_TRUE(live.live());
  EXPECT_EQ(Infer().error_code(), grpc::StatusCode::UNAVAILABLE);
}

}  // namespace
}  // namespace engram::testing
