// ER-ACE: who competes with whom.
#include <vector>

#include "tests/unit/strategies_builtin/replay_rig.h"

namespace engram::strategies {
namespace {

// d loss / d logits of the step.
at::Tensor LogitSlope(TrainingBatch& batch, StepContext& context) {
  context.LossAndBackward(batch, context.Forward(batch));
  return context.network().traces().back().output_gradient.clone();
}

TEST(ErAceTest, AStreamRowHasNoGradientAtClassesAbsentFromItsBatch) {
  ReplayRig rig("er_ace");
  rig.Step({0, 1, 2, 3});
  rig.Step({1, 3, 1}, [](TrainingBatch& batch, StepContext& context) {
    const at::Tensor slope = LogitSlope(batch, context);
    for (int64_t row = 0; row < 3; ++row) {
      EXPECT_EQ(slope[row][0].item<float>(), 0);
      EXPECT_NE(slope[row][1].item<float>(), 0);
      EXPECT_EQ(slope[row][2].item<float>(), 0);
      EXPECT_NE(slope[row][3].item<float>(), 0);
    }
    for (int64_t row = 3; row < 6; ++row) {
      for (int64_t unit = 0; unit < 4; ++unit) EXPECT_NE(slope[row][unit].item<float>(), 0);
    }
  });
}

// Classes of a fixed head come in any order; those that never came are not among the seen.
TEST(ErAceTest, ReplayedRowsCompeteAmongTheClassesSeenSoFarInAnyOrder) {
  ReplayRig rig("er_ace", {}, HeadKind::kFixed);
  rig.Step({6, 1, 6, 1});
  rig.Step({3}, [](TrainingBatch& batch, StepContext& context) {
    const at::Tensor slope = LogitSlope(batch, context);
    ASSERT_EQ(batch.rows(), 2);
    for (const int64_t seen : {1, 3, 6}) EXPECT_NE(slope[1][seen].item<float>(), 0);
    for (const int64_t unseen : {0, 2, 4, 5, 7}) EXPECT_EQ(slope[1][unseen].item<float>(), 0);
  });
}

TEST(ErAceTest, StreamAndMemoryAreTwoMeans) {
  ReplayRig rig("er_ace", {{"replay_batch_size", int64_t{5}}});
  rig.Step({0, 1, 2, 2, 1, 0});
  rig.Step({0, 2}, [](TrainingBatch& batch, StepContext&) {
    ASSERT_EQ(batch.rows(), 7);
    for (int64_t row = 0; row < 7; ++row) {
      EXPECT_FLOAT_EQ(batch.loss_rows().coefficient(row), row < 2 ? 0.5f : 0.2f);
    }
  });
}

TEST(ErAceTest, WhereHeadsArePerTaskARowStaysInsideItsTask) {
  ReplayRig rig("er_ace", {}, HeadKind::kPerTask);
  const std::vector<int32_t> classes = {0, 1, 0, 1, 2}, tasks = {0, 0, 1, 1, 1};
  rig.StepOfTasks(classes, tasks, nullptr);
  rig.StepOfTasks({0, 1, 0}, {0, 0, 1}, [&rig](TrainingBatch& batch, StepContext& context) {
    const at::Tensor slope = LogitSlope(batch, context);
    const UnitMap& units = rig.rig().units;
    for (int64_t row = 0; row < batch.rows(); ++row) {
      for (const int64_t other : units.UnitsOf(1 - batch.tasks()[static_cast<size_t>(row)])) {
        EXPECT_EQ(slope[row][other].item<float>(), 0);
      }
    }
    EXPECT_NE(slope[0][units.Find(0, 1)].item<float>(), 0);
    EXPECT_EQ(slope[2][units.Find(1, 1)].item<float>(), 0);  // alone of its task in the batch
  });
}

TEST(ErAceTest, ASkippedStepSeesNoClass) {
  ReplayRig rig("er_ace", {}, HeadKind::kFixed);
  rig.Step({1, 2});
  rig.SkippedStep({5, 6});
  rig.Step({1}, [](TrainingBatch& batch, StepContext& context) {
    const at::Tensor slope = LogitSlope(batch, context);
    EXPECT_EQ(slope[1][5].item<float>(), 0);
    EXPECT_NE(slope[1][2].item<float>(), 0);
  });
  EXPECT_EQ(rig.Kept(), (std::vector<uint64_t>{1, 2, 5}));
}

}  // namespace
}  // namespace engram::strategies
