// PackNet: who owns which weight, and that what is owned answers for ever as it did.
#include <string>
#include <vector>

#include "tests/unit/strategies_builtin/isolation_rig.h"

namespace engram::strategies {
namespace {

const char* const kWeights[] = {"hidden0.weight", "hidden1.weight"};

StrategySpec Spec() {
  return {"packnet", {{"keep_share", 0.25}, {"retrain_examples", int64_t{500}}}};
}

class PackNetTest : public testing::Test {
 protected:
  void Learn(int32_t task, int passes = 1) {
    TrainOn(learner_.get(), stream_.Next(task, 1000), passes);
    EndTask(learner_.get(), task);
  }
  at::Tensor Owner(const std::string& name) { return Saved(*learner_, "packnet.owner/" + name); }
  at::Tensor Values(const std::string& name) { return Saved(*learner_, "parameter/" + name); }

  IsolationStream stream_{1};
  std::unique_ptr<Learner> learner_ = MakeIsolated(IsolationModel(Spec()));
};

TEST_F(PackNetTest, ATaskKeepsItsShareOfWhatWasFreeAndZeroesTheRest) {
  Learn(0);
  Learn(1);
  for (const char* name : kWeights) {
    const at::Tensor owner = Owner(name);
    const double count = static_cast<double>(owner.numel());
    EXPECT_NEAR(owner.eq(1).sum().item<double>(), 0.25 * count, 1) << name;
    EXPECT_NEAR(owner.eq(2).sum().item<double>(), 0.25 * 0.75 * count, 2) << name;
    EXPECT_EQ(Values(name).masked_select(owner.eq(0)).abs().sum().item<double>(), 0) << name;
  }
  EXPECT_TRUE(Owner("hidden0.bias").eq(1).all().item<bool>());
}

TEST_F(PackNetTest, WhatATaskOwnsNoLaterTaskTakes) {
  Learn(0);
  const at::Tensor first = Owner(kWeights[0]);
  Learn(1);
  Learn(2);
  const at::Tensor later = Owner(kWeights[0]);
  EXPECT_TRUE(later.masked_select(first.eq(1)).eq(1).all().item<bool>());
  EXPECT_EQ(later.eq(1).sum().item<int64_t>(), first.eq(1).sum().item<int64_t>());
}

TEST_F(PackNetTest, OwnedWeightsStandStillUnderEveryOptimizer) {
  for (const OptimizerOptions& optimizer : EveryOptimizer()) {
    ModelOptions options = IsolationModel(Spec());
    options.optimizer = optimizer;
    learner_ = MakeIsolated(options);
    Learn(0);
    const IsolationBatch probe = stream_.Next(0, 200);
    const std::vector<float> scores = ScoresOf(learner_.get(), probe);
    const at::Tensor owned = Owner(kWeights[1]).eq(1);
    const at::Tensor before = Values(kWeights[1]).masked_select(owned);
    const at::Tensor bias = Values("hidden1.bias");
    const at::Tensor head = Values("head.weight").narrow(0, 0, 4).clone();
    Learn(1);
    TrainOn(learner_.get(), stream_.Next(2, 500));
    EXPECT_TRUE(Values(kWeights[1]).masked_select(owned).equal(before));
    EXPECT_TRUE(Values("hidden1.bias").equal(bias));
    EXPECT_TRUE(Values("head.weight").narrow(0, 0, 4).equal(head));
    EXPECT_EQ(ScoresOf(learner_.get(), probe), scores);
  }
}

TEST_F(PackNetTest, LaterTasksLearnInWhatIsLeft) {
  for (int32_t task = 0; task < 3; ++task) Learn(task, 10);
  for (int32_t task = 0; task < 3; ++task) {
    EXPECT_GT(AccuracyOn(learner_.get(), stream_.Next(task, 500)), 0.7) << task;
  }
}

TEST_F(PackNetTest, ATaskThatReturnsTrainsItsHeadOverTheNetworkItWasPackedIn) {
  Learn(0);
  Learn(1);
  TrainOn(learner_.get(), stream_.Next(2, 300));  // in the middle of a task
  const IsolationBatch second = stream_.Next(1, 100), third = stream_.Next(2, 100);
  const std::vector<float> of_second = ScoresOf(learner_.get(), second);
  const std::vector<float> of_third = ScoresOf(learner_.get(), third);
  const at::Tensor weights = Values(kWeights[0]);
  const at::Tensor head = Values("head.weight");
  TrainOn(learner_.get(), stream_.Next(0, 100));
  // Later and free weights are laid aside, yet every other task is answered as before.
  EXPECT_TRUE(Values(kWeights[0])
                  .masked_select(Owner(kWeights[0]).ne(1))
                  .eq(0)
                  .all()
                  .item<bool>());
  EXPECT_EQ(ScoresOf(learner_.get(), second), of_second);
  EXPECT_EQ(ScoresOf(learner_.get(), third), of_third);
  const at::Tensor after = Values("head.weight");
  EXPECT_FALSE(after.narrow(0, 0, 4).equal(head.narrow(0, 0, 4)));
  EXPECT_TRUE(after.narrow(0, 4, 8).equal(head.narrow(0, 4, 8)));
  EndTask(learner_.get(), 0);
  EXPECT_TRUE(Values(kWeights[0]).equal(weights));
}

}  // namespace
}  // namespace engram::strategies
