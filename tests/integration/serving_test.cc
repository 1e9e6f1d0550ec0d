// Predictions while the model learns: they never wait, and each is of one version.
#include <algorithm>
#include <atomic>
#include <map>
#include <thread>

#include "tests/integration/server_test.h"

namespace engram::integration {
namespace {

class ServingTest : public ServerTest {
 protected:
  void SetUp() override {
    ServerTest::SetUp();
    model_.UseStubs(stubs_.get());
  }

  v1::PredictRequest Row(uint64_t min_applied = 0) const {
    v1::PredictRequest request;
    request.set_model("toy");
    request.set_min_applied_sequence(min_applied);
    request.mutable_features()->set_dense(testing::ToyRows({}, {0}, 77));
    return request;
  }

  ToyModel model_{nullptr, "toy"};
};

TEST_F(ServingTest, PredictionsNeverWaitAndNeverSeeHalfAVersion) {
  v1::ModelSpec spec = ToySpec();
  spec.clear_mlp();
  spec.mutable_mlp()->add_hidden(256);
  spec.mutable_mlp()->add_hidden(256);
  spec.set_publish_every_steps(1);
  model_.Create(spec);
  model_.Learn({0, 1}, 20);
  model_.WaitApplied();
  std::atomic<bool> learned{false};
  std::thread producer([&] {
    ToyModel other(stubs_.get(), "toy", "q");
    other.Learn({0, 1, 2, 3}, 20000);
    other.WaitApplied();
    learned = true;
  });
  const testing::Stubs mine(server_->NewChannel());
  std::map<uint64_t, std::string> bits_of_version;
  uint64_t newest = 0;
  double slowest = 0;
  while (!learned) {
    const absl::Time began = absl::Now();
    const auto reply = testing::Call(*mine.prediction, &v1::Prediction::Stub::Predict, Row());
    slowest = std::max(slowest, absl::ToDoubleSeconds(absl::Now() - began));
    ASSERT_TRUE(reply.ok()) << reply.status.error_message();
    ASSERT_GE(reply->model_version(), newest) << "versions never go back";
    newest = reply->model_version();
    const std::string bits = ScoreBits(reply.reply);
    const auto [known, fresh] = bits_of_version.emplace(newest, bits);
    ASSERT_TRUE(fresh || known->second == bits) << "version " << newest << " gave two answers";
  }
  producer.join();
  EXPECT_GT(bits_of_version.size(), 5u) << "versions are published while it learns";
  EXPECT_LT(slowest, 0.5);
}

TEST_F(ServingTest, AProducerReadsItsOwnWrites) {
  model_.Create(ToySpec());
  for (int i = 0; i < 20; ++i) {
    const uint64_t durable = model_.Learn({0, 1}, 33);
    const auto reply =
        testing::Call(*stubs_->prediction, &v1::Prediction::Stub::Predict, Row(durable));
    ASSERT_TRUE(reply.ok()) << reply.status.error_message();
    EXPECT_GE(reply->model_version(), durable);
  }
}

TEST_F(ServingTest, WaitingForWhatAPausedModelWillNotApplySaysHowFarItGot) {
  model_.Create(ToySpec());
  model_.Learn({0, 1}, 100);
  model_.WaitApplied();
  v1::PauseTrainingRequest pause;
  pause.set_name("toy");
  ASSERT_TRUE(testing::Call(*stubs_->models, &v1::Models::Stub::PauseTraining, pause).ok());
  const uint64_t version = model_.Describe().version();
  const uint64_t durable = model_.Learn({0, 1}, 10);
  const auto late = testing::Call(*stubs_->prediction, &v1::Prediction::Stub::Predict, Row(durable),
                                  absl::Milliseconds(500));
  EXPECT_EQ(late.status.error_code(), grpc::DEADLINE_EXCEEDED);
  v1::WaitAppliedRequest wait;
  wait.set_model("toy");
  wait.set_sequence(durable);
  const auto waited = testing::Call(*stubs_->learning, &v1::Learning::Stub::WaitApplied, wait,
                                    absl::Milliseconds(500));
  EXPECT_EQ(waited.status.error_code(), grpc::DEADLINE_EXCEEDED);
  EXPECT_EQ(model_.Describe().version(), version);
}

TEST_F(ServingTest, ManyRowsAndTopKAnswerInOrder) {
  model_.Create(ToySpec());
  model_.Learn({0, 1, 2, 3}, 2000);
  model_.WaitApplied();
  std::vector<int64_t> labels;
  for (int64_t i = 0; i < 1024; ++i) labels.push_back(i % 4);
  v1::PredictRequest request;
  request.set_model("toy");
  request.set_top_k(2);
  request.set_omit_scores(true);
  request.mutable_features()->set_dense(testing::ToyRows({}, labels, 5000));
  const auto reply = testing::Call(*stubs_->prediction, &v1::Prediction::Stub::Predict, request);
  ASSERT_TRUE(reply.ok()) << reply.status.error_message();
  ASSERT_EQ(reply->predictions_size(), 1024);
  int right = 0;
  for (int i = 0; i < 1024; ++i) {
    const auto& row = reply->predictions(i);
    ASSERT_EQ(row.top_size(), 2);
    EXPECT_EQ(row.scores_size(), 0);
    EXPECT_GE(row.top(0).score(), row.top(1).score());
    EXPECT_EQ(row.top(0).label().number(), row.label().number());
    right += row.label().number() == labels[static_cast<size_t>(i)] ? 1 : 0;
  }
  EXPECT_GE(right, 950);
}

TEST_F(ServingTest, PredictStreamAnswersEachRequestInOrder) {
  model_.Create(ToySpec());
  model_.Learn({0, 1}, 400);
  model_.WaitApplied();
  grpc::ClientContext context;
  const auto stream = stubs_->prediction->PredictStream(&context);
  for (int i = 0; i < 50; ++i) {
    v1::PredictRequest request;
    request.set_model("toy");
    request.mutable_features()->set_dense(
        testing::ToyRows({}, std::vector<int64_t>(static_cast<size_t>(i % 5) + 1, i % 2), 9000));
    ASSERT_TRUE(stream->Write(request));
  }
  stream->WritesDone();
  v1::PredictResponse response;
  for (int i = 0; i < 50; ++i) {
    ASSERT_TRUE(stream->Read(&response)) << i;
    ASSERT_EQ(response.predictions_size(), i % 5 + 1);
  }
  EXPECT_FALSE(stream->Read(&response));
  EXPECT_TRUE(stream->Finish().ok());
}

TEST_F(ServingTest, APartialBatchIsLearnedAfterAMoment) {
  model_.Create(ToySpec());
  model_.Learn({0, 1}, 7);
  model_.WaitApplied();
  EXPECT_EQ(model_.Report().train_examples(), 7);
}

}  // namespace
}  // namespace engram::integration
