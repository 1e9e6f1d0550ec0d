// Heads, labels and tasks: what grows, what is fixed, what belongs to whom.
#include "tests/integration/server_test.h"
#include "tests/testing/process/status_details.h"

namespace engram::integration {
namespace {

class TasksTest : public ServerTest {
 protected:
  void SetUp() override {
    ServerTest::SetUp();
    model_.UseStubs(stubs_.get());
  }
  v1::LearnBatchRequest One(v1::Example example) {
    v1::LearnBatchRequest request;
    *request.add_examples() = std::move(example);
    return request;
  }

  const testing::ToyShape shape_;
  ToyModel model_{nullptr, "toy"};
};

TEST_F(TasksTest, AGrowingHeadTakesLabelsInFirstSeenOrder) {
  model_.Create(ToySpec());
  model_.Learn({7, 3}, 200);
  model_.WaitApplied();
  EXPECT_EQ(model_.Predict({7}).predictions(0).scores_size(), 2);
  model_.Learn({5, 7}, 400);
  model_.WaitApplied();
  const v1::Model described = model_.Describe();
  ASSERT_EQ(described.classes_size(), 3);
  EXPECT_EQ(described.classes(0).number(), 7);
  EXPECT_EQ(described.classes(1).number(), 3);
  EXPECT_EQ(described.classes(2).number(), 5);
  EXPECT_EQ(model_.Predict({7}).predictions(0).scores_size(), 3);
  EXPECT_GE(model_.Accuracy({5, 7}), 0.9);
}

grpc::Status PredictNothing(const testing::Stubs& stubs) {
  v1::PredictRequest request;
  request.set_model("toy");
  request.mutable_features()->set_dense(testing::ToyRows({}, {0}, 1));
  return testing::Call(*stubs.prediction, &v1::Prediction::Stub::Predict, request).status;
}

TEST_F(TasksTest, BeforeAnyClassIsLearnedAPredictionSaysSo) {
  model_.Create(ToySpec());
  const grpc::Status status = PredictNothing(*stubs_);
  EXPECT_EQ(status.error_code(), grpc::FAILED_PRECONDITION) << status.error_message();
  EXPECT_NE(status.error_message().find("0 examples applied"), std::string::npos);
}

TEST_F(TasksTest, AFixedHeadHasItsClassesFromTheStart) {
  v1::ModelSpec spec = ToySpec();
  spec.mutable_head()->set_kind(v1::Head::FIXED);
  for (const int64_t label : {4, 9}) spec.add_labels()->set_number(label);
  model_.Create(spec);
  EXPECT_EQ(model_.Predict({4}).predictions(0).scores_size(), 2);
  const auto refused = model_.Send(One(testing::ToyExample(shape_, 5, 1)));
  EXPECT_EQ(refused.status.error_code(), grpc::INVALID_ARGUMENT);
  EXPECT_TRUE(testing::FindDetail<google::rpc::BadRequest>(refused.status).has_value());
  model_.Learn({4, 9}, 400);
  model_.WaitApplied();
  EXPECT_GE(model_.Accuracy({4, 9}), 0.9);
}

TEST_F(TasksTest, AHeadForEachTaskAnswersOnlyForThatTask) {
  v1::ModelSpec spec = ToySpec();
  spec.mutable_head()->set_kind(v1::Head::PER_TASK);
  model_.Create(spec);
  model_.Learn({0, 1}, 300);
  model_.Boundary("b");
  model_.Learn({2, 3}, 300);
  model_.WaitApplied();
  EXPECT_GE(model_.Accuracy({2, 3}, "b"), 0.9);
  const v1::PredictResponse response = model_.Predict({2, 3}, "b");
  ASSERT_EQ(response.predictions(0).scores_size(), 4);
  EXPECT_EQ(response.predictions(0).scores(0), 0);
  EXPECT_EQ(response.predictions(0).scores(1), 0);
  EXPECT_NEAR(response.predictions(0).scores(2) + response.predictions(0).scores(3), 1, 1e-5);
  v1::PredictRequest without;
  without.set_model("toy");
  without.mutable_features()->set_dense(testing::ToyRows(shape_, {0}, 1));
  const auto refused = testing::Call(*stubs_->prediction, &v1::Prediction::Stub::Predict, without);
  EXPECT_EQ(refused.status.error_code(), grpc::INVALID_ARGUMENT) << "no task is named";
  without.set_task("nobody");
  const auto unknown = testing::Call(*stubs_->prediction, &v1::Prediction::Stub::Predict, without);
  EXPECT_EQ(unknown.status.error_code(), grpc::NOT_FOUND);
}

TEST_F(TasksTest, StringLabelsAreOfOneKindWithTheModel) {
  model_.Create(ToySpec());
  v1::LearnBatchRequest request;
  for (uint64_t i = 0; i < 100; ++i) {
    auto* example = request.add_examples();
    *example = testing::ToyExample(shape_, i % 2 == 0 ? 0 : 1, i);
    example->mutable_label()->set_text(i % 2 == 0 ? "cat" : "dog");
  }
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(model_.Send(request).ok());
  model_.WaitApplied();
  const v1::PredictResponse response = model_.Predict({0, 1});
  EXPECT_EQ(response.predictions(0).label().text(), "cat");
  EXPECT_EQ(response.predictions(1).label().text(), "dog");
  const auto refused = model_.Send(One(testing::ToyExample(shape_, 0, 1)));
  EXPECT_EQ(refused.status.error_code(), grpc::INVALID_ARGUMENT) << "an int64 among strings";
}

TEST_F(TasksTest, HeldOutRowsAreNeverTrainedOn) {
  model_.Create(ToySpec());
  model_.HoldOut({0, 1}, 100);
  model_.HoldOut({2, 3}, 100, "later");
  model_.WaitApplied();
  const v1::Report report = model_.Report();
  EXPECT_EQ(report.train_examples(), 0);
  ASSERT_EQ(report.tasks_size(), 2);
  EXPECT_EQ(report.tasks(0).held_out_rows(), 100);
  EXPECT_EQ(report.tasks(1).task(), "later");
  EXPECT_EQ(report.tasks(1).held_out_rows(), 100);
  EXPECT_EQ(PredictNothing(*stubs_).error_code(), grpc::FAILED_PRECONDITION)
      << "nothing was learned";
}

TEST_F(TasksTest, ATaskKeepsAtMostSoManyHeldOutRows) {
  v1::ModelSpec spec = ToySpec();
  spec.set_held_out_max_per_task(50);
  model_.Create(spec);
  model_.HoldOut({0, 1}, 300);
  model_.WaitApplied();
  EXPECT_EQ(model_.Report().tasks(0).held_out_rows(), 50);
}

TEST_F(TasksTest, ATrainExampleMayNameTheCurrentTaskAndNoOtherUnderEwc) {
  v1::ModelSpec spec = ToySpec();
  spec.add_strategies()->mutable_ewc()->set_lambda(1);
  spec.set_first_task("now");
  model_.Create(spec);
  v1::Example example = testing::ToyExample(shape_, 0, 1);
  example.set_task("now");
  EXPECT_TRUE(model_.Send(One(example)).ok());
  example.set_task("other");
  const auto refused = model_.Send(One(example));
  EXPECT_EQ(refused.status.error_code(), grpc::FAILED_PRECONDITION);
  EXPECT_TRUE(testing::FindDetail<google::rpc::PreconditionFailure>(refused.status).has_value());
}

TEST_F(TasksTest, BoundariesNameTasks) {
  model_.Create(ToySpec());
  model_.Learn({0}, 10);
  const v1::MarkBoundaryResponse first = model_.Boundary();
  EXPECT_EQ(first.ended_task(), "task-1");
  EXPECT_EQ(first.next_task(), "task-2");
  model_.Learn({1}, 10);
  EXPECT_EQ(model_.Boundary("named").next_task(), "named");
  model_.Learn({0}, 10);
  const v1::MarkBoundaryResponse again = model_.Boundary("task-1");
  EXPECT_EQ(again.ended_task(), "named");
  EXPECT_EQ(model_.Describe().current_task(), "task-1") << "a task may come back";
  model_.WaitApplied();  // a report is of what was learned, a boundary's answer of what is stored
  EXPECT_EQ(model_.Report().tasks_size(), 3);
}

TEST_F(TasksTest, AClassBeyondTheLimitIsRefusedWhole) {
  v1::ModelSpec spec = ToySpec();
  spec.set_max_classes(2);
  model_.Create(spec);
  model_.Learn({0, 1}, 20);
  v1::LearnBatchRequest request;
  *request.add_examples() = testing::ToyExample(shape_, 0, 1);
  *request.add_examples() = testing::ToyExample(shape_, 2, 2);
  const uint64_t durable = model_.Describe().durable_sequence();
  const auto refused = model_.Send(request);
  EXPECT_EQ(refused.status.error_code(), grpc::RESOURCE_EXHAUSTED);
  EXPECT_TRUE(testing::FindDetail<google::rpc::QuotaFailure>(refused.status).has_value());
  EXPECT_EQ(model_.Describe().durable_sequence(), durable);
}

TEST_F(TasksTest, ManyModelsLiveSideBySide) {
  std::vector<ToyModel> models;
  for (int i = 0; i < 5; ++i) models.emplace_back(stubs_.get(), "m" + std::to_string(i));
  for (ToyModel& model : models) model.Create(ToySpec());
  for (size_t i = 0; i < models.size(); ++i) {
    models[i].Learn({static_cast<int64_t>(i), static_cast<int64_t>(i) + 1}, 300);
  }
  for (size_t i = 0; i < models.size(); ++i) {
    models[i].WaitApplied();
    EXPECT_GE(models[i].Accuracy({static_cast<int64_t>(i), static_cast<int64_t>(i) + 1}), 0.9);
    EXPECT_EQ(models[i].Report().train_examples(), 300);
  }
  const auto listed =
      testing::Call(*stubs_->models, &v1::Models::Stub::ListModels, v1::ListModelsRequest());
  EXPECT_EQ(listed->models_size(), 5);
}

}  // namespace
}  // namespace engram::integration
