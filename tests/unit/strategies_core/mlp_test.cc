#include "strategies/models/mlp.h"

#include <gtest/gtest.h>

#include "tests/unit/strategies_core/reference_network.h"
#include "tests/unit/strategies_core/small_stream.h"

namespace engram::strategies {
namespace {

// Hidden layers and rows: below and above the number of rows where products go to the BLAS.
struct Shape {
  std::vector<int64_t> hidden;
  int64_t rows;
};

class MlpGradientTest : public ::testing::TestWithParam<Shape> {
 protected:
  MlpGradientTest() : rig_(Options()) {
    SmallStream stream(19, 3);
    std::vector<int32_t> classes;
    for (int64_t i = 0; i < GetParam().rows; ++i) classes.push_back(static_cast<int32_t>(i % 5));
    rows_ = stream.Next(classes);
    rig_.Load(rows_.View());
  }

  static ModelOptions Options() {
    ModelOptions options = SmallModel(19);
    options.hidden = GetParam().hidden;
    return options;
  }

  Rig rig_;
  SmallBatch rows_;
};

TEST_P(MlpGradientTest, ForwardEqualsTheReference) {
  const auto parameters = CloneParameters(rig_.arena);
  const at::Tensor& logits = rig_.context->Forward(*rig_.batch);
  const torch::Tensor expected = ReferenceForward(parameters, rig_.batch->features().clone());
  EXPECT_LT((logits - expected).abs().max().item<double>(), 1e-5);
}

TEST_P(MlpGradientTest, TheWrittenGradientEqualsAutograd) {
  auto parameters = CloneParameters(rig_.arena);
  const torch::Tensor expected_loss = ReferenceLoss(parameters, *rig_.batch);
  expected_loss.backward();
  const double loss =
      rig_.context->LossAndBackward(*rig_.batch, rig_.context->Forward(*rig_.batch));
  EXPECT_NEAR(loss, expected_loss.item<double>(), 1e-5);
  const at::Tensor gradient = at::zeros({rig_.arena.size()});
  rig_.optimizer->WriteGradient(rig_.network->traces(), gradient);
  for (size_t id = 0; id < parameters.size(); ++id) {
    const at::Tensor ours = rig_.arena.View(gradient, static_cast<ParameterId>(id));
    const torch::Tensor wanted = parameters[id].grad();
    EXPECT_LT((ours.reshape(wanted.sizes()) - wanted).abs().max().item<double>(), 1e-5)
        << rig_.arena.slots()[id].name;
  }
}

TEST_P(MlpGradientTest, TracesGiveExactSumsOfSquaredPerExampleGradients) {
  const at::Tensor& logits = rig_.context->Forward(*rig_.batch);
  rig_.context->LossAndBackward(*rig_.batch, logits);
  const double rows = static_cast<double>(rig_.batch->rows());
  std::vector<at::Tensor> ours;
  for (const LayerTrace& trace : rig_.network->traces()) {
    const at::Tensor delta = trace.output_gradient * rows;  // undo the mean
    ours.push_back(delta.square().t().mm(trace.input.square()));
    ours.push_back(delta.square().sum(0));
  }
  auto parameters = CloneParameters(rig_.arena);
  std::vector<torch::Tensor> expected(parameters.size());
  for (int64_t row = 0; row < rig_.batch->rows(); ++row) {
    const torch::Tensor out =
        ReferenceForward(parameters, rig_.batch->features().narrow(0, row, 1).clone());
    const torch::Tensor target = torch::tensor({rig_.batch->targets()[static_cast<size_t>(row)]});
    const auto gradients =
        torch::autograd::grad({torch::nn::functional::cross_entropy(out, target)}, parameters);
    for (size_t i = 0; i < gradients.size(); ++i) {
      const torch::Tensor square = gradients[i].square();
      expected[i] = expected[i].defined() ? expected[i] + square : square;
    }
  }
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_LT((ours[i].reshape(expected[i].sizes()) - expected[i]).abs().max().item<double>(),
              1e-4);
  }
}

TEST_P(MlpGradientTest, ABoundPassGivesTheSameLogits) {
  const at::Tensor logits = rig_.context->Forward(*rig_.batch).clone();
  const at::Tensor copy = rig_.arena.flat().clone();
  const auto pass = rig_.network->Bind(copy);
  rig_.arena.flat().zero_();
  ForwardScratch scratch;
  const at::Tensor out = at::zeros_like(logits);
  pass->Run(rig_.batch->row(0), rig_.batch->rows(), {}, &scratch, out.data_ptr<float>());
  EXPECT_TRUE(out.equal(logits));
  const at::Tensor embeddings = at::zeros({rig_.batch->rows(), pass->embedding_width()});
  pass->Embed(rig_.batch->row(0), rig_.batch->rows(), {}, &scratch, embeddings.data_ptr<float>());
  EXPECT_TRUE(embeddings.equal(rig_.network->embeddings()));
}

TEST_P(MlpGradientTest, TheGradientAtTheInputIsAutograds) {
  torch::Tensor features = rig_.batch->features().clone().set_requires_grad(true);
  const std::vector<int64_t> targets(rig_.batch->targets().begin(), rig_.batch->targets().end());
  torch::nn::functional::cross_entropy(ReferenceForward(CloneParameters(rig_.arena), features),
                                       torch::tensor(targets))
      .backward();
  rig_.context->LossAndBackward(*rig_.batch, rig_.context->Forward(*rig_.batch));
  const at::Tensor ours = at::empty_like(features);
  rig_.network->WriteInputGradient(ours);
  EXPECT_LT((ours - features.grad()).abs().max().item<double>(), 1e-5);
}

INSTANTIATE_TEST_SUITE_P(Shapes, MlpGradientTest,
                         ::testing::Values(Shape{{}, 4}, Shape{{7}, 1}, Shape{{33, 18}, 10},
                                           Shape{{33, 18}, 40}, Shape{{9, 9, 9}, 150}));

TEST(MlpTest, InitialisationIsThatOfPyTorchsLinear) {
  ModelOptions options = SmallModel(100);
  options.hidden = {400};
  options.head.kind = HeadKind::kFixed;
  options.head.head_classes = 10;
  const Rig rig(options);
  const double bounds[] = {0.1, 0.1, 0.05, 0.05};  // 1 / sqrt(in)
  for (ParameterId id = 0; id < 4; ++id) {
    const at::Tensor values = rig.arena.View(id);
    EXPECT_LE(values.abs().max().item<double>(), bounds[id]);
    EXPECT_GT(values.abs().max().item<double>(), 0.7 * bounds[id]);
  }
  const at::Tensor weights = rig.arena.View(0);
  EXPECT_NEAR(weights.mean().item<double>(), 0, 0.002);
  EXPECT_NEAR(weights.std().item<double>(), 0.1 / std::sqrt(3.0), 0.002);
}

TEST(MlpTest, NewUnitsLeaveOldOutputsAsTheyWere) {
  Rig rig(SmallModel(12));
  SmallStream stream(12, 1);
  const SmallBatch first = stream.Next({0, 1, 2});
  rig.Load(first.View());
  const at::Tensor before = rig.context->Forward(*rig.batch).clone();
  // Past the reserved rows, so that everything moves.
  rig.network->AddUnits(40, &rig.generator);
  const at::Tensor after = rig.context->Forward(*rig.batch);
  ASSERT_EQ(after.size(1), 43);
  EXPECT_TRUE(after.narrow(1, 0, 3).contiguous().equal(before));
}

}  // namespace
}  // namespace engram::strategies
