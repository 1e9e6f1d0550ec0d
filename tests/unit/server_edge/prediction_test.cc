// Predict and PredictStream over a real connection. The fake snapshot's scores are the row itself.
#include <cmath>
#include <future>
#include <limits>
#include <thread>

#include "engram/v1/prediction.grpc.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/testing/process/raw_call.h"
#include "tests/testing/process/status_details.h"
#include "tests/testing/process/toy_examples.h"
#include "tests/testing/server_edge/edge_rig.h"

namespace engram::testing {
namespace {

using ::testing::HasSubstr;

class PredictionTest : public ::testing::Test {
 protected:
  PredictionTest() : model_(rig_.AddDigits()), stub_(v1::Prediction::NewStub(rig_.channel())) {
    model_->Apply(7, 3);
    request_.set_model("digits");
    SetRow({0.1F, 0.7F, 0.2F, 0.0F});
  }

  void SetRow(const std::vector<float>& values) {
    request_.mutable_features()->set_dense(DenseBytes(values));
  }
  grpc::Status Call() {
    grpc::ClientContext context;
    context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(10)));
    return stub_->Predict(&context, request_, &response_);
  }
  void ExpectBad(const std::string& text) {
    const grpc::Status status = Call();
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_THAT(status.error_message(), HasSubstr(text));
    EXPECT_TRUE(FindDetail<google::rpc::BadRequest>(status).has_value());
  }

  EdgeRig rig_;
  std::shared_ptr<FakeModel> model_;
  std::unique_ptr<v1::Prediction::Stub> stub_;
  v1::PredictRequest request_;
  v1::PredictResponse response_;
};

TEST_F(PredictionTest, AnswersLabelScoresAndVersion) {
  ASSERT_TRUE(Call().ok());
  EXPECT_EQ(response_.model_version(), 7u);
  ASSERT_EQ(response_.predictions_size(), 1);
  EXPECT_EQ(response_.predictions(0).label().number(), 101);
  EXPECT_THAT(response_.predictions(0).scores(), ::testing::ElementsAre(0.1F, 0.7F, 0.2F));
}

TEST_F(PredictionTest, ManyRowsAndTypedValues) {
  request_.mutable_features()->clear_dense();
  for (const float value : {0.9F, 0.0F, 0.0F, 0.0F, 0.0F, 0.0F, 0.8F, 0.0F}) {
    request_.mutable_features()->add_values(value);
  }
  request_.mutable_features()->add_shape(2);
  request_.mutable_features()->add_shape(4);
  ASSERT_TRUE(Call().ok());
  ASSERT_EQ(response_.predictions_size(), 2);
  EXPECT_EQ(response_.predictions(0).label().number(), 100);
  EXPECT_EQ(response_.predictions(1).label().number(), 102);
}

TEST_F(PredictionTest, BytesAreRowsToo) {
  request_.mutable_features()->Clear();
  request_.mutable_features()->set_dense_uint8(std::string("\1\3\2\0\7\1\1\0", 8));
  request_.mutable_features()->set_uint8_scale(0.5F);
  ASSERT_TRUE(Call().ok());
  ASSERT_EQ(response_.predictions_size(), 2);
  EXPECT_EQ(response_.predictions(0).label().number(), 101);
  EXPECT_THAT(response_.predictions(0).scores(), ::testing::ElementsAre(0.5F, 1.5F, 1.0F));
  EXPECT_EQ(response_.predictions(1).label().number(), 100);
}

TEST_F(PredictionTest, BadBytesNameFieldExpectationAndValue) {
  request_.mutable_features()->Clear();
  request_.mutable_features()->set_dense_uint8(std::string(7, '\1'));
  ExpectBad("features.dense_uint8: expected 4 bytes (model \"digits\"), got 7");
  request_.mutable_features()->set_dense_uint8(std::string(4, '\1'));
  request_.mutable_features()->set_uint8_scale(-1);
  ExpectBad("features.uint8_scale: must be finite and > 0, got -1");
  request_.mutable_features()->set_uint8_scale(101);
  ExpectBad("features[0]: 101 exceeds max_abs_feature 100");
  SetRow({0.1F, 0.7F, 0.2F, 0.0F});
  ExpectBad("features: exactly one of dense, values and dense_uint8");
}

TEST_F(PredictionTest, AReusedThreadKeepsNothingOfTheLastCall) {
  request_.set_top_k(3);
  ASSERT_TRUE(Call().ok());
  request_.clear_top_k();
  request_.set_omit_scores(true);
  SetRow({0.9F, 0.0F, 0.0F, 0.0F});
  ASSERT_TRUE(Call().ok());
  EXPECT_EQ(response_.predictions(0).label().number(), 100);
  EXPECT_EQ(response_.predictions(0).scores_size(), 0);
  EXPECT_EQ(response_.predictions(0).top_size(), 0);
}

TEST_F(PredictionTest, TopIsRankedBestFirst) {
  request_.set_top_k(2);
  ASSERT_TRUE(Call().ok());
  ASSERT_EQ(response_.predictions(0).top_size(), 2);
  EXPECT_EQ(response_.predictions(0).top(0).label().number(), 101);
  EXPECT_EQ(response_.predictions(0).top(1).label().number(), 102);
  EXPECT_FLOAT_EQ(response_.predictions(0).top(1).score(), 0.2F);
}

TEST_F(PredictionTest, TopKOutsideTheClassesIsRefused) {
  for (const int k : {0, -1, 4, 1'000'000'000}) {
    request_.set_top_k(k);
    ExpectBad("top_k: must be in [1,3]");
  }
}

TEST_F(PredictionTest, BadRowsNameFieldExpectationAndValue) {
  SetRow({0.1F, 0.2F, 0.3F});
  ExpectBad("features: expected 4 values (model \"digits\"), got 3");
  SetRow({0.1F, std::nanf(""), 0.3F, 0.4F});
  ExpectBad("features[1]: is NaN");
  SetRow({0.1F, 0.2F, std::numeric_limits<float>::infinity(), 0.4F});
  ExpectBad("features[2]: is Inf");
  SetRow({1e20F, 0.2F, 0.3F, 0.4F});
  ExpectBad("exceeds max_abs_feature 100");
  request_.mutable_features()->set_dense("abc");
  ExpectBad("features.dense: expected 16 bytes");
  request_.mutable_features()->clear_dense();
  ExpectBad("features: required");
  request_.mutable_features()->set_dense(std::string(1025 * 16, '\0'));
  ExpectBad("batch 1025 exceeds 1024");
}

TEST_F(PredictionTest, ImpossibleShapesAreRefused) {
  request_.mutable_features()->add_shape(int64_t{1} << 33);
  request_.mutable_features()->add_shape(int64_t{1} << 33);
  ExpectBad("features.shape");
}

TEST_F(PredictionTest, BytesThatAreNoMessageAreNamed) {
  const RawReply reply =
      CallRaw(rig_.channel(), "/engram.v1.Prediction/Predict", "\x0a\xff\xff\xff\xff\x0f");
  EXPECT_EQ(reply.status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(reply.status.error_message(),
            "request is not a valid PredictRequest message (6 bytes)");
}

TEST_F(PredictionTest, OversizedMessagesAreRefusedByGrpc) {
  const RawReply reply =
      CallRaw(rig_.channel(), "/engram.v1.Prediction/Predict", std::string((4 << 20) + 1, 'x'));
  EXPECT_EQ(reply.status.error_code(), grpc::StatusCode::RESOURCE_EXHAUSTED);
}

TEST_F(PredictionTest, UnknownModelAndTaskAreNotFound) {
  request_.set_task("task-9");
  EXPECT_EQ(Call().error_code(), grpc::StatusCode::NOT_FOUND);
  request_.set_model("letters");
  EXPECT_EQ(Call().error_code(), grpc::StatusCode::NOT_FOUND);
  request_.clear_model();
  ExpectBad("model: required");
}

TEST_F(PredictionTest, OneHeadATaskNeedsTheTask) {
  rig_.AddDigits(FakeModel::Commits::kInline, v1::Head::PER_TASK)->Apply(7, 3);
  ExpectBad("task: required");
  request_.set_task("task-2");
  EXPECT_TRUE(Call().ok());
}

TEST_F(PredictionTest, AnInferredTaskIsNamedWithItsConfidence) {
  v1::ModelSpec spec = *model_->spec();
  spec.mutable_head()->set_kind(v1::Head::PER_TASK);
  spec.add_strategies()->mutable_progressive();
  rig_.host().Add(std::make_shared<FakeModel>("digits", spec))->Apply(7, 3);
  SetRow({0.1F, 0.7F, 0.2F, 0.5F});
  ASSERT_TRUE(Call().ok());
  EXPECT_EQ(response_.predictions(0).inferred_task(), "task-2");
  EXPECT_EQ(response_.predictions(0).task_confidence(), 0.5F);
  request_.set_task("task-1");
  ASSERT_TRUE(Call().ok());
  EXPECT_FALSE(response_.predictions(0).has_inferred_task());
  EXPECT_FALSE(response_.predictions(0).has_task_confidence());
}

TEST_F(PredictionTest, WithoutAClassThereIsNothingToPredict) {
  model_->Apply(8, 0);
  const grpc::Status status = Call();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::FAILED_PRECONDITION);
  EXPECT_THAT(status.error_message(), HasSubstr("no class yet: 0 examples applied"));
}

TEST_F(PredictionTest, AKeptVersionAnswersAndAnotherIsNotFound) {
  model_->Keep(3, 2);
  request_.set_version(3);
  ASSERT_TRUE(Call().ok());
  EXPECT_EQ(response_.model_version(), 3u);
  EXPECT_EQ(response_.predictions(0).scores_size(), 2);
  request_.set_version(4);
  EXPECT_EQ(Call().error_code(), grpc::StatusCode::NOT_FOUND);
}

TEST_F(PredictionTest, WaitsForItsOwnWrites) {
  request_.set_min_applied_sequence(9);
  auto call = std::async(std::launch::async, [this] { return Call(); });
  while (rig_.edge().gate->OpenCalls() == 0) std::this_thread::yield();
  model_->Apply(9, 3);
  ASSERT_TRUE(call.get().ok());
  EXPECT_EQ(response_.model_version(), 9u);
}

TEST_F(PredictionTest, AWaitThatEndsSaysHowFarItGot) {
  request_.set_min_applied_sequence(200);
  auto call = std::async(std::launch::async, [this] { return Call(); });
  model_->ExpireWaits();
  const grpc::Status status = call.get();
  EXPECT_EQ(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
  EXPECT_THAT(status.error_message(), HasSubstr("applied_sequence=7 < 200"));
}

TEST_F(PredictionTest, ADrainAnswersWhoWaits) {
  request_.set_min_applied_sequence(200);
  auto call = std::async(std::launch::async, [this] { return Call(); });
  while (rig_.edge().gate->OpenCalls() == 0) std::this_thread::yield();
  rig_.edge().gate->Drain();
  EXPECT_EQ(call.get().error_code(), grpc::StatusCode::UNAVAILABLE);
  EXPECT_THAT(Call().error_message(), HasSubstr("shutting down"));
}

TEST_F(PredictionTest, CallsAreCounted) {
  ASSERT_TRUE(Call().ok());
  request_.mutable_features()->set_dense(std::string(5 * 16, '\0'));
  ASSERT_TRUE(Call().ok());
  const server::ModelStatistics& counts = model_->statistics();
  EXPECT_EQ(counts.predict_calls.load(), 2u);
  EXPECT_EQ(counts.predict_rows.load(), 6u);
  EXPECT_EQ(counts.predict_batch_size[0].load(), 1u);
  EXPECT_EQ(counts.predict_batch_size[3].load(), 1u);  // 5 rows: at most 8
}

TEST_F(PredictionTest, StreamAnswersInOrderAndEndsWithItsClient) {
  grpc::ClientContext context;
  const auto stream = stub_->PredictStream(&context);
  for (int i = 0; i < 5; ++i) {
    SetRow({i == 0 ? 1.0F : 0.0F, i == 1 ? 1.0F : 0.0F, i >= 2 ? 1.0F : 0.0F, 0.0F});
    ASSERT_TRUE(stream->Write(request_));
  }
  stream->WritesDone();
  for (const int label : {100, 101, 102, 102, 102}) {
    ASSERT_TRUE(stream->Read(&response_));
    EXPECT_EQ(response_.predictions(0).label().number(), label);
  }
  EXPECT_FALSE(stream->Read(&response_));
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(PredictionTest, StreamEndsWithTheStatusOfABadRequest) {
  grpc::ClientContext context;
  const auto stream = stub_->PredictStream(&context);
  ASSERT_TRUE(stream->Write(request_));
  ASSERT_TRUE(stream->Read(&response_));
  SetRow({1.0F});
  ASSERT_TRUE(stream->Write(request_));
  EXPECT_FALSE(stream->Read(&response_));
  EXPECT_EQ(stream->Finish().error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(PredictionTest, StreamNamesAFrameThatDoesNotParse) {
  grpc::ClientContext context;
  const auto stream =
      OpenRawStream(rig_.channel(), "/engram.v1.Prediction/PredictStream", &context);
  ASSERT_TRUE(stream->Write(ToBuffer("\x0a\xff\xff\xff\xff\x0f")));
  grpc::ByteBuffer reply;
  EXPECT_FALSE(stream->Read(&reply));
  EXPECT_THAT(stream->Finish().error_message(),
              HasSubstr("message 1 is not a valid PredictRequest (6 bytes)"));
}

TEST_F(PredictionTest, StreamServesKeptVersionsToo) {
  model_->Keep(3, 2);
  request_.set_version(3);
  grpc::ClientContext context;
  const auto stream = stub_->PredictStream(&context);
  ASSERT_TRUE(stream->Write(request_));
  ASSERT_TRUE(stream->Read(&response_));
  EXPECT_EQ(response_.model_version(), 3u);
  stream->WritesDone();
  EXPECT_TRUE(stream->Finish().ok());
}

}  // namespace
}  // namespace engram::testing
