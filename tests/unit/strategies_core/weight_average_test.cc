// The exponential moving average of the weights: what it is, and that it is what is served.
#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "strategies/api/learner.h"
#include "strategies/core/state_archive.h"
#include "tests/unit/strategies_core/small_stream.h"

namespace engram::strategies {
namespace {

constexpr double kDecay = 0.9;

ModelOptions Averaged() {
  ModelOptions options = SmallModel(6);
  options.ema_decay = kDecay;
  return options;
}

at::Tensor Saved(const Learner& learner, const std::string& name) {
  const std::string bytes = SavedTensors(learner);
  return StateReader::Open(bytes)->GetTensor(name)->clone();
}

std::vector<float> Scores(Learner* learner, const SmallBatch& rows) {
  std::vector<float> scores;
  const auto snapshot = *learner->TakeSnapshot(1);
  EXPECT_TRUE(snapshot
                  ->Predict(rows.features, static_cast<int64_t>(rows.classes.size()), rows.tasks,
                            &scores)
                  .ok());
  return scores;
}

TEST(WeightAverageTest, IsTheExponentialAverageOfTheWeightsAfterEachStep) {
  const auto learner = *MakeLearner(Averaged());
  SmallStream stream(6, 2);
  at::Tensor expected = Saved(*learner, "parameter/hidden0.weight");
  for (int step = 0; step < 20; ++step) {
    ASSERT_TRUE(learner->Train(stream.Next({0, 1, 2}).View()).ok());
    expected = kDecay * expected + (1 - kDecay) * Saved(*learner, "parameter/hidden0.weight");
  }
  const at::Tensor average = Saved(*learner, "average/hidden0.weight");
  EXPECT_LT((average - expected).abs().max().item<double>(), 1e-6);
}

TEST(WeightAverageTest, IsWhatIsServedAndDoesNotChangeTraining) {
  const auto averaged = *MakeLearner(Averaged());
  const auto plain = *MakeLearner(SmallModel(6));
  SmallStream stream(6, 2);
  for (int step = 0; step < 20; ++step) {
    const SmallBatch batch = stream.Next({0, 1, 2});
    ASSERT_TRUE(averaged->Train(batch.View()).ok());
    ASSERT_TRUE(plain->Train(batch.View()).ok());
  }
  const std::string name = "parameter/hidden0.weight";
  EXPECT_TRUE(Saved(*averaged, name).equal(Saved(*plain, name)));
  const SmallBatch rows = stream.Next({0, 1, 2});
  EXPECT_NE(Scores(averaged.get(), rows), Scores(plain.get(), rows));
}

TEST(WeightAverageTest, ANewOutputStartsFromItsOwnWeights) {
  const auto learner = *MakeLearner(Averaged());
  SmallStream stream(6, 2);
  ASSERT_TRUE(learner->Train(stream.Next({0, 1}).View()).ok());
  ASSERT_TRUE(learner->Train(stream.Next({2}).View()).ok());
  const at::Tensor weights = Saved(*learner, "parameter/head.weight").select(0, 2);
  const at::Tensor average = Saved(*learner, "average/head.weight").select(0, 2);
  // One step away at most, where a start at zero would be a tenth of the weights.
  EXPECT_GT(average.norm().item<double>(), 0.5 * weights.norm().item<double>());
}

TEST(WeightAverageTest, IsPartOfWhatIsRestored) {
  const auto learner = *MakeLearner(Averaged());
  SmallStream stream(6, 2);
  for (int step = 0; step < 5; ++step) {
    ASSERT_TRUE(learner->Train(stream.Next({0, 1}).View()).ok());
  }
  const auto saved = *learner->Save([](const MemberKey&) { return false; });
  const auto restored = *MakeLearner(Averaged());
  ASSERT_TRUE(restored->Restore(saved, AllPayloads(saved)).ok());
  const SmallBatch rows = stream.Next({0, 1});
  EXPECT_EQ(Scores(restored.get(), rows), Scores(learner.get(), rows));
}

}  // namespace
}  // namespace engram::strategies
