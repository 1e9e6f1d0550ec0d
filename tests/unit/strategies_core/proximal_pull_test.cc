#include "strategies/core/proximal_pull.h"

#include <gtest/gtest.h>

#include "strategies/core/path_integral.h"
#include "tests/unit/strategies_core/reference_network.h"
#include "tests/unit/strategies_core/small_stream.h"

namespace engram::strategies {
namespace {

OptimizerOptions Options(OptimizerKind kind, double momentum) {
  OptimizerOptions options;
  options.kind = kind;
  options.learning_rate = kind == OptimizerKind::kSgd ? 0.1 : 0.01;
  options.momentum = momentum;
  return options;
}

// A rig with a pull, and its twin without one, after the same steps.
struct Pair {
  explicit Pair(const OptimizerOptions& optimizer, int64_t row_count = 6)
      : pulled(Model(optimizer)),
        free(Model(optimizer)),
        first(&pulled.arena, "first"),
        stream(20, 5) {
    for (int64_t i = 0; i < row_count; ++i) classes.push_back(static_cast<int32_t>(i % 3));
    const SmallBatch rows = stream.Next(classes);
    pulled.Load(rows.View());
    free.Load(rows.View());
    Fill(first);
  }

  static ModelOptions Model(const OptimizerOptions& optimizer) {
    ModelOptions options = SmallModel(20);
    options.hidden = {70};  // more than the BLAS updates before a pull reads the same part
    options.optimizer = optimizer;
    return options;
  }

  // Importance and anchors where there are parameters.
  void Fill(ProximalPull& pull) {
    for (size_t id = 0; id < pulled.arena.slots().size(); ++id) {
      const ParameterId at = static_cast<ParameterId>(id);
      const at::Tensor importance = pulled.arena.View(pull.importance(), at);
      importance.copy_(torch::rand_like(importance) * (torch::rand_like(importance) > 0.3));
      const at::Tensor anchor = pulled.arena.View(pull.anchor(), at);
      anchor.copy_(torch::randn_like(anchor));
    }
    pull.Invalidate();
  }

  void Step(const std::vector<ProximalPull*>& pulls, double backbone_rate = 1) {
    const SmallBatch rows = stream.Next(classes);
    pulled.arena.flat().copy_(free.arena.flat());
    pulled.Load(rows.View());
    free.Load(rows.View());
    for (ProximalPull* pull : pulls) pulled.context->AddPull(pull);
    for (Rig* rig : {&pulled, &free}) rig->context->SlowBackbone(backbone_rate);
    ASSERT_FALSE(pulled.context->PlainStep(*pulled.batch)->skipped);
    pulled.context->ClearHooks();
    ASSERT_FALSE(free.context->PlainStep(*free.batch)->skipped);
    free.context->ClearHooks();
  }

  Rig pulled, free;
  ProximalPull first;
  SmallStream stream;
  std::vector<int32_t> classes;
};

at::Tensor Proximal(const at::Tensor& theta, const at::Tensor& eta, double lambda,
                    const ProximalPull& pull) {
  const at::Tensor weight = eta * lambda * pull.importance();
  return (theta + weight * pull.anchor()) / (1 + weight);
}

TEST(ProximalPullTest, UnderSgdItIsTheClosedFormAfterTheTaskStep) {
  for (int64_t rows : {6, 40}) {  // fused into the update, and after the BLAS
    Pair pair(Options(OptimizerKind::kSgd, 0), rows);
    pair.first.set_lambda(20);
    pair.Step({&pair.first});
    const at::Tensor expected =
        Proximal(pair.free.arena.flat(), at::scalar_tensor(0.1), 20, pair.first);
    EXPECT_LT((pair.pulled.arena.flat() - expected).abs().max().item<double>(), 1e-5);
  }
}

TEST(ProximalPullTest, APathBesideItIsThatOfTheWholeChange) {
  for (int64_t rows : {6, 40, 100}) {  // fused into the update, and after the BLAS
    Pair pair(Options(OptimizerKind::kSgd, 0), rows);
    PathIntegral path(&pair.pulled.arena, "path");
    pair.first.set_lambda(20);
    const at::Tensor before = pair.free.arena.flat().clone();
    pair.pulled.context->AddPath(&path);
    pair.Step({&pair.first});
    const at::Tensor gradient = (before - pair.free.arena.flat()) / 0.1;
    const at::Tensor expected = -gradient * (pair.pulled.arena.flat() - before);
    EXPECT_LT((path.values() - expected).abs().max().item<double>(), 1e-5) << rows << " rows";
    EXPECT_GT(path.values().abs().max().item<double>(), 1e-3);
  }
}

TEST(ProximalPullTest, UnderMomentumTheRateIsTheSame) {
  Pair pair(Options(OptimizerKind::kSgd, 0.9));
  pair.first.set_lambda(5);
  pair.Step({&pair.first});
  const at::Tensor expected =
      Proximal(pair.free.arena.flat(), at::scalar_tensor(0.1), 5, pair.first);
  EXPECT_LT((pair.pulled.arena.flat() - expected).abs().max().item<double>(), 1e-5);
}

TEST(ProximalPullTest, UnderAdamTheRateIsThatOfEachParameter) {
  Pair pair(Options(OptimizerKind::kAdam, 0));
  pair.first.set_lambda(0.5);
  for (int i = 0; i < 3; ++i) pair.Step({&pair.first});
  const Optimizer& optimizer = *pair.free.optimizer;
  const at::Tensor moment = optimizer.moment2() / optimizer.second_correction();
  const at::Tensor eta = 0.01 / (moment.sqrt() + optimizer.options().epsilon);
  const at::Tensor expected = Proximal(pair.free.arena.flat(), eta, 0.5, pair.first);
  const at::Tensor used = pair.first.importance() > 0;
  const at::Tensor difference = (pair.pulled.arena.flat() - expected).abs() * used;
  EXPECT_LT(difference.max().item<double>(), 1e-4);
}

TEST(ProximalPullTest, NoLambdaDiverges) {
  Pair pair(Options(OptimizerKind::kSgd, 0));
  pair.first.set_lambda(1e12);
  pair.Step({&pair.first});
  const at::Tensor used = pair.first.importance() > 1e-3;
  const at::Tensor off = (pair.pulled.arena.flat() - pair.first.anchor()).abs() * used;
  EXPECT_LT(off.max().item<double>(), 1e-5);
}

TEST(ProximalPullTest, WithoutImportanceNothingMoves) {
  Pair pair(Options(OptimizerKind::kSgd, 0));
  pair.first.importance().zero_();
  pair.first.Invalidate();
  pair.first.set_lambda(100);
  pair.Step({&pair.first});
  EXPECT_TRUE(pair.pulled.arena.flat().equal(pair.free.arena.flat()));
}

TEST(ProximalPullTest, AnImportanceBelowZeroPullsNothing) {
  for (const OptimizerKind kind : {OptimizerKind::kSgd, OptimizerKind::kAdam}) {
    Pair pair(Options(kind, 0));
    pair.first.importance().neg_();
    pair.first.Invalidate();
    pair.first.set_lambda(1e12);
    pair.Step({&pair.first});
    EXPECT_TRUE(pair.pulled.arena.flat().equal(pair.free.arena.flat()));
  }
}

TEST(ProximalPullTest, UnderAdamAnAbsurdWeightEndsAtTheAnchor) {
  Pair pair(Options(OptimizerKind::kAdam, 0));
  pair.first.importance().mul_(1e30);
  pair.first.Invalidate();
  pair.first.set_lambda(1e12);
  pair.Step({&pair.first});
  const at::Tensor used = pair.first.importance() > 0;
  const at::Tensor off = (pair.pulled.arena.flat() - pair.first.anchor()).abs() * used;
  EXPECT_LT(off.max().item<double>(), 1e-5);
}

TEST(ProximalPullTest, TwoPullsApplyOneAfterTheOther) {
  Pair pair(Options(OptimizerKind::kSgd, 0));
  ProximalPull second(&pair.pulled.arena, "second");
  pair.Fill(second);
  pair.first.set_lambda(3);
  second.set_lambda(8);
  pair.Step({&pair.first, &second});
  const at::Tensor rate = at::scalar_tensor(0.1);
  const at::Tensor once = Proximal(pair.free.arena.flat(), rate, 3, pair.first);
  const at::Tensor expected = Proximal(once, rate, 8, second);
  EXPECT_LT((pair.pulled.arena.flat() - expected).abs().max().item<double>(), 1e-5);
}

TEST(ProximalPullTest, EachGroupIsPulledAtItsOwnRate) {
  for (const OptimizerKind kind : {OptimizerKind::kSgd, OptimizerKind::kAdam}) {
    for (const int64_t rows : {6, 40}) {
      Pair pair(Options(kind, 0), rows);
      pair.first.set_lambda(20);
      pair.Step({&pair.first}, 0.25);
      const double rate = pair.free.optimizer->learning_rate();
      at::Tensor eta = torch::full({pair.free.arena.size()}, 0.25 * rate);
      for (const ParameterId id : {2, 3}) pair.free.arena.View(eta, id).fill_(rate);  // the head
      if (kind == OptimizerKind::kAdam) {
        const Optimizer& optimizer = *pair.free.optimizer;
        const at::Tensor moment = optimizer.moment2() / optimizer.second_correction();
        eta /= moment.sqrt() + optimizer.options().epsilon;
      }
      const at::Tensor expected = Proximal(pair.free.arena.flat(), eta, 20, pair.first);
      const at::Tensor used = pair.first.importance() > 0;
      const at::Tensor difference = (pair.pulled.arena.flat() - expected).abs() * used;
      EXPECT_LT(difference.max().item<double>(), 1e-4) << rows;
    }
  }
}

TEST(ProximalPullTest, PrepareFollowsTheLearningRate) {
  Pair pair(Options(OptimizerKind::kSgd, 0));
  pair.first.set_lambda(2);
  pair.first.Prepare(*pair.pulled.optimizer);
  const at::Tensor before = pair.first.fraction().clone();
  OptimizerOptions next = pair.pulled.optimizer->options();
  next.learning_rate = 0.2;
  pair.pulled.optimizer->Reconfigure(next);
  pair.first.Prepare(*pair.pulled.optimizer);
  const at::Tensor weight = 0.2 * 2 * pair.first.importance();
  EXPECT_FALSE(pair.first.fraction().equal(before));
  EXPECT_LT((pair.first.fraction() - weight / (1 + weight)).abs().max().item<double>(), 1e-6);
}

}  // namespace
}  // namespace engram::strategies
