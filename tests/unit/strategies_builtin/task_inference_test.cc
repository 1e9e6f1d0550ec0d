// Predictions that name no task, of strategies that find it.
#include <string>
#include <vector>

#include "strategies/core/unit_map.h"
#include "strategies/models/network.h"
#include "tests/unit/strategies_builtin/isolation_rig.h"

namespace engram::strategies {
namespace {

// Tasks whose inputs live in different places, so that there is something to find.
IsolationBatch Shifted(IsolationStream* stream, int32_t task, int64_t rows) {
  IsolationBatch batch = stream->Next(task, rows);
  for (int64_t row = 0; row < rows; ++row) {
    batch.features[row * kIsolationFeatures + 4] += task == 0 ? 3.0f : -3.0f;
    batch.classes[row] = batch.features[row * kIsolationFeatures] > 0 ? 1 : 0;
  }
  return batch;
}

class TaskInferenceTest : public testing::TestWithParam<std::string> {
 protected:
  TaskInferenceTest() {
    for (int32_t task = 0; task < 2; ++task) {
      TrainOn(learner_.get(), Shifted(&stream_, task, 1000), 3);
      EndTask(learner_.get(), task);
    }
    snapshot_ = *learner_->TakeSnapshot(1);
  }

  IsolationStream stream_{1};
  std::unique_ptr<Learner> learner_ = MakeIsolated(IsolationModel({GetParam(), {}}));
  std::shared_ptr<const Snapshot> snapshot_;
};

TEST_P(TaskInferenceTest, EachRowGetsATaskAndAConfidenceAndIsAnsweredByIt) {
  ASSERT_TRUE(snapshot_->infers_tasks());
  const IsolationBatch rows = Shifted(&stream_, 1, 100);
  std::vector<InferredTask> inferred;
  ASSERT_TRUE(snapshot_->InferTasks(rows.features, 100, &inferred).ok());
  ASSERT_EQ(inferred.size(), 100u);
  std::vector<int32_t> tasks;
  for (const InferredTask& row : inferred) {
    EXPECT_TRUE(row.task == 0 || row.task == 1);
    EXPECT_GE(row.confidence, 0);
    EXPECT_LE(row.confidence, 1);
    tasks.push_back(row.task);
  }
  std::vector<float> named, unnamed;
  ASSERT_TRUE(snapshot_->Predict(rows.features, 100, tasks, &named).ok());
  ASSERT_TRUE(snapshot_->Predict(rows.features, 100, {}, &unnamed).ok());
  EXPECT_EQ(named, unnamed);
  tasks[7] = -1;
  ASSERT_TRUE(snapshot_->Predict(rows.features, 100, tasks, &unnamed).ok());
  EXPECT_EQ(named, unnamed);
}

TEST_P(TaskInferenceTest, ATaskThatHasNoHeadIsStillRefused) {
  const IsolationBatch row = Shifted(&stream_, 0, 1);
  std::vector<float> scores;
  EXPECT_EQ(snapshot_->Predict(row.features, 1, {7}, &scores).code(), absl::StatusCode::kNotFound);
}

INSTANTIATE_TEST_SUITE_P(Strategies, TaskInferenceTest,
                         testing::Values("progressive", "packnet", "pathnet"),
                         [](const auto& test) { return test.param; });

// Answers task t by the logits {sureness[t], 0} whatever the row.
class SurePass : public ForwardPass {
 public:
  explicit SurePass(std::vector<float> sureness) : sureness_(std::move(sureness)) {}
  void Run(const float*, int64_t rows, absl::Span<const int32_t> tasks, ForwardScratch*,
           float* logits) const override {
    const size_t width = 2 * sureness_.size();
    for (int64_t row = 0; row < rows; ++row) {
      const size_t task = static_cast<size_t>(tasks[row]);
      logits[row * width + 2 * task] = sureness_[task];
      logits[row * width + 2 * task + 1] = 0;
    }
  }
  int64_t embedding_width() const override { return 0; }
  void Embed(const float*, int64_t, absl::Span<const int32_t>, ForwardScratch*,
             float*) const override {}

 private:
  std::vector<float> sureness_;
};

InferredTask Infer(const std::vector<float>& sureness) {
  HeadOptions head;
  head.kind = HeadKind::kPerTask;
  UnitMap units(head);
  for (size_t task = 0; task < sureness.size(); ++task) {
    int64_t added = 0;
    const int32_t column = static_cast<int32_t>(task);
    EXPECT_TRUE(units.Admit({0, 1}, {column, column}, &added).ok());
  }
  ForwardScratch scratch;
  std::vector<InferredTask> inferred(1);
  SurePass(sureness).InferTasks(nullptr, 1, units, &scratch, absl::MakeSpan(inferred));
  return inferred[0];
}

TEST(InferTasksTest, TheSurestHeadWinsAndItsLeadIsTheConfidence) {
  const InferredTask clear = Infer({0.5f, 6.0f, 1.0f});
  EXPECT_EQ(clear.task, 1);
  EXPECT_GT(clear.confidence, 0.9);
  const InferredTask close = Infer({2.0f, 2.1f});
  EXPECT_EQ(close.task, 1);
  EXPECT_LT(close.confidence, 0.1);
  EXPECT_EQ(Infer({3.0f, 3.0f}).confidence, 0);
  EXPECT_EQ(Infer({0.1f}).confidence, 1);
}

TEST(InferTasksTest, ModelsThatInferNoTaskStillWantIt) {
  const auto learner = MakeIsolated(IsolationModel({"finetune", {}}));
  IsolationStream stream(1);
  TrainOn(learner.get(), stream.Next(0, 20));
  const auto snapshot = *learner->TakeSnapshot(1);
  EXPECT_FALSE(snapshot->infers_tasks());
  std::vector<float> scores;
  EXPECT_EQ(snapshot->Predict(stream.Next(0, 1).features, 1, {}, &scores).code(),
            absl::StatusCode::kInvalidArgument);
  std::vector<InferredTask> inferred;
  EXPECT_FALSE(snapshot->InferTasks(stream.Next(0, 1).features, 1, &inferred).ok());
}

}  // namespace
}  // namespace engram::strategies
