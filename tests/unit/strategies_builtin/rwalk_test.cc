// Riemannian walk against a scalar loop in double.
#include <algorithm>
#include <string>
#include <vector>

#include "gtest/gtest.h"
#include "tests/unit/strategies_builtin/strategy_rig.h"

namespace engram::strategies {
namespace {

constexpr double kAlpha = 0.2, kEpsilon = 1e-3;

StrategySpec Spec(double lambda, const std::string& scale, int64_t interval = 1) {
  return {"rwalk",
          {{"lambda", lambda},
           {"alpha", kAlpha},
           {"epsilon", kEpsilon},
           {"scale", scale},
           {"interval", interval}}};
}

constexpr size_t kBelowHead = 7 * 5 + 7;
constexpr size_t Parameters(size_t outputs) { return kBelowHead + 7 * outputs + outputs; }

// Running Fisher, score and past score of each parameter.
struct ScalarWalk {
  explicit ScalarWalk(size_t steps_of_interval) : interval(steps_of_interval) {
    Grow(0, 2);
  }

  void Step(const StrategyRig::Move& move) {
    const size_t count = static_cast<size_t>(move.before.size(0));
    if (count != fisher.size()) {
      End();
      Grow(outputs, (count - kBelowHead) / 8);
    }
    if (steps == 0) start = move.before;
    for (size_t i = 0; i < count; ++i) {
      const double g = move.gradient[i].item<double>(), d = move.change()[i].item<double>();
      path[i] -= g * d;
      if (steps + 1 == interval) fisher[i] = (1 - kAlpha) * fisher[i] + kAlpha * g * g;
    }
    weights = move.after;
    if (++steps == interval) End();
  }

  void End() {
    for (size_t i = 0; steps > 0 && i < score.size(); ++i) {
      const double moved = (weights[i] - start[i]).item<double>();
      score[i] += path[i] / (0.5 * fisher[i] * moved * moved + kEpsilon);
      path[i] = 0;
    }
    steps = 0;
  }

  // New outputs have neither Fisher nor score; their weights follow those of the old ones.
  void Grow(size_t from, size_t to) {
    for (std::vector<double>* values : {&fisher, &score, &past, &path}) {
      values->resize(Parameters(from));
      values->insert(values->begin() + kBelowHead + 7 * from, 7 * (to - from), 0.0);
      values->resize(Parameters(to));
    }
    outputs = to;
  }

  at::Tensor Boundary(bool first, bool unit) {
    End();
    for (size_t i = 0; i < score.size(); ++i) {
      past[i] = first ? std::max(score[i], 0.0) : (past[i] + std::max(score[i], 0.0)) / 2;
      score[i] = 0;
    }
    at::Tensor f = torch::tensor(fisher, at::kDouble), s = torch::tensor(past, at::kDouble);
    return unit ? f / f.max() + s / s.max() : f + s;
  }

  size_t interval;
  size_t steps = 0, outputs = 0;
  std::vector<double> fisher, score, past, path;
  at::Tensor start, weights;
};

TEST(RwalkTest, ImportanceIsThatOfTheScalarLoop) {
  for (const OptimizerKind optimizer : {OptimizerKind::kSgd, OptimizerKind::kAdam}) {
    for (const bool unit : {true, false}) {
      for (const int64_t interval : {1, 3}) {
        StrategyRig rig(RigModel(optimizer), Spec(2, unit ? "unit" : "raw", interval));
        ScalarWalk walk(static_cast<size_t>(interval));
        for (int32_t task = 0; task < 3; ++task) {
          for (uint64_t step = 0; step < 8; ++step) {
            walk.Step(rig.Step(Rows(5, {0, 1, 2, 2, 1}, 0, 50 * task + step)));
          }
          EXPECT_LT(Deviation(Recorded(rig.Boundary(task)), walk.Boundary(task == 0, unit)), 2e-4)
              << task << unit << interval;
        }
      }
    }
  }
}

// Outputs added in the middle of an interval: what they move counts from where they were born.
TEST(RwalkTest, NewOutputsEndAnIntervalEarly) {
  StrategyRig rig(RigModel(), Spec(2, "raw", 5));
  ScalarWalk walk(5);
  for (uint64_t step = 0; step < 16; ++step) {
    const std::vector<int32_t> classes =
        step < 7 ? std::vector<int32_t>{0, 1, 1} : std::vector<int32_t>{0, 2, 1};
    walk.Step(rig.Step(Rows(5, classes, 0, step)));
  }
  EXPECT_EQ(walk.outputs, 3u);
  EXPECT_LT(Deviation(Recorded(rig.Boundary(0)), walk.Boundary(true, false)), 2e-4);
}

// An observer of nothing: whoever observes makes the optimizer write the gradient.
class Bystander final : public UpdateObserver {
  void AfterUpdate(const UpdatedBlock&) override {}
  std::vector<at::Tensor> Written() const override { return {}; }
};

TEST(RwalkTest, TheWalkIsTheSameInsideTheUpdateAndObservingIt) {
  for (const int64_t row_count : {5, 40}) {
    std::vector<int32_t> classes;
    for (int64_t i = 0; i < row_count; ++i) classes.push_back(static_cast<int32_t>(i % 3));
    StrategyRig fused(RigModel(), Spec(2, "raw", 3)), observed(RigModel(), Spec(2, "raw", 3));
    ScalarWalk walk(3);
    Bystander bystander;
    for (int32_t task = 0; task < 3; ++task) {
      for (uint64_t step = 0; step < 8; ++step) {
        const Rows rows(5, classes, 0, 50 * task + step);
        walk.Step(fused.Step(rows));
        observed.rig.context->AddObserver(&bystander);
        observed.Step(rows);
      }
      const at::Tensor importance = Recorded(fused.Boundary(task));
      EXPECT_LT(Deviation(importance, Recorded(observed.Boundary(task))), 2e-4) << task;
      EXPECT_LT(Deviation(importance, walk.Boundary(task == 0, false)), 2e-4) << task;
      EXPECT_LT(Deviation(fused.Compact(fused.rig.arena.flat()),
                          observed.Compact(observed.rig.arena.flat())),
                1e-5);
    }
  }
}

TEST(RwalkTest, ThePenaltyIsReplacedAtEachBoundaryAndPullsToTheLatestWeights) {
  StrategyRig rig(RigModel(), Spec(5, "unit"));
  for (int32_t task = 0; task < 2; ++task) {
    for (uint64_t step = 0; step < 5; ++step) {
      rig.Step(Rows(5, {0, 1, 2}, 0, 50 * task + step));
    }
    const at::Tensor importance = Recorded(rig.Boundary(task));
    EXPECT_LE(importance.max().item<double>(), 2 + 1e-6);
    const at::Tensor anchor = rig.Compact(rig.rig.arena.flat());
    const auto move = rig.Step(Rows(5, {0, 1, 2}, 0, 90 + task));
    const at::Tensor weight = 0.1 * 2 * 5 * importance;
    const at::Tensor stepped = move.before - 0.1 * move.gradient;
    const at::Tensor expected = (stepped + weight * anchor) / (1 + weight);
    EXPECT_LT(Deviation(move.after, expected), 1e-5) << task;
  }
}

TEST(RwalkTest, ATaskWithoutExamplesLeavesNoRecord) {
  StrategyRig rig(RigModel(), Spec(1, "unit"));
  EXPECT_TRUE(rig.Boundary(0).importance.empty());
}

}  // namespace
}  // namespace engram::strategies
