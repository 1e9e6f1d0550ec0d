// PathNet: the grid against autograd, the law of its mutations, and what is frozen with a task.
#include <algorithm>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "strategies/core/optimizer.h"
#include "strategies/models/module_paths.h"
#include "strategies/models/modules.h"
#include "tests/unit/strategies_builtin/isolation_rig.h"

namespace engram::strategies {
namespace {

constexpr int64_t kModules = 6;
constexpr int64_t kActive = 2;

class ModulesTest : public testing::Test {
 protected:
  ModulesTest() : modules_({5, {7, 4}, kModules, kActive}, &arena_, &generator_) {
    modules_.AddUnits(5, &generator_);
    modules_.Place({{0, 0}, {0, 1}, {3, 0}, {3, 1}, {3, 2}}, &generator_);
    torch::manual_seed(1);
    features_ = torch::randn({4, 5});
  }

  torch::Tensor Leaf(const std::string& name) {
    for (size_t id = 0; id < arena_.slots().size(); ++id) {
      if (arena_.slots()[id].name != name) continue;
      return leaves_.try_emplace(name, arena_.View(static_cast<ParameterId>(id))
                                           .clone()
                                           .set_requires_grad(true))
          .first->second;
    }
    ADD_FAILURE() << name;
    return {};
  }
  torch::Tensor Linear(const std::string& name, const torch::Tensor& input) {
    return input.mm(Leaf(name + ".weight").t()) + Leaf(name + ".bias").t();
  }
  torch::Tensor Reference(const ModulePath& path, const std::string& head) {
    torch::Tensor input = features_;
    for (size_t l = 0; l < 2; ++l) {
      torch::Tensor sum;
      for (size_t n = 0; n < kActive; ++n) {
        const std::string name = "layer" + std::to_string(l) + ".module" +
                                 std::to_string(path[l * kActive + n]);
        const torch::Tensor out = torch::relu(Linear(name, input));
        sum = sum.defined() ? sum + out : out;
      }
      input = sum;
    }
    return Linear(head, input);
  }

  Generator generator_{3};
  ParameterArena arena_;
  Modules modules_;
  torch::Tensor features_;
  std::map<std::string, torch::Tensor> leaves_;
};

TEST_F(ModulesTest, ThePathsGradientIsAutogradsAndOtherModulesGetExactlyNone) {
  const ModulePath first = {0, 1, 2, 3}, second = {4, 1, 5, 3};
  modules_.SetPath(0, first);
  modules_.Close(0, &generator_);
  modules_.Activate(3, second);
  const at::Tensor logits = modules_.Forward(features_);
  const torch::Tensor expected = Reference(second, "head1");
  EXPECT_LT((logits.narrow(1, 2, 3) - expected.detach()).abs().max().item<double>(), 1e-5);
  EXPECT_EQ(logits.narrow(1, 0, 2).abs().max().item<double>(), 0);
  const at::Tensor seed = torch::randn({4, 5});
  modules_.Backward(seed);
  (expected * seed.narrow(1, 2, 3)).sum().backward();
  const at::Tensor gradient = at::zeros({arena_.size()});
  Optimizer({}, &arena_).WriteGradient(modules_.traces(), gradient);
  const std::set<std::string> trained = {"layer0.module4", "layer1.module5", "head1"};
  for (size_t id = 0; id < arena_.slots().size(); ++id) {
    const std::string& name = arena_.slots()[id].name;
    const at::Tensor ours = arena_.View(gradient, static_cast<ParameterId>(id));
    if (trained.count(name.substr(0, name.rfind('.'))) == 0) {
      EXPECT_EQ(ours.numel() == 0 ? 0 : ours.abs().max().item<double>(), 0) << name;
    } else {
      EXPECT_LT((ours - leaves_.at(name).grad()).abs().max().item<double>(), 1e-4) << name;
    }
  }
}

TEST_F(ModulesTest, ABoundPassAnswersEachTaskByItsPath) {
  const ModulePath first = {0, 1, 2, 3}, second = {4, 1, 5, 3};
  modules_.SetPath(0, first);
  modules_.SetPath(3, second);
  const auto pass = modules_.Bind(arena_.flat().clone());
  ForwardScratch scratch;
  const at::Tensor logits = at::zeros({4, 5});
  pass->Run(features_.data_ptr<float>(), 4, {0, 3, 3, 0}, &scratch, logits.data_ptr<float>());
  const at::Tensor of_first = Reference(first, "head0"), of_second = Reference(second, "head1");
  for (const int64_t row : {0, 3}) {
    EXPECT_LT((logits[row].narrow(0, 0, 2) - of_first[row]).abs().max().item<double>(), 1e-5);
  }
  for (const int64_t row : {1, 2}) {
    EXPECT_LT((logits[row].narrow(0, 2, 3) - of_second[row]).abs().max().item<double>(), 1e-5);
  }
}

TEST_F(ModulesTest, AGeneMutatesOnceInNLByAtMostTwoAndRepeatsNoModule) {
  const ModulePath path = {0, 3, 1, 4};
  std::map<int64_t, int> moves;  // of the first gene
  int changed = 0;
  constexpr int kDraws = 40000;
  for (int i = 0; i < kDraws; ++i) {
    const ModulePath mutant = MutatedPath(modules_, path, &generator_);
    for (size_t l = 0; l < 2; ++l) ASSERT_NE(mutant[2 * l], mutant[2 * l + 1]);
    for (size_t gene = 0; gene < path.size(); ++gene) {
      const int64_t distance = (mutant[gene] - path[gene] + kModules) % kModules;
      ASSERT_TRUE(distance <= 2 || distance >= kModules - 2);
      changed += distance != 0 ? 1 : 0;
    }
    ++moves[mutant[0]];
  }
  // Probability 1/4 each, five targets of which one is the gene itself.
  EXPECT_NEAR(changed / (4.0 * kDraws), 0.25 * 0.8, 0.01);
  for (const int64_t target : {1, 2, 4, 5}) {
    EXPECT_NEAR(moves[target] / static_cast<double>(kDraws), 0.05, 0.01) << target;
  }
}

TEST_F(ModulesTest, NoPathIsFrozenThroughoutALayerWhileTheLayerHasFreeModules) {
  modules_.SetPath(0, {0, 1, 0, 1});
  modules_.Close(0, &generator_);
  modules_.SetPath(3, {2, 3, 2, 3});
  modules_.Close(3, &generator_);
  EXPECT_EQ(modules_.free_modules(), 4);
  for (int i = 0; i < 500; ++i) {
    for (const ModulePath& path : {RandomPath(modules_, &generator_),
                                   MutatedPath(modules_, {0, 3, 1, 2}, &generator_)}) {
      for (size_t l = 0; l < 2; ++l) {
        EXPECT_TRUE(!modules_.frozen(l, path[2 * l]) || !modules_.frozen(l, path[2 * l + 1]));
        EXPECT_NE(path[2 * l], path[2 * l + 1]);
      }
    }
  }
}

StrategySpec PathNetSpec() {
  return {"pathnet", {{"tournament_examples", int64_t{100}}, {"modules", int64_t{6}}}};
}

TEST(PathNetTest, FrozenModulesStandStillAndFreeOnesStartAnewUnderEveryOptimizer) {
  for (const OptimizerOptions& optimizer : EveryOptimizer()) {
    ModelOptions options = IsolationModel(PathNetSpec());
    options.optimizer = optimizer;
    const auto learner = MakeIsolated(options);
    IsolationStream stream(1);
    const auto modules = [&] {
      std::vector<at::Tensor> values;
      for (int m = 0; m < 6; ++m) {
        values.push_back(
            Saved(*learner, "parameter/layer0.module" + std::to_string(m) + ".weight"));
      }
      return values;
    };
    TrainOn(learner.get(), stream.Next(0, 1000));
    const auto trained = modules();
    EndTask(learner.get(), 0);
    const auto closed = modules();
    const at::Tensor frozen = Saved(*learner, "network/frozen");
    const IsolationBatch probe = stream.Next(0, 100);
    const std::vector<float> scores = ScoresOf(learner.get(), probe);
    TrainOn(learner.get(), stream.Next(1, 1000));
    EndTask(learner.get(), 1);
    const auto later = modules();
    EXPECT_EQ(frozen.sum().item<int64_t>(), 6);
    for (int m = 0; m < 6; ++m) {
      const bool is_frozen = frozen[m].item<int64_t>() == 1;
      EXPECT_EQ(closed[m].equal(trained[m]), is_frozen) << m;
      if (is_frozen) {
        EXPECT_TRUE(later[m].equal(trained[m])) << m;
      }
    }
    EXPECT_EQ(ScoresOf(learner.get(), probe), scores);
  }
}

TEST(PathNetTest, FreeModulesAreCounted) {
  const auto learner = MakeIsolated(IsolationModel(PathNetSpec()));
  IsolationStream stream(1);
  const auto free = [&] { return learner->Gauges().named.at("free_modules"); };
  EXPECT_EQ(free(), 12);
  TrainOn(learner.get(), stream.Next(0, 300));
  EndTask(learner.get(), 0);
  EXPECT_EQ(free(), 6);
}

TEST(PathNetTest, EachTaskIsLearned) {
  ModelOptions options = IsolationModel(PathNetSpec());
  options.strategies[0].parameters["modules"] = int64_t{10};
  const auto learner = MakeIsolated(options);
  IsolationStream stream(1);
  for (int32_t task = 0; task < 3; ++task) {
    TrainOn(learner.get(), stream.Next(task, 2000), 10);
    EndTask(learner.get(), task);
  }
  for (int32_t task = 0; task < 3; ++task) {
    EXPECT_GT(AccuracyOn(learner.get(), stream.Next(task, 500)), 0.7) << task;
  }
}

}  // namespace
}  // namespace engram::strategies
