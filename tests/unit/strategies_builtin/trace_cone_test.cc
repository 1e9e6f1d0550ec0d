// GEM's cone over traces, against the same over the flat gradients that they stand for.
#include "strategies/core/trace_cone.h"

#include <limits>

#include "gtest/gtest.h"
#include "strategies/core/gradient_projection.h"
#include "tests/unit/strategies_builtin/projection_rig.h"

namespace engram::strategies {
namespace {

constexpr int64_t kStepRows = 5;

class TraceConeTest : public testing::Test {
 protected:
  TraceConeTest() { torch::manual_seed(9); }

  // Two layers, 6 -> 4 -> 3, the second without a bias.
  static std::vector<LayerTrace> Draw(int64_t rows) {
    return {{torch::randn({rows, 6}), torch::randn({rows, 4}), 0, 1},
            {torch::randn({rows, 4}), torch::randn({rows, 3}), 2, kNoParameter}};
  }
  static at::Tensor Gradient(const std::vector<LayerTrace>& traces, int64_t begin, int64_t end) {
    std::vector<at::Tensor> parts;
    for (const LayerTrace& trace : traces) {
      const at::Tensor delta = trace.output_gradient.narrow(0, begin, end - begin);
      parts.push_back(at::mm(delta.t(), trace.input.narrow(0, begin, end - begin)).flatten());
      if (trace.bias == kNoParameter) continue;
      const at::Tensor ones = trace.bias_input.defined()
                                  ? trace.bias_input.narrow(0, begin, end - begin)
                                  : at::ones({end - begin, 1});
      parts.push_back(at::mm(delta.t(), ones).flatten());
    }
    return at::cat(parts);
  }
  static at::Tensor Gradient(const std::vector<LayerTrace>& traces) {
    return Gradient(traces, 0, traces[0].input.size(0));
  }
};

TEST_F(TraceConeTest, TheStepIsThatOfTheFlatCone) {
  const std::vector<int64_t> ends = {7, 7, 10, 16};  // the second task keeps nothing
  for (const double strength : {0.0, 0.5}) {
    int projected = 0;
    for (int draw = 0; draw < 20; ++draw) {
      const std::vector<LayerTrace> kept = Draw(ends.back());
      std::vector<LayerTrace> traces = Draw(kStepRows);
      if (draw % 2 == 1) traces[0].bias_input = torch::rand({kStepRows, 1});
      std::vector<at::Tensor> rows;
      int64_t begin = 0;
      for (const int64_t end : ends) {
        rows.push_back(Gradient(kept, begin, end));
        begin = end;
      }
      const at::Tensor expected = Gradient(traces).clone(), before = expected.clone();
      ASSERT_TRUE(ProjectOntoCone(torch::stack(rows), strength, expected));
      TraceCone cone;
      cone.Keep(kept, ends);
      ASSERT_TRUE(cone.Project(strength, &traces));
      EXPECT_LT(LargestGap(Gradient(traces), expected), 1e-4);
      projected += expected.equal(before) ? 0 : 1;
    }
    EXPECT_GT(projected, 5);
  }
}

TEST_F(TraceConeTest, AnAgreeingStepKeepsItsTraces) {
  const std::vector<LayerTrace> kept = Draw(6);
  std::vector<LayerTrace> traces = kept;
  TraceCone cone;
  cone.Keep(kept, {6});
  EXPECT_TRUE(cone.Project(0.5, &traces));
  EXPECT_TRUE(traces[0].input.is_same(kept[0].input));
}

TEST_F(TraceConeTest, ATaskThatIsNotFiniteConstrainsNothing) {
  std::vector<LayerTrace> kept = Draw(8);
  std::vector<LayerTrace> sound = Draw(8), traces = Draw(kStepRows);
  for (size_t i = 0; i < kept.size(); ++i) {
    sound[i] = kept[i];
    sound[i].input = kept[i].input.narrow(0, 4, 4);
    sound[i].output_gradient = kept[i].output_gradient.narrow(0, 4, 4);
  }
  kept[1].output_gradient = kept[1].output_gradient.clone();
  kept[1].output_gradient[2][1] = std::numeric_limits<float>::infinity();
  // Against the other task, so that it is projected.
  for (size_t i = 0; i < kept.size(); ++i) {
    traces[i].input = sound[i].input;
    traces[i].output_gradient = -sound[i].output_gradient + 0.1 * torch::randn({4, i == 0 ? 4 : 3});
  }
  const at::Tensor expected = Gradient(traces).clone();
  ASSERT_TRUE(ProjectOntoCone(Gradient(sound).unsqueeze(0), 0, expected));
  TraceCone cone;
  cone.Keep(kept, {4, 8});
  EXPECT_TRUE(cone.Project(0, &traces));
  EXPECT_LT(LargestGap(Gradient(traces), expected), 1e-4);
}

}  // namespace
}  // namespace engram::strategies
