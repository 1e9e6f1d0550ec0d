// Progressive networks: the column against autograd, what older columns never do, and transfer.
#include <map>
#include <string>
#include <vector>

#include "strategies/core/optimizer.h"
#include "strategies/models/columns.h"
#include "tests/unit/strategies_builtin/isolation_rig.h"

namespace engram::strategies {
namespace {

constexpr int64_t kFeatures = 5;
constexpr int64_t kAdapter = 3;

// Three columns of hidden layers 7 and 6, with 2, 3 and 2 units.
class ColumnsTest : public testing::Test {
 protected:
  ColumnsTest() : columns_({kFeatures, {7, 6}, kAdapter, 8}, &arena_, &generator_) {
    const std::vector<UnitMap::Owner> owners = {{4, 0}, {4, 1}, {9, 0}, {9, 1},
                                                {9, 2}, {2, 0}, {2, 1}};
    columns_.AddUnits(7, &generator_);
    columns_.Place(owners, &generator_);
    // Not as they start, with laterals that do nothing yet; scales and biases keep units alive.
    torch::manual_seed(1);
    for (const auto& slot : arena_.slots()) {
      const bool matrix = slot.name.find("weight") != std::string::npos ||
                          slot.name.find("adapter") == slot.name.size() - 7;
      arena_.flat().narrow(0, slot.offset, slot.count()).uniform_(matrix ? -0.5 : 0.3, 0.5);
    }
    features_ = torch::randn({4, kFeatures});
  }

  // Every parameter as a leaf of autograd, by name.
  std::map<std::string, torch::Tensor> Leaves() const {
    std::map<std::string, torch::Tensor> leaves;
    for (size_t id = 0; id < arena_.slots().size(); ++id) {
      leaves[arena_.slots()[id].name] =
          arena_.View(static_cast<ParameterId>(id)).clone().set_requires_grad(true);
    }
    return leaves;
  }

  // Outputs of column k by the paper's formula.
  torch::Tensor Reference(std::map<std::string, torch::Tensor> p, int k) const {
    std::vector<torch::Tensor> below(static_cast<size_t>(k) + 1, features_);
    for (int i = 0; i <= 2; ++i) {
      std::vector<torch::Tensor> above;
      for (int c = i == 2 ? k : 0; c <= k; ++c) {
        const std::string name = "column" + std::to_string(c) + ".layer" + std::to_string(i);
        const std::string out = i == 2 ? "head" + std::to_string(c) : name;
        torch::Tensor input = below[c];
        if (c > 0 && i > 0) {
          std::vector<torch::Tensor> scaled;
          for (int j = 0; j < c; ++j) scaled.push_back(p[name + ".alpha"][j] * below[j].detach());
          const torch::Tensor adapted =
              torch::relu(torch::cat(scaled, 1).mm(p[name + ".adapter"].t()) +
                          p[name + ".adapter_bias"].t());
          input = torch::cat({input, adapted}, 1);
        }
        const torch::Tensor sum = input.mm(p[out + ".weight"].t()) + p[out + ".bias"].t();
        above.push_back(i == 2 ? sum : torch::relu(sum));
      }
      if (i == 2) return above[0];
      below = above;
    }
    return {};
  }

  Generator generator_{3};
  ParameterArena arena_;
  Columns columns_;
  torch::Tensor features_;
};

TEST_F(ColumnsTest, ForwardIsThePapersFormula) {
  const std::vector<int32_t> tasks = {4, 9, 2};
  const std::vector<std::vector<int64_t>> units = {{0, 1}, {2, 3, 4}, {5, 6}};
  for (int k = 0; k < 3; ++k) {
    columns_.Activate(tasks[k]);
    const at::Tensor logits = columns_.Forward(features_);
    ASSERT_EQ(logits.size(1), 7);
    const at::Tensor columns = torch::tensor(units[k]);
    const at::Tensor own = logits.index_select(1, columns);
    EXPECT_LT((own - Reference(Leaves(), k).detach()).abs().max().item<double>(), 1e-5) << k;
    EXPECT_EQ(logits.clone().index_fill_(1, columns, 0).abs().max().item<double>(), 0);
  }
}

TEST_F(ColumnsTest, TheNewestColumnsGradientIsAutogradsAndOlderOnesGetExactlyNone) {
  columns_.Activate(2);
  columns_.Forward(features_);
  const at::Tensor seed = torch::randn({4, 7});
  columns_.Backward(seed);
  Optimizer optimizer({}, &arena_);
  const at::Tensor gradient = at::zeros({arena_.size()});
  optimizer.WriteGradient(columns_.traces(), gradient);
  const auto leaves = Leaves();
  (Reference(leaves, 2) * seed.narrow(1, 5, 2)).sum().backward();
  int compared = 0;
  for (size_t id = 0; id < arena_.slots().size(); ++id) {
    const std::string& name = arena_.slots()[id].name;
    const at::Tensor ours = arena_.View(gradient, static_cast<ParameterId>(id));
    const bool newest = name.find("column2") == 0 || name.find("head2") == 0;
    if (!newest) {
      EXPECT_EQ(ours.abs().max().item<double>(), 0) << name;
      continue;
    }
    ++compared;
    EXPECT_LT((ours - leaves.at(name).grad()).abs().max().item<double>(), 1e-4) << name;
    EXPECT_GT(ours.abs().max().item<double>(), 0) << name;
  }
  EXPECT_EQ(compared, 12);  // three layers' weight and bias, two layers' V, c and alpha
}

TEST_F(ColumnsTest, ZeroingALateralChangesTheLogits) {
  columns_.Activate(9);
  const at::Tensor before = columns_.Forward(features_).clone();
  for (size_t id = 0; id < arena_.slots().size(); ++id) {
    if (arena_.slots()[id].name != "column1.layer1.weight") continue;
    arena_.View(static_cast<ParameterId>(id)).narrow(1, 7, kAdapter).zero_();
  }
  EXPECT_GT((columns_.Forward(features_) - before).abs().max().item<double>(), 1e-3);
}

TEST_F(ColumnsTest, ANewColumnBeginsAsANetworkOfItsOwnWould) {
  columns_.AddUnits(1, &generator_);
  columns_.Place({{4, 0}, {4, 1}, {9, 0}, {9, 1}, {9, 2}, {2, 0}, {2, 1}, {7, 0}}, &generator_);
  for (size_t id = 0; id < arena_.slots().size(); ++id) {
    const at::Tensor values = arena_.View(static_cast<ParameterId>(id));
    const std::string& name = arena_.slots()[id].name;
    if (name == "column3.layer1.weight") {
      EXPECT_EQ(values.narrow(1, 7, kAdapter).abs().max().item<double>(), 0);
    } else if (name == "head3.weight") {
      EXPECT_EQ(values.narrow(1, 6, kAdapter).abs().max().item<double>(), 0);
    } else if (name.find("column3") == 0 || name.find("head3") == 0) {
      EXPECT_GT(values.abs().max().item<double>(), 0) << name;
    }
  }
}

TEST_F(ColumnsTest, OfAnOlderColumnTheHeadAloneIsTrained) {
  columns_.Activate(9);
  columns_.Forward(features_);
  columns_.Backward(torch::randn({4, 7}));
  ASSERT_EQ(columns_.traces().size(), 3u);  // V, alpha and the head itself
  EXPECT_EQ(arena_.slot(columns_.traces().back().weight).name, "head1.weight");
}

TEST_F(ColumnsTest, ABoundPassAnswersEachRowByItsTasksColumn) {
  const std::vector<int32_t> tasks = {4, 2, 2, 9};
  at::Tensor expected = at::zeros({4, 7});
  for (int64_t row = 0; row < 4; ++row) {
    columns_.Activate(tasks[row]);
    expected[row].copy_(columns_.Forward(features_)[row]);
  }
  const auto pass = columns_.Bind(arena_.flat().clone());
  ForwardScratch scratch;
  const at::Tensor logits = at::zeros({4, 7});
  pass->Run(features_.data_ptr<float>(), 4, tasks, &scratch, logits.data_ptr<float>());
  EXPECT_LT((logits - expected).abs().max().item<double>(), 1e-6);
  EXPECT_EQ(pass->embedding_width(), 6);
}

TEST(ProgressiveTest, HeadsThatAreNotPerTaskAreRefused) {
  ModelOptions options = IsolationModel({"progressive", {}});
  options.head.kind = HeadKind::kGrowing;
  EXPECT_EQ(MakeLearner(options).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST(ProgressiveTest, FrozenColumnsStandStillUnderEveryOptimizer) {
  for (const OptimizerOptions& optimizer : EveryOptimizer()) {
    ModelOptions options = IsolationModel({"progressive", {}});
    options.optimizer = optimizer;
    const auto learner = MakeIsolated(options);
    IsolationStream stream(1);
    TrainOn(learner.get(), stream.Next(0, 500));
    EndTask(learner.get(), 0);
    const IsolationBatch probe = stream.Next(0, 50);
    const std::vector<float> scores = ScoresOf(learner.get(), probe);
    std::map<std::string, at::Tensor> before;
    for (const char* name : {"column0.layer0.weight", "column0.layer0.bias",
                             "column0.layer1.weight", "head0.weight", "head0.bias"}) {
      before[name] = Saved(*learner, std::string("parameter/") + name);
    }
    for (int32_t task = 1; task < 3; ++task) {
      TrainOn(learner.get(), stream.Next(task, 500));
      EndTask(learner.get(), task);
    }
    for (const auto& [name, values] : before) {
      EXPECT_TRUE(Saved(*learner, "parameter/" + name).equal(values)) << name;
    }
    EXPECT_EQ(ScoresOf(learner.get(), probe), scores);
  }
}

TEST(ProgressiveTest, BeyondMaxColumnsATaskGetsAHeadOnTheLastColumnWhichStandsStill) {
  const ModelOptions options = IsolationModel({"progressive", {{"max_columns", int64_t{2}}}});
  const auto learner = MakeIsolated(options);
  IsolationStream stream(1);
  for (int32_t task = 0; task < 2; ++task) {
    TrainOn(learner.get(), stream.Next(task, 2000), 10);
    EndTask(learner.get(), task);
  }
  const at::Tensor last = Saved(*learner, "parameter/column1.layer1.weight");
  const IsolationBatch probe = stream.Next(1, 50);
  const std::vector<float> scores = ScoresOf(learner.get(), probe);
  for (int32_t task = 2; task < 4; ++task) {
    TrainOn(learner.get(), stream.Next(task, 1000), 5);
    EndTask(learner.get(), task);
  }
  EXPECT_EQ(learner->Gauges().named.at("columns"), 2);
  EXPECT_TRUE(Saved(*learner, "parameter/column1.layer1.weight").equal(last));
  EXPECT_EQ(ScoresOf(learner.get(), probe), scores);
  // Its labels are a permutation of those that the column was made for.
  EXPECT_GT(AccuracyOn(learner.get(), stream.Next(3, 500)), 0.8);

  const auto saved = learner->Save([](const MemberKey&) { return true; });
  const auto restored = MakeIsolated(options);
  ASSERT_TRUE(restored->Restore(*saved, {}).ok());
  const IsolationBatch rows = stream.Next(3, 50);
  EXPECT_EQ(ScoresOf(restored.get(), rows), ScoresOf(learner.get(), rows));
}

TEST(ColumnsWithoutLateralsTest, EachColumnIsANetworkOfItsOwn) {
  Generator generator(3);
  ParameterArena arena;
  ColumnsOptions options;
  options.feature_count = kFeatures;
  options.hidden = {7, 6};
  options.adapter_width = kAdapter;
  options.max_columns = 8;
  options.laterals = false;
  Columns columns(options, &arena, &generator);
  columns.AddUnits(4, &generator);
  columns.Place({{4, 0}, {4, 1}, {9, 0}, {9, 1}}, &generator);
  std::map<std::string, at::Tensor> values;
  for (size_t id = 0; id < arena.slots().size(); ++id) {
    values[arena.slots()[id].name] = arena.View(static_cast<ParameterId>(id));
    EXPECT_EQ(arena.slots()[id].name.find("adapter"), std::string::npos);
  }
  const at::Tensor features = torch::randn({4, kFeatures});
  const auto layer = [&](const std::string& name, const at::Tensor& input) {
    return input.mm(values.at(name + ".weight").t()) + values.at(name + ".bias").t();
  };
  const auto pass = columns.Bind(arena.flat());
  ForwardScratch scratch;
  for (int k = 0; k < 2; ++k) {
    const std::string column = "column" + std::to_string(k);
    const int32_t task = k == 0 ? 4 : 9;
    const at::Tensor hidden = torch::relu(
        layer(column + ".layer1", torch::relu(layer(column + ".layer0", features))));
    const at::Tensor expected = layer("head" + std::to_string(k), hidden);
    columns.Activate(task);
    const at::Tensor logits = columns.Forward(features).narrow(1, 2 * k, 2);
    EXPECT_LT((logits - expected).abs().max().item<double>(), 1e-5) << k;
    const std::vector<int32_t> tasks(4, task);
    const at::Tensor served = at::zeros({4, 4});
    pass->Run(features.data_ptr<float>(), 4, tasks, &scratch, served.data_ptr<float>());
    EXPECT_LT((served.narrow(1, 2 * k, 2) - expected).abs().max().item<double>(), 1e-5) << k;
    columns.Backward(torch::randn({4, 4}));
    EXPECT_EQ(columns.traces().size(), k == 0 ? 1u : 3u);  // of the older one its head alone
  }
}

// What is left of a second task of 200 examples after ten passes, over held-out rows.
double AccuracyOfASecondTask(uint64_t seed, bool laterals) {
  IsolationStream stream(seed);
  ModelOptions options = IsolationModel({"progressive", {{"laterals", laterals}}});
  options.seed = seed;
  const auto learner = MakeIsolated(options);
  TrainOn(learner.get(), stream.Next(0, 3000), 10);
  EndTask(learner.get(), 0);
  TrainOn(learner.get(), stream.Next(1, 200), 10);
  return AccuracyOn(learner.get(), stream.Next(1, 1000));
}

TEST(ProgressiveTest, ASecondTaskOf200ExamplesIsLearnedBetterThanByAnIndependentNet) {
  double with_laterals = 0, alone = 0;
  for (uint64_t seed = 1; seed <= 5; ++seed) {
    const double transferred = AccuracyOfASecondTask(seed, true);
    const double independent = AccuracyOfASecondTask(seed, false);
    EXPECT_GT(transferred, independent + 0.1) << seed;
    with_laterals += transferred / 5;
    alone += independent / 5;
  }
  RecordProperty("with_laterals", std::to_string(with_laterals));
  RecordProperty("alone", std::to_string(alone));
  EXPECT_GT(with_laterals, alone + 0.3) << with_laterals << " against " << alone;
}

}  // namespace
}  // namespace engram::strategies
