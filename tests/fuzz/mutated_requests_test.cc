// Valid requests with flipped, cut, doubled and foreign bytes, against a real server: every one
// gets an answer, none stops the server, and what was learned stays finite and served.
#include <cmath>

#include "absl/strings/str_cat.h"
#include "inference/grpc_service.pb.h"
#include "tests/integration/server_test.h"
#include "tests/testing/process/learn_session.h"
#include "tests/testing/process/raw_call.h"

namespace engram::integration {
namespace {

constexpr uint64_t kSeed = 20;
constexpr int kMutationsOfEach = 250;

class Mutator {
 public:
  explicit Mutator(uint64_t seed) : state_(seed) {}

  std::string Mutate(std::string bytes) {
    for (uint64_t times = 1 + Draw(4); times > 0; --times) {
      const size_t at = Draw(bytes.size() + 1);
      switch (Draw(5)) {
        case 0:
          if (at < bytes.size()) bytes[at] = static_cast<char>(bytes[at] ^ (1 << Draw(8)));
          break;
        case 1:
          bytes.resize(at);
          break;
        case 2:
          bytes.insert(at, bytes.substr(at, Draw(32)));
          break;
        case 3:
          bytes.insert(at, "\xff\xff\xff\xff\x0f");
          break;
        default:
          if (at < bytes.size()) bytes[at] = static_cast<char>(Draw(256));
      }
    }
    return bytes;
  }

 private:
  uint64_t Draw(uint64_t below) {
    state_ = testing::Mix(state_);
    return state_ % below;
  }

  uint64_t state_;
};

class MutatedRequestsTest : public ServerTest {
 protected:
  void SetUp() override {
    ServerTest::SetUp();
    model_.UseStubs(stubs_.get());
    model_.Create(ToySpec());
    model_.Learn({0, 1}, 200);
    model_.WaitApplied();
  }

  v1::LearnBatchRequest Batch() {
    v1::LearnBatchRequest request;
    request.set_model("toy");
    request.set_producer("mutant");
    request.set_producer_sequence(1);
    for (uint64_t i = 0; i < 3; ++i) *request.add_examples() = testing::ToyExample({}, 0, i);
    return request;
  }

  inference::ModelInferRequest Inference() {
    const std::string rows = testing::ToyRows({}, {0, 1}, 1);
    inference::ModelInferRequest request;
    request.set_model_name("toy");
    auto* tensor = request.add_inputs();
    tensor->set_name("features");
    tensor->set_datatype("FP32");
    tensor->add_shape(2);
    tensor->add_shape(static_cast<int64_t>(rows.size() / sizeof(float) / 2));
    request.add_raw_input_contents(rows);
    return request;
  }

  void ExpectServing() {
    model_.WaitApplied();
    EXPECT_EQ(model_.Describe().state(), v1::Model::SERVING);
    const v1::PredictResponse response = model_.Predict({0, 1});
    for (const auto& row : response.predictions()) {
      for (const float score : row.scores()) EXPECT_TRUE(std::isfinite(score));
    }
    EXPECT_TRUE(server_->WaitReady("toy").ok());
  }

  ToyModel model_{nullptr, "toy"};
};

TEST_F(MutatedRequestsTest, UnaryCallsAreAnswered) {
  v1::PredictRequest predict;
  predict.set_model("toy");
  predict.mutable_features()->set_dense(testing::ToyRows({}, {0, 1}, 1));
  v1::CreateModelRequest create;
  create.set_name("mutant");
  *create.mutable_spec() = ToySpec();
  v1::RollbackRequest rollback;
  rollback.set_model("toy");
  rollback.set_checkpoint("01ARZ3NDEKTSV4RRFFQ69G5FAV");
  const std::pair<const char*, std::string> calls[] = {
      {"/engram.v1.Learning/LearnBatch", Batch().SerializeAsString()},
      {"/engram.v1.Prediction/Predict", predict.SerializeAsString()},
      {"/engram.v1.Models/CreateModel", create.SerializeAsString()},
      {"/engram.v1.Checkpoints/Rollback", rollback.SerializeAsString()},
      {"/inference.GRPCInferenceService/ModelInfer", Inference().SerializeAsString()}};
  Mutator mutator(kSeed);
  for (const auto& [method, body] : calls) {
    for (int i = 0; i < kMutationsOfEach; ++i) {
      const grpc::Status status =
          testing::CallRaw(stubs_->channel, method, mutator.Mutate(body), absl::Seconds(2)).status;
      ASSERT_NE(status.error_code(), grpc::UNAVAILABLE)
          << method << " mutation " << i << " of seed " << kSeed << ": " << server_->Output();
      ASSERT_NE(status.error_code(), grpc::INTERNAL) << status.error_message();
      ASSERT_NE(status.error_code(), grpc::UNKNOWN) << status.error_message();
    }
  }
  ExpectServing();
}

TEST_F(MutatedRequestsTest, StreamsEndWithAStatus) {
  Mutator mutator(kSeed + 1);
  v1::LearnRequest request;
  *request.mutable_message()->add_examples() = testing::ToyExample({}, 0, 1);
  for (int i = 0; i < kMutationsOfEach; ++i) {
    testing::LearnSession session(stubs_->channel);
    ASSERT_TRUE(session.Open("toy", absl::StrCat("mutant-", i)));
    request.mutable_message()->set_producer_sequence(1);
    session.WriteFrame(mutator.Mutate(request.SerializeAsString()));
    session.End();
    const grpc::Status status = session.Finish();
    ASSERT_NE(status.error_code(), grpc::UNAVAILABLE) << i << ": " << server_->Output();
    ASSERT_NE(status.error_code(), grpc::INTERNAL) << status.error_message();
  }
  ExpectServing();
}

}  // namespace
}  // namespace engram::integration
