#include "tests/integration/digits.h"

#include "gtest/gtest.h"
#include "tests/integration/toy_model.h"

namespace engram::integration {

const datasets::RowSplit& Digits() {
  static const auto* const digits = [] {
    datasets::DigitGeneratorOptions options;
    options.train_per_class = 1000;
    options.test_per_class = kTestDigits / 10;
    return new datasets::RowSplit(datasets::GenerateDigits(options).value());
  }();
  return *digits;
}

v1::ModelSpec DigitSpec() {
  v1::ModelSpec spec;
  spec.set_feature_count(Digits().train.FeatureCount());
  spec.mutable_mlp()->add_hidden(64);
  spec.mutable_optimizer()->set_learning_rate(0.1);
  spec.set_held_out_fraction(0);
  spec.set_evaluate_every_examples(0);
  spec.set_seed(5);
  return spec;
}

v1::LearnBatchRequest DigitRows(const datasets::RowSet& set, int64_t begin, int count, bool lie,
                                v1::Split split) {
  v1::LearnBatchRequest request;
  for (int64_t i = begin; i < begin + count; ++i) {
    const int64_t row = i % set.rows;
    v1::Example* example = request.add_examples();
    example->mutable_features()->set_dense_uint8(set.Pixels(row),
                                                 static_cast<size_t>(set.PixelsPerImage()));
    const int64_t label = set.labels[static_cast<size_t>(row)];
    example->mutable_label()->set_number(lie ? (label + 1) % 10 : label);
    example->set_split(split);
  }
  return request;
}

std::string DigitScores(const testing::Stubs& stubs, const std::string& model, uint64_t version) {
  v1::PredictRequest request;
  request.set_model(model);
  request.set_version(version);
  const v1::LearnBatchRequest rows = DigitRows(Digits().test, 0, 100);
  for (const v1::Example& example : rows.examples()) {
    request.mutable_features()->mutable_dense_uint8()->append(example.features().dense_uint8());
  }
  const auto reply = testing::Call(*stubs.prediction, &v1::Prediction::Stub::Predict, request);
  EXPECT_TRUE(reply.ok()) << reply.status.error_message();
  return ScoreBits(reply.reply);
}

double DigitAccuracy(const testing::Stubs& stubs, const std::string& model) {
  v1::EvaluateRequest request;
  request.set_model(model);
  *request.mutable_examples() = DigitRows(Digits().test, 0, kTestDigits).examples();
  const auto judged = testing::Call(*stubs.evaluation, &v1::Evaluation::Stub::Evaluate, request);
  EXPECT_TRUE(judged.ok()) << judged.status.error_message();
  return judged->accuracy();
}

}  // namespace engram::integration
