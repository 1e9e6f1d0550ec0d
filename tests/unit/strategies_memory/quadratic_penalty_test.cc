// The penalty in O(P) against the sum of its terms, and the proximal step at its limits.
#include "strategies/core/quadratic_penalty.h"

#include <cmath>
#include <vector>

#include "absl/strings/match.h"
#include "gtest/gtest.h"
#include "tests/unit/strategies_memory/fisher_rig.h"

namespace engram::strategies {
namespace {

// One term of the separate penalty, kept whole.
struct Term {
  at::Tensor importance;
  at::Tensor anchor;
};

class QuadraticPenaltyTest : public testing::Test {
 protected:
  QuadraticPenaltyTest()
      : rig_(RigOptions(6, {8}, 4).Optimize(OptimizerKind::kSgd, kRate)),
        penalty_(&rig_.arena(), "penalty") {}

  at::Tensor Mask() {
    at::Tensor mask = at::zeros({rig_.arena().size()}, at::kFloat);
    for (size_t id = 0; id < rig_.arena().slots().size(); ++id) {
      rig_.arena().View(mask, static_cast<ParameterId>(id)).fill_(1);
    }
    return mask;
  }

  at::Tensor Fisher(uint64_t seed) {
    return rig_.Estimate(FisherEstimator::kExact, RandomExamples(rig_, 40, 6, seed).set());
  }

  // Another place in parameter space.
  void Move(uint64_t seed, double scale = 0.5) {
    Generator random(seed);
    at::Tensor step = at::empty({rig_.arena().size()}, at::kFloat);
    float* values = step.data_ptr<float>();
    for (int64_t i = 0; i < step.numel(); ++i) {
      values[i] = static_cast<float>(scale * (2 * random.Uniform() - 1));
    }
    rig_.arena().flat().add_(step.mul_(Mask()));
  }

  // A step whose task gradient is zero everywhere: what the pull alone does.
  void PullOnly(double lambda) {
    rig_.context().ClearHooks();
    penalty_.Join(lambda, &rig_.context());
    rig_.context().optimizer().StepWithGradient(at::zeros({rig_.arena().size()}, at::kFloat),
                                                rig_.context().pulls());
    rig_.context().ClearHooks();
  }

  static constexpr double kRate = 0.05;
  FisherRig rig_;
  QuadraticPenalty penalty_;
};

TEST_F(QuadraticPenaltyTest, ItsGradientIsTheSumOverTasks) {
  std::vector<Term> terms;
  for (uint64_t task = 0; task < 20; ++task) {
    Move(100 + task);
    terms.push_back({Fisher(200 + task), rig_.arena().flat().clone()});
    penalty_.AddSeparate(terms.back().importance);
  }
  Move(999);
  const at::Tensor theta = rig_.arena().flat().to(at::kDouble);
  at::Tensor expected = at::zeros_like(theta);
  for (const Term& term : terms) {
    expected += term.importance.to(at::kDouble) * (theta - term.anchor.to(at::kDouble));
  }
  const at::Tensor gradient =
      penalty_.importance().to(at::kDouble) * (theta - penalty_.anchor().to(at::kDouble));
  EXPECT_LT((gradient - expected).abs().max().item<double>(),
            1e-4 * expected.abs().max().item<double>());
  EXPECT_EQ(penalty_.terms(), 20);
}

TEST_F(QuadraticPenaltyTest, TheStepIsTheProximalOne) {
  penalty_.AddSeparate(Fisher(1));
  Move(2);
  const at::Tensor theta = rig_.arena().flat().to(at::kDouble);
  const at::Tensor weight = kRate * 30.0 * penalty_.importance().to(at::kDouble);
  const at::Tensor expected = (theta + weight * penalty_.anchor().to(at::kDouble)) / (1 + weight);
  PullOnly(30.0);
  EXPECT_LT((rig_.arena().flat().to(at::kDouble) - expected).abs().max().item<double>(), 1e-6);
}

TEST_F(QuadraticPenaltyTest, NothingIsPulledBeforeTheFirstConsolidationOrAtLambdaZero) {
  Move(1);
  const at::Tensor before = rig_.arena().flat().clone();
  PullOnly(1e6);
  EXPECT_TRUE(at::equal(rig_.arena().flat(), before));
  penalty_.AddSeparate(Fisher(1));
  Move(2);
  const at::Tensor moved = rig_.arena().flat().clone();
  PullOnly(0);
  EXPECT_TRUE(at::equal(rig_.arena().flat(), moved));
}

TEST_F(QuadraticPenaltyTest, AsLambdaGrowsImportantWeightsDoNotMove) {
  penalty_.AddSeparate(Fisher(1));
  const at::Tensor anchor = rig_.arena().flat().clone();
  const at::Tensor held = penalty_.importance() > 1e-9;
  const at::Tensor free = (penalty_.importance() == 0).logical_and(Mask() > 0);
  Move(2);
  const at::Tensor moved = rig_.arena().flat().clone();
  PullOnly(1e12);
  const at::Tensor distance = (rig_.arena().flat() - anchor).abs();
  ASSERT_TRUE(held.any().item<bool>());
  EXPECT_LT(distance.masked_select(held).max().item<float>(), 1e-2);
  EXPECT_TRUE(at::equal(rig_.arena().flat().masked_select(free), moved.masked_select(free)));
}

TEST_F(QuadraticPenaltyTest, NoLambdaDiverges) {
  penalty_.AddSeparate(Fisher(1));
  const at::Tensor huge = penalty_.importance().clone().mul_(1e20);
  penalty_.AddSeparate(huge);
  penalty_.AddSeparate(at::full({rig_.arena().size()}, kImportanceMax, at::kFloat).mul_(Mask()));
  for (const double lambda : {1.0, 1e3, 1e6, 1e12}) {
    Move(static_cast<uint64_t>(lambda));
    const double before = (rig_.arena().flat() - penalty_.anchor()).abs().max().item<double>();
    for (int step = 0; step < 50; ++step) PullOnly(lambda);
    const double after = (rig_.arena().flat() - penalty_.anchor()).abs().max().item<double>();
    EXPECT_TRUE(std::isfinite(after));
    EXPECT_LE(after, before);
  }
}

TEST_F(QuadraticPenaltyTest, OnlineWithoutDecaySumsTheFishersAtOneAnchor) {
  QuadraticPenalty separate(&rig_.arena(), "separate");
  at::Tensor sum = at::zeros({rig_.arena().size()}, at::kFloat);
  for (uint64_t task = 0; task < 3; ++task) {
    Move(10 + task);
    const at::Tensor fisher = Fisher(20 + task);
    sum += fisher;
    penalty_.AddOnline(fisher, 1.0);
    separate.AddSeparate(fisher);
  }
  EXPECT_TRUE(at::allclose(penalty_.importance(), sum, 1e-6, 0));
  EXPECT_TRUE(at::allclose(penalty_.importance(), separate.importance(), 1e-5, 0));
  EXPECT_TRUE(at::equal(penalty_.anchor(), rig_.arena().flat()));
  // Same importance, other anchor: not the separate penalty.
  const at::Tensor distance = (separate.anchor() - penalty_.anchor()).abs();
  EXPECT_GT(distance.max().item<float>(), 0.05);
}

TEST_F(QuadraticPenaltyTest, OnlineDecayFollowsTheRecursion) {
  const at::Tensor first = Fisher(1);
  penalty_.AddOnline(first, 0.5);
  Move(2);
  const at::Tensor second = Fisher(3);
  penalty_.AddOnline(second, 0.5);
  EXPECT_TRUE(at::allclose(penalty_.importance(), 0.5 * first + second, 1e-6, 0));
}

TEST_F(QuadraticPenaltyTest, UnderAdamTheRateOfEachElementScalesItsPull) {
  FisherRig rig(RigOptions(6, {8}, 4).Optimize(OptimizerKind::kAdam, 0.01));
  QuadraticPenalty penalty(&rig.arena(), "penalty");
  const RandomExamples examples(rig, 40, 6, 1);
  penalty.AddSeparate(rig.Estimate(FisherEstimator::kExact, examples.set()));
  const at::Tensor gradient = at::full({rig.arena().size()}, 1e-3, at::kFloat);
  Optimizer& optimizer = rig.context().optimizer();
  optimizer.StepWithGradient(gradient, {});
  const at::Tensor before = rig.arena().flat().clone();

  // The same second step without and with the pull: theta' and theta.
  const at::Tensor moment2 = optimizer.moment2().clone();
  FisherRig plain(RigOptions(6, {8}, 4).Optimize(OptimizerKind::kAdam, 0.01));
  plain.context().optimizer().StepWithGradient(gradient, {});
  plain.context().optimizer().StepWithGradient(gradient, {});
  const at::Tensor unpulled = plain.arena().flat().to(at::kDouble);

  penalty.Join(50.0, &rig.context());
  optimizer.StepWithGradient(gradient, rig.context().pulls());
  const at::Tensor rate =
      0.01 / ((optimizer.moment2().to(at::kDouble) / optimizer.second_correction()).sqrt() + 1e-8);
  const at::Tensor weight = rate * 50.0 * penalty.importance().to(at::kDouble);
  const at::Tensor expected = (unpulled + weight * penalty.anchor().to(at::kDouble)) / (1 + weight);
  EXPECT_LT((rig.arena().flat().to(at::kDouble) - expected).abs().max().item<double>(), 1e-6);
  EXPECT_GT((expected - unpulled).abs().max().item<double>(), 1e-4);
  // Moments are of the task gradient only.
  EXPECT_TRUE(at::equal(optimizer.moment2(), plain.context().optimizer().moment2()));
}

TEST(QuadraticPenaltyGrowthTest, NewHeadRowsHaveNoImportanceAndOldOnesKeepTheirs) {
  FisherRig rig(RigOptions(4, {8}, 0).Head(HeadKind::kGrowing));
  QuadraticPenalty penalty(&rig.arena(), "penalty");
  rig.Admit({0, 0}, {0, 1});
  penalty.AddSeparate(rig.Estimate(FisherEstimator::kExact, RandomExamples(rig, 30, 4, 26).set()));
  const ParameterId head = static_cast<ParameterId>(rig.arena().slots().size()) - 2;
  const at::Tensor before = rig.arena().View(penalty.importance(), head).clone();
  rig.Admit({0, 0, 0}, {2, 3, 4});
  const at::Tensor after = rig.arena().View(penalty.importance(), head);
  ASSERT_EQ(after.size(0), 5);
  EXPECT_TRUE(at::equal(after.narrow(0, 0, 2), before));
  EXPECT_EQ(after.narrow(0, 2, 3).abs().max().item<float>(), 0);

  // However strong, the pull leaves the new rows where they are.
  const at::Tensor new_rows = rig.arena().View(head).narrow(0, 2, 3).clone();
  EXPECT_GT(new_rows.abs().max().item<float>(), 0);
  penalty.Join(1e9, &rig.context());
  rig.context().optimizer().StepWithGradient(at::zeros({rig.arena().size()}, at::kFloat),
                                             rig.context().pulls());
  EXPECT_TRUE(at::equal(rig.arena().View(head).narrow(0, 2, 3), new_rows));
}

TEST(ConsolidateFisherTest, RecordsTheEstimateForDurableInspection) {
  FisherRig rig(RigOptions(4, {8}, 3));
  const RandomExamples examples(rig, 30, 4, 26);
  BoundaryReport report;
  const QuadraticPenalty penalty(&rig.arena(), "ewc");
  const at::Tensor fisher = ConsolidateFisher(penalty, "ewc", FisherEstimator::kExact, 5,
                                              examples.set(), rig.context(), &report);
  ASSERT_EQ(report.importance.size(), 1u);
  const ImportanceSnapshot& snapshot = report.importance[0];
  EXPECT_EQ(snapshot.strategy, "ewc");
  EXPECT_EQ(snapshot.task, 5);
  EXPECT_EQ(snapshot.estimator, "exact");
  EXPECT_EQ(snapshot.examples, 30);
  EXPECT_TRUE(absl::StrContains(snapshot.label_mode, "every class"));

  const auto reader = StateReader::Open(snapshot.tensors);
  ASSERT_TRUE(reader.ok()) << reader.status();
  const at::Tensor stored = *reader->GetTensor("importance");
  const at::Tensor anchor = *reader->GetTensor("anchor");
  ASSERT_EQ(stored.numel(), rig.arena().parameter_count());
  ASSERT_EQ(anchor.numel(), rig.arena().parameter_count());
  int64_t offset = 0;
  for (size_t id = 0; id < rig.arena().slots().size(); ++id) {
    const auto& slot = rig.arena().slots()[id];
    EXPECT_TRUE(absl::StrContains(*reader->GetText("layout"), slot.name));
    EXPECT_TRUE(at::equal(stored.narrow(0, offset, slot.count()),
                          fisher.narrow(0, slot.offset, slot.count())));
    EXPECT_TRUE(at::equal(anchor.narrow(0, offset, slot.count()),
                          rig.arena().flat().narrow(0, slot.offset, slot.count())));
    offset += slot.count();
  }
}

TEST(ConsolidateFisherTest, ATaskWithoutExamplesLeavesNoRecord) {
  FisherRig rig(RigOptions(4, {8}, 3));
  BoundaryReport report;
  const QuadraticPenalty penalty(&rig.arena(), "ewc");
  const at::Tensor fisher =
      ConsolidateFisher(penalty, "ewc", FisherEstimator::kExact, 0,
                        RandomExamples(rig, 0, 4, 1).set(), rig.context(), &report);
  EXPECT_FALSE(fisher.defined());
  EXPECT_TRUE(report.importance.empty());
}

TEST(FisherEstimatorTest, NamesRoundTripAndEachSaysItsLabels) {
  std::set<std::string> modes;
  for (const std::string name : {"exact", "sampled", "empirical"}) {
    EXPECT_EQ(FisherEstimatorName(ParseFisherEstimator(name)), name);
    modes.insert(FisherLabelMode(ParseFisherEstimator(name)));
  }
  EXPECT_EQ(modes.size(), 3u);
}

}  // namespace
}  // namespace engram::strategies
