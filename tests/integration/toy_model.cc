#include "tests/integration/toy_model.h"

#include <algorithm>
#include <utility>

#include "gtest/gtest.h"

namespace engram::integration {

using testing::Call;

namespace {

constexpr int kPerMessage = 100;
// Fresh rows never repeat a trained one: their indexes start far away.
constexpr uint64_t kFreshIndex = 1ULL << 40;

}  // namespace

v1::ModelSpec ToySpec() {
  v1::ModelSpec spec;
  spec.set_feature_count(testing::ToyShape().feature_count);
  spec.mutable_mlp()->add_hidden(32);
  spec.mutable_optimizer()->set_learning_rate(0.1);
  spec.set_held_out_fraction(0);
  spec.set_evaluate_every_examples(0);
  spec.set_seed(5);
  return spec;
}

void ToyModel::Create(const v1::ModelSpec& spec) {
  v1::CreateModelRequest request;
  request.set_name(name_);
  *request.mutable_spec() = spec;
  const auto made = Call(*stubs_->models, &v1::Models::Stub::CreateModel, request);
  ASSERT_TRUE(made.ok()) << made.status.error_message();
}

testing::Outcome<v1::LearnBatchResponse> ToyModel::Send(v1::LearnBatchRequest request) {
  request.set_model(name_);
  request.set_producer(producer_);
  request.set_producer_sequence(++sequence_);
  return Call(*stubs_->learning, &v1::Learning::Stub::LearnBatch, request);
}

uint64_t ToyModel::SendExamples(const std::vector<int64_t>& labels, int count, v1::Split split,
                                const std::string& task) {
  uint64_t durable = 0;
  for (int done = 0; done < count;) {
    v1::LearnBatchRequest request;
    for (const int end = std::min(count, done + kPerMessage); done < end; ++done) {
      const int64_t label = labels[static_cast<size_t>(done) % labels.size()];
      auto* example = request.add_examples();
      *example = testing::ToyExample(shape_, label, next_index_++);
      example->set_split(split);
      example->set_task(task);
    }
    const auto sent = Send(std::move(request));
    EXPECT_TRUE(sent.ok()) << sent.status.error_message();
    durable = sent->durable_sequence();
  }
  return durable;
}

uint64_t ToyModel::Learn(const std::vector<int64_t>& labels, int count) {
  return SendExamples(labels, count, v1::TRAIN, "");
}

uint64_t ToyModel::HoldOut(const std::vector<int64_t>& labels, int count, const std::string& task) {
  return SendExamples(labels, count, v1::HELD_OUT, task);
}

v1::MarkBoundaryResponse ToyModel::Boundary(const std::string& next_task) {
  v1::MarkBoundaryRequest request;
  request.set_model(name_);
  request.set_producer(producer_);
  request.set_producer_sequence(++sequence_);
  request.mutable_boundary()->set_next_task(next_task);
  const auto marked = Call(*stubs_->learning, &v1::Learning::Stub::MarkBoundary, request);
  EXPECT_TRUE(marked.ok()) << marked.status.error_message();
  return marked.reply;
}

void ToyModel::WaitApplied(bool evaluated) {
  v1::WaitAppliedRequest request;
  request.set_model(name_);
  request.set_evaluated(evaluated);
  const auto waited = Call(*stubs_->learning, &v1::Learning::Stub::WaitApplied, request);
  ASSERT_TRUE(waited.ok()) << waited.status.error_message();
}

v1::PredictResponse ToyModel::Predict(const std::vector<int64_t>& labels, const std::string& task,
                                      uint64_t version) {
  v1::PredictRequest request;
  request.set_model(name_);
  request.set_task(task);
  request.set_version(version);
  request.mutable_features()->set_dense(testing::ToyRows(shape_, labels, kFreshIndex));
  const auto predicted = Call(*stubs_->prediction, &v1::Prediction::Stub::Predict, request);
  EXPECT_TRUE(predicted.ok()) << predicted.status.error_message();
  return predicted.reply;
}

double ToyModel::Accuracy(const std::vector<int64_t>& labels, const std::string& task) {
  std::vector<int64_t> rows;
  for (int i = 0; i < 100; ++i) rows.push_back(labels[static_cast<size_t>(i) % labels.size()]);
  const v1::PredictResponse response = Predict(rows, task);
  if (response.predictions_size() != 100) return -1;
  int right = 0;
  for (int i = 0; i < 100; ++i) {
    const v1::Label& label = response.predictions(i).label();
    right += label.has_number() && label.number() == rows[static_cast<size_t>(i)] ? 1 : 0;
  }
  return right / 100.0;
}

v1::Report ToyModel::Report() {
  v1::GetReportRequest request;
  request.set_model(name_);
  const auto report = Call(*stubs_->evaluation, &v1::Evaluation::Stub::GetReport, request);
  EXPECT_TRUE(report.ok()) << report.status.error_message();
  return report.reply;
}

v1::Model ToyModel::Describe() {
  v1::GetModelRequest request;
  request.set_name(name_);
  const auto model = Call(*stubs_->models, &v1::Models::Stub::GetModel, request);
  EXPECT_TRUE(model.ok()) << model.status.error_message();
  return model.reply;
}

v1::Checkpoint ToyModel::Checkpoint(const std::string& label) {
  v1::CreateCheckpointRequest request;
  request.set_model(name_);
  request.set_label(label);
  const auto made = Call(*stubs_->checkpoints, &v1::Checkpoints::Stub::CreateCheckpoint, request);
  EXPECT_TRUE(made.ok()) << made.status.error_message();
  return made.reply;
}

std::vector<v1::Checkpoint> ToyModel::Checkpoints() {
  v1::ListCheckpointsRequest request;
  request.set_model(name_);
  const auto listed = Call(*stubs_->checkpoints, &v1::Checkpoints::Stub::ListCheckpoints, request);
  EXPECT_TRUE(listed.ok()) << listed.status.error_message();
  return {listed->checkpoints().begin(), listed->checkpoints().end()};
}

v1::RollbackResponse ToyModel::Rollback(const std::string& checkpoint) {
  v1::RollbackRequest request;
  request.set_model(name_);
  request.set_checkpoint(checkpoint);
  const auto done = Call(*stubs_->checkpoints, &v1::Checkpoints::Stub::Rollback, request);
  EXPECT_TRUE(done.ok()) << done.status.error_message();
  return done.reply;
}

std::string ScoreBits(const v1::PredictResponse& response) {
  std::string bits;
  for (const v1::RowPrediction& row : response.predictions()) {
    bits.append(reinterpret_cast<const char*>(row.scores().data()),
                static_cast<size_t>(row.scores_size()) * sizeof(float));
  }
  return bits;
}

}  // namespace engram::integration
