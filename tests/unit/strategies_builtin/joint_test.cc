// joint: what a step is drawn from, what is kept, and that the order of the tasks does not matter.
#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "strategies/memory/exemplar_memory.h"
#include "tests/unit/strategies_builtin/replay_rig.h"
#include "tests/unit/strategies_builtin/strategy_rig.h"

namespace engram::strategies {
namespace {

LearnerGauges GaugesOf(const Strategy& strategy) {
  LearnerGauges gauges;
  strategy.AddGauges(&gauges);
  return gauges;
}

TEST(JointTest, AfterTheStreamDrawsAreUniformOverAllExamples) {
  constexpr int64_t kExamples = 400, kSteps = 500, kRows = 16;
  ReplayRig rig("joint", {{"memory_size", int64_t{1000}}, {"replay_batch_size", kRows}});
  for (int32_t task = 0; task < 4; ++task) {  // two classes a task, one task after the other
    const int32_t cls = 2 * task;
    for (int64_t step = 0; step < kExamples / 4 / 4; ++step) {
      rig.Step({cls, cls + 1, cls, cls + 1}, nullptr, task);
    }
    rig.Boundary({}, task);
  }
  const StrategyEntry& entry = **FindStrategy("joint");
  rig.strategy().Reconfigure(*StrategyParameters::Resolve(
      entry.help, {"joint",
                   {{"memory_size", int64_t{1000}}, {"replay_batch_size", kRows},
                    {"steps", kSteps}}}));
  std::map<uint64_t, double> drawn;
  rig.Step({0}, [&](TrainingBatch& batch, StepContext&) {
    ASSERT_EQ(batch.rows(), kRows);
    for (const uint64_t sequence : batch.sequences()) ++drawn[sequence];
  });
  // Each of the 401 is expected as often as another: chi-squared of 400 degrees of freedom, within
  // five of its standard deviations.
  ASSERT_EQ(rig.Kept().size(), kExamples + 1u);
  const double expected = static_cast<double>(kSteps * kRows) / (kExamples + 1);
  double chi_squared = 0;
  for (const uint64_t sequence : rig.Kept()) {
    chi_squared += (drawn[sequence] - expected) * (drawn[sequence] - expected) / expected;
  }
  EXPECT_NEAR(chi_squared, kExamples, 5 * std::sqrt(2.0 * kExamples));
}

TEST(JointTest, NewExamplesAreDrawnInTheStepThatBringsThem) {
  ReplayRig rig("joint");
  rig.Step({0, 1, 2}, [](TrainingBatch& batch, StepContext&) {
    const std::set<uint64_t> drawn(batch.sequences().begin(), batch.sequences().end());
    EXPECT_EQ(drawn, (std::set<uint64_t>{1, 2, 3}));
  });
}

TEST(JointTest, TheFirstStepIsThePlainOne) {
  StrategyRig rig(RigModel(), {"joint", {{"memory_size", int64_t{50}}}});
  const StrategyRig::Move move = rig.Step(Rows(5, {0, 1, 2, 0, 1}, 0, 7));
  EXPECT_LT(Deviation(move.change(), -0.1 * move.gradient), 1e-4);
}

TEST(JointTest, LogitsAndLossAreTheStreamsBeforeTheUpdate) {
  StrategyRig rig(RigModel(), {"joint", {{"memory_size", int64_t{50}}}});
  rig.Step(Rows(5, {0, 1, 2, 0}, 0, 1));
  const Rows rows(5, {2, 1}, 0, 2);
  rig.rig.Load(rows.View());
  const at::Tensor expected = rig.rig.context->Forward(*rig.rig.batch).clone();
  const double loss =
      ReferenceLoss(CloneParameters(rig.rig.arena), *rig.rig.batch).item<double>();
  const auto seen = rig.strategy->Observe(
      *rig.rig.batch, *rig.rig.context,
      [](TrainingBatch& batch, StepContext& context) { return context.PlainStep(batch); });
  ASSERT_TRUE(seen.ok()) << seen.status();
  EXPECT_TRUE(seen->logits.equal(expected));
  EXPECT_NEAR(seen->loss, loss, 1e-5);
}

TEST(JointTest, AnExampleKeepsItsWeight) {
  StrategyRig rig(RigModel(), {"joint", {{"memory_size", int64_t{50}}}});
  const Rows rows(5, {0, 1, 2}, 0, 3);
  const std::vector<float> weights = {0.5f, 2, 1};
  BatchView view = rows.View();
  view.weights = weights;
  rig.rig.Load(view);
  std::map<uint64_t, float> drawn;
  const auto seen = rig.strategy->Observe(
      *rig.rig.batch, *rig.rig.context, [&](TrainingBatch& batch, StepContext& context) {
        for (int64_t row = 0; row < batch.rows(); ++row) {
          drawn[batch.sequences()[row]] = batch.weights()[row];
        }
        return context.PlainStep(batch);
      });
  ASSERT_TRUE(seen.ok()) << seen.status();
  EXPECT_EQ(drawn, (std::map<uint64_t, float>{{3000, 0.5f}, {3001, 2}, {3002, 1}}));
}

TEST(JointTest, RepeatsAreOneExampleWhenOnceIsAsked) {
  for (const bool once : {true, false}) {
    const std::string repeats = once ? "once" : "each";
    StrategyRig rig(RigModel(), {"joint", {{"repeats", repeats}, {"memory_size", int64_t{50}}}});
    Rows rows(5, {0, 1, 2, 0}, 0, 3);
    for (int pass = 0; pass < 3; ++pass) {
      rig.Step(rows);
      for (uint64_t& sequence : rows.sequences) sequence += 100;
    }
    EXPECT_EQ(rig.strategy->Members().size(), once ? 4u : 12u);
    Rows others = rows;  // another label or task is another example
    others.classes = {1, 2, 0, 0};
    for (uint64_t& sequence : others.sequences) sequence += 100;
    rig.Step(others);
    EXPECT_EQ(rig.strategy->Members().size(), once ? 7u : 16u);
  }
}

TEST(JointTest, BeyondItsBytesItSaysThatItIsNoLongerAll) {
  const int64_t each = 4 + kExemplarOverheadBytes + 4 + 4;  // four features of a byte, the weight
  ReplayRig rig("joint", {{"memory_size", int64_t{1000}},
                          {"storage", std::string("uint8")},
                          {"memory_bytes", 6 * each + 1}});
  rig.Step({0, 1, 0, 1, 0});
  EXPECT_EQ(GaugesOf(rig.strategy()).named.at("joint_full"), 0);
  EXPECT_EQ(GaugesOf(rig.strategy()).episodic_bytes, 5 * each);
  for (int step = 0; step < 20; ++step) rig.Step({0, 1, 0, 1});
  EXPECT_EQ(rig.Kept().size(), 6u);
  EXPECT_EQ(GaugesOf(rig.strategy()).named.at("joint_full"), 1);
}

TEST(JointTest, ByDefaultAMillionDigitsDoNotFitButAHundredThousandDo) {
  const StrategyEntry& entry = **FindStrategy("joint");
  StrategyEnvironment environment;
  environment.feature_count = 784;
  environment.batch_size = 128;
  for (const bool unbounded : {false, true}) {
    StrategySpec spec{"joint", {}};
    if (unbounded) spec.parameters["memory_bytes"] = int64_t{0};
    const auto made = entry.make(*StrategyParameters::Resolve(entry.help, spec), environment);
    EXPECT_EQ(made.status().code(), unbounded ? absl::StatusCode::kResourceExhausted
                                              : absl::StatusCode::kOk);
  }
}

// Six classes around centres of their own in a plane of eight features, in `tasks` tasks of equal
// size; an epoch is the same examples with sequences of their own.
class Blobs {
 public:
  explicit Blobs(uint64_t seed) : generator_(seed) {
    for (float& value : centres_) value = 2 * generator_.Uniform() - 1;
  }
  Rows Draw(const std::vector<int32_t>& classes) {
    Rows rows(kWidth, classes, 0, ++drawn_);
    for (size_t row = 0; row < classes.size(); ++row) {
      for (size_t x = 0; x < kWidth; ++x) {
        rows.features[row * kWidth + x] =
            centres_[static_cast<size_t>(classes[row]) * kWidth + x] +
            0.8f * rows.features[row * kWidth + x];
      }
    }
    return rows;
  }
  static constexpr int64_t kWidth = 8;

 private:
  Generator generator_;
  uint64_t drawn_ = 0;
  std::vector<float> centres_ = std::vector<float>(6 * kWidth);
};

std::vector<int32_t> Classes(int64_t rows, int32_t first, int32_t count) {
  std::vector<int32_t> classes;
  for (int64_t row = 0; row < rows; ++row) {
    classes.push_back(first + static_cast<int32_t>(row % count));
  }
  return classes;
}

double Accuracy(Learner* learner, const Rows& rows) {
  std::vector<float> scores;
  const auto snapshot = learner->TakeSnapshot(1);
  EXPECT_TRUE(snapshot.ok());
  const int64_t count = static_cast<int64_t>(rows.classes.size());
  EXPECT_TRUE((*snapshot)->Predict(rows.features, count, rows.tasks, &scores).ok());
  const int64_t width = (*snapshot)->class_count();
  double correct = 0;
  for (int64_t row = 0; row < count; ++row) {
    const float* own = scores.data() + row * width;
    correct += std::max_element(own, own + width) - own == rows.classes[row] ? 1 : 0;
  }
  return correct / static_cast<double>(count);
}

// Each batch of the stream is `order` of `rows`; sequences count on from one batch to the next.
void Train(Learner* learner, const Rows& rows, const std::vector<size_t>& order,
           uint64_t* sequence) {
  for (size_t begin = 0; begin < order.size(); begin += 10) {
    Rows batch(Blobs::kWidth, {}, 0, 1);
    for (size_t i = begin; i < std::min(begin + 10, order.size()); ++i) {
      const auto from = rows.features.begin() + static_cast<int64_t>(order[i] * Blobs::kWidth);
      batch.features.insert(batch.features.end(), from, from + Blobs::kWidth);
      batch.classes.push_back(rows.classes[order[i]]);
      batch.tasks.push_back(0);
      batch.sequences.push_back(++*sequence);
    }
    ASSERT_TRUE(learner->Train(batch.View()).ok());
  }
}

// Ten passes over all examples in random order, or over each task's after the other's.
double TrainedAccuracy(const StrategySpec& strategy, int32_t tasks, uint64_t seed) {
  ModelOptions options;
  options.feature_count = Blobs::kWidth;
  options.hidden = {32};
  options.optimizer.learning_rate = 0.1;
  options.strategies = {strategy};
  options.seed = seed;
  options.batch_size = 10;
  auto learner = MakeLearner(options);
  EXPECT_TRUE(learner.ok()) << learner.status();
  Blobs blobs(seed);
  Generator shuffle(seed);
  uint64_t sequence = 0;
  for (int32_t task = 0; task < tasks; ++task) {
    const Rows rows = blobs.Draw(Classes(600 / tasks, 6 / tasks * task, 6 / tasks));
    std::vector<size_t> order(rows.classes.size());
    for (size_t i = 0; i < order.size(); ++i) order[i] = i;
    for (int pass = 0; pass < 10; ++pass) {
      for (size_t left = order.size(); left > 1; --left) {
        std::swap(order[left - 1], order[shuffle.Below(left)]);
      }
      Train(learner->get(), rows, order, &sequence);
    }
    EXPECT_TRUE((*learner)->MarkBoundary({task, task + 1, ++sequence}).ok());
  }
  return Accuracy(learner->get(), blobs.Draw(Classes(3000, 0, 6)));
}

TEST(JointTest, TasksOneAfterTheOtherEndWhereShuffledTrainingDoes) {
  const StrategySpec joint{"joint", {{"repeats", std::string("once")}}};
  double in_tasks = 0, shuffled = 0, forgetting = 0;
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    in_tasks += TrainedAccuracy(joint, 3, seed) / 3;
    shuffled += TrainedAccuracy({"finetune", {}}, 1, seed) / 3;
    forgetting += TrainedAccuracy({"finetune", {}}, 3, seed) / 3;
  }
  RecordProperty("in_tasks", std::to_string(in_tasks));
  RecordProperty("shuffled", std::to_string(shuffled));
  EXPECT_NEAR(in_tasks, shuffled, 0.02);
  EXPECT_LT(forgetting, shuffled - 0.3);
}

}  // namespace
}  // namespace engram::strategies
