// Learn, predict, end tasks, read what was forgotten: the whole loop, and what its numbers mean.
#include <algorithm>
#include <vector>

#include "tests/integration/server_test.h"

namespace engram::integration {
namespace {

const std::vector<int64_t> kFirst = {0, 1};
const std::vector<int64_t> kSecond = {2, 3};
const std::vector<int64_t> kThird = {4, 5};

class RoundTripTest : public ServerTest {
 protected:
  // Three tasks of two classes; every task's held-out rows come before any learning.
  v1::Report RunThreeTasks(const v1::ModelSpec& spec) {
    model_.Create(spec);
    model_.HoldOut(kFirst, 50, "task-1");
    model_.HoldOut(kSecond, 50, "b");
    model_.HoldOut(kThird, 50, "c");
    model_.Learn(kFirst, 400);
    model_.Boundary("b");
    model_.Learn(kSecond, 400);
    model_.Boundary("c");
    model_.Learn(kThird, 400);
    model_.Boundary("d");
    model_.WaitApplied(/*evaluated=*/true);
    return model_.Report();
  }

  ToyModel model_{nullptr, "toy"};

  void SetUp() override {
    ServerTest::SetUp();
    model_.UseStubs(stubs_.get());
  }
};

double Cell(const v1::Report& report, int row, int column) {
  return report.rows(row).cells(column).accuracy();
}

TEST_F(RoundTripTest, APredictionIsRightAfterLearning) {
  model_.Create(ToySpec());
  model_.Learn(kFirst, 400);
  model_.WaitApplied();
  EXPECT_GE(model_.Accuracy(kFirst), 0.95);
  const v1::PredictResponse response = model_.Predict({0, 1});
  for (const auto& row : response.predictions()) {
    ASSERT_EQ(row.scores_size(), 2);
    EXPECT_NEAR(row.scores(0) + row.scores(1), 1, 1e-5);
  }
}

// The same pictures as bytes, and as the floats that the server makes of bytes.
TEST_F(RoundTripTest, BytesTrainTheSameModelAsTheirFloats) {
  ToyModel floats(stubs_.get(), "floats");
  model_.Create(ToySpec());
  floats.Create(ToySpec());
  v1::LearnBatchRequest as_bytes;
  v1::LearnBatchRequest as_floats;
  for (int i = 0; i < 200; ++i) {
    std::string bytes;
    std::vector<float> values;
    for (int feature = 0; feature < 16; ++feature) {
      bytes.push_back(static_cast<char>(testing::Mix(static_cast<uint64_t>(16 * i + feature))));
      values.push_back(static_cast<float>(static_cast<uint8_t>(bytes.back())) * (1.0F / 255.0F));
    }
    v1::Example* example = as_bytes.add_examples();
    example->mutable_label()->set_number(i % 2);
    *as_floats.add_examples() = *example;
    example->mutable_features()->set_dense_uint8(bytes);
    as_floats.mutable_examples(i)->mutable_features()->set_dense(testing::DenseBytes(values));
  }
  ASSERT_TRUE(model_.Send(as_bytes).status.ok());
  ASSERT_TRUE(floats.Send(as_floats).status.ok());
  model_.Boundary("b");
  floats.Boundary("b");
  model_.WaitApplied();
  floats.WaitApplied();
  EXPECT_EQ(ScoreBits(model_.Predict({0, 1, 2})), ScoreBits(floats.Predict({0, 1, 2})));
}

TEST_F(RoundTripTest, PlainTrainingForgetsAndTheReportShowsIt) {
  const v1::Report report = RunThreeTasks(ToySpec());
  ASSERT_EQ(report.rows_size(), 3);
  ASSERT_GE(report.tasks_size(), 3);
  for (int task = 0; task < 3; ++task) {
    EXPECT_GE(Cell(report, task, task), 0.9) << "just learned";
    EXPECT_EQ(report.rows(task).cells(task).held_out_rows(), 50);
  }
  EXPECT_LE(Cell(report, 2, 0), 0.5) << "two tasks later, nothing protects it";
  EXPECT_GE(report.rows(2).cells(0).task_accuracy(), Cell(report, 2, 0));
  EXPECT_EQ(report.rows(0).ended_task(), "task-1");
  EXPECT_EQ(report.rows(1).ended_task(), "b");
  EXPECT_EQ(report.train_examples(), 1200);
}

TEST_F(RoundTripTest, SummariesFollowTheirDefinitions) {
  const v1::Report report = RunThreeTasks(ToySpec());
  ASSERT_EQ(report.rows_size(), 3);
  double acc = 0, bwt = 0, fwt = 0, forgetting = 0;
  for (int j = 0; j < 3; ++j) {
    acc += Cell(report, 2, j) / 3;
    if (j < 2) bwt += (Cell(report, 2, j) - Cell(report, j, j)) / 2;
    if (j < 2) {
      const double best = std::max(Cell(report, 0, j), Cell(report, 1, j));
      forgetting += (best - Cell(report, 2, j)) / 2;
      EXPECT_NEAR(report.tasks(j).forgetting(), best - Cell(report, 2, j), 1e-9);
    }
    if (j > 0) fwt += (Cell(report, j - 1, j) - report.tasks(j).baseline()) / 2;
  }
  ASSERT_TRUE(report.summary().has_acc());
  ASSERT_TRUE(report.summary().has_bwt());
  ASSERT_TRUE(report.summary().has_fwt());
  ASSERT_TRUE(report.summary().has_forgetting());
  EXPECT_NEAR(report.summary().acc(), acc, 1e-9);
  EXPECT_NEAR(report.summary().bwt(), bwt, 1e-9);
  EXPECT_NEAR(report.summary().fwt(), fwt, 1e-9);
  EXPECT_NEAR(report.summary().forgetting(), forgetting, 1e-9);
  EXPECT_LT(report.summary().bwt(), -0.3);
}

TEST_F(RoundTripTest, ReplayForgetsLess) {
  v1::ModelSpec spec = ToySpec();
  spec.add_strategies()->mutable_experience_replay()->set_memory_size(200);
  spec.add_strategies()->mutable_ewc()->set_lambda(1);
  const v1::Report report = RunThreeTasks(spec);
  ASSERT_EQ(report.rows_size(), 3);
  EXPECT_GE(report.summary().acc(), 0.85);
}

TEST_F(RoundTripTest, ForwardTransferNeedsRowsThatCameBeforeTheirTask) {
  model_.Create(ToySpec());
  model_.HoldOut(kFirst, 20);
  model_.Learn(kFirst, 200);
  model_.Boundary("b");
  model_.Learn(kSecond, 200);
  model_.HoldOut(kSecond, 20);
  model_.Boundary("c");
  model_.WaitApplied(/*evaluated=*/true);
  const v1::Report report = model_.Report();
  ASSERT_EQ(report.rows_size(), 2);
  EXPECT_FALSE(report.rows(0).cells_size() > 1 && report.rows(0).cells(1).has_accuracy());
  EXPECT_TRUE(report.summary().has_acc());
  EXPECT_FALSE(report.summary().has_fwt());
}

TEST_F(RoundTripTest, PrequentialAccuracyIsMeasuredBeforeLearning) {
  model_.Create(ToySpec());
  model_.Learn(kFirst, 1000);
  model_.WaitApplied();
  const v1::Report report = model_.Report();
  EXPECT_EQ(report.prequential_examples(), 1000);
  EXPECT_GE(report.prequential_accuracy(), 0.8);
  EXPECT_LT(report.prequential_accuracy(), 1.0) << "the first examples cannot have been right";
}

TEST_F(RoundTripTest, AShareOfTheStreamIsHeldOutWhenAsked) {
  v1::ModelSpec spec = ToySpec();
  spec.set_held_out_fraction(0.2);
  model_.Create(spec);
  model_.Learn(kFirst, 1000);
  model_.Boundary("b");
  model_.WaitApplied(/*evaluated=*/true);
  const v1::Report report = model_.Report();
  ASSERT_EQ(report.rows_size(), 1);
  const int64_t held_out = report.rows(0).cells(0).held_out_rows();
  EXPECT_NEAR(static_cast<double>(held_out), 200, 60);
  EXPECT_EQ(report.train_examples() + held_out, 1000);
}

TEST_F(RoundTripTest, EvaluateJudgesRowsOfTheCallerAndKeepsNothing) {
  model_.Create(ToySpec());
  model_.Learn(kFirst, 400);
  model_.WaitApplied();
  v1::EvaluateRequest request;
  request.set_model("toy");
  const testing::ToyShape shape;
  for (uint64_t i = 0; i < 40; ++i) {
    *request.add_examples() = testing::ToyExample(shape, i % 2 == 0 ? 0 : 1, 99000 + i);
  }
  // A label that the model has never seen counts as wrong.
  *request.add_examples() = testing::ToyExample(shape, 7, 99999);
  const auto evaluated =
      testing::Call(*stubs_->evaluation, &v1::Evaluation::Stub::Evaluate, request);
  ASSERT_TRUE(evaluated.ok()) << evaluated.status.error_message();
  EXPECT_EQ(evaluated->examples(), 41);
  EXPECT_GE(evaluated->accuracy(), 0.9);
  EXPECT_LE(evaluated->accuracy(), 40.0 / 41 + 1e-9);
  EXPECT_EQ(model_.Report().tasks(0).held_out_rows(), 0);
  EXPECT_EQ(model_.Describe().classes_size(), 2);
}

TEST_F(RoundTripTest, WatchReportTellsOfEvaluationsCheckpointsAndRollbacks) {
  model_.Create(ToySpec());
  model_.HoldOut(kFirst, 20);
  grpc::ClientContext context;
  context.set_deadline(absl::ToChronoTime(absl::Now() + absl::Seconds(30)));
  v1::WatchReportRequest request;
  request.set_model("toy");
  const auto reader = stubs_->evaluation->WatchReport(&context, request);
  v1::ReportEvent event;
  ASSERT_TRUE(reader->Read(&event));
  EXPECT_TRUE(event.has_report()) << "the first event is the report as it is";
  model_.Learn(kFirst, 100);
  model_.Boundary("b");
  model_.WaitApplied(/*evaluated=*/true);
  const v1::Checkpoint checkpoint = model_.Checkpoint("here");
  model_.Learn(kSecond, 100);
  model_.WaitApplied();
  model_.Rollback("here");
  bool evaluated = false, checkpointed = false, rolled_back = false;
  while (!(evaluated && checkpointed && rolled_back) && reader->Read(&event)) {
    evaluated =
        evaluated || (event.has_evaluated() && event.evaluated().row().ended_task() == "task-1");
    checkpointed =
        checkpointed || (event.has_checkpoint() && event.checkpoint().id() == checkpoint.id());
    rolled_back =
        rolled_back || (event.has_rolled_back() && event.rolled_back().dropped_examples() == 100);
  }
  EXPECT_TRUE(evaluated);
  EXPECT_TRUE(checkpointed);
  EXPECT_TRUE(rolled_back);
  context.TryCancel();
  while (reader->Read(&event)) {
  }
  reader->Finish();
}

}  // namespace
}  // namespace engram::integration
