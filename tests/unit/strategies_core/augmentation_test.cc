// What a step trains when its rows are augmented, and what must stay as it came.
#include "strategies/core/augmentation.h"

#include <gmock/gmock.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "strategies/api/compute.h"
#include "strategies/api/learner.h"
#include "tests/unit/strategies_core/reference_network.h"
#include "tests/unit/strategies_core/small_stream.h"

namespace engram::strategies {
namespace {

using ::testing::HasSubstr;

constexpr int64_t kPixels = 12;  // 3 x 4

AugmentationOptions Picture() {
  AugmentationOptions options;
  options.height = 3;
  options.width = 4;
  return options;
}

AugmentationOptions Everything() {
  AugmentationOptions options = Picture();
  options.flip_horizontal = true;
  options.flip_vertical = true;
  options.crop_padding = 1;
  options.rotate_degrees = 20;
  options.scale = 0.2;
  options.noise = 0.1;
  options.mixup_alpha = 0.4;
  options.cutmix_alpha = 1;
  return options;
}

class AugmentationTest : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    SetComputeThreads(1);
    EnterComputeThread();
  }
  AugmentationTest() : rig_(SmallModel(kPixels)), stream_(kPixels, 7) {}

  std::vector<float> View(int64_t row) const {
    const float* values = rig_.batch->inputs().data_ptr<float>() + row * kPixels;
    return {values, values + kPixels};
  }
  std::vector<float> Raw(int64_t row) const {
    return {rig_.batch->row(row), rig_.batch->row(row) + kPixels};
  }
  void Apply(const AugmentationOptions& options, uint64_t key) {
    augmentation_.Apply(options, key, rig_.batch.get());
  }

  Rig rig_;
  SmallStream stream_;
  Augmentation augmentation_;
};

TEST_F(AugmentationTest, ARowsViewDependsOnTheStepAndItselfAlone) {
  AugmentationOptions options = Everything();
  options.mixup_alpha = options.cutmix_alpha = 0;
  const SmallBatch batch = stream_.Next({0, 1, 2});
  rig_.Load(batch.View());
  Apply(options, 5);
  const std::vector<float> first = View(0), last = View(2);
  EXPECT_NE(first, Raw(0));
  rig_.batch->Clear(rig_.units);
  ASSERT_TRUE(rig_.batch->AppendRow(batch.features.data() + 2 * kPixels, 2, 0, 3).ok());
  ASSERT_TRUE(rig_.batch->AppendRow(batch.features.data(), 0, 0, 1).ok());
  Apply(options, 5);
  EXPECT_EQ(View(0), last);
  EXPECT_EQ(View(1), first);
  Apply(options, 6);
  EXPECT_NE(View(1), first);
}

TEST_F(AugmentationTest, ARowThatStandsTwiceInABatchHasTwoViews) {
  AugmentationOptions options;
  options.noise = 1;
  const SmallBatch batch = stream_.Next({0});
  rig_.Load(batch.View());
  ASSERT_TRUE(rig_.batch->AppendRow(batch.features.data(), 0, 0, batch.sequences[0]).ok());
  Apply(options, 1);
  EXPECT_NE(View(0), View(1));
}

TEST_F(AugmentationTest, HalfOfTheRowsAreMirroredAndMovesReachThePadding) {
  AugmentationOptions options = Picture();
  options.flip_horizontal = true;
  options.crop_padding = 1;
  rig_.Load(stream_.Next({0}).View());
  int mirrored = 0;
  std::vector<int> moves(9);
  for (uint64_t key = 0; key < 1800; ++key) {
    Apply(options, key);
    int matches = 0;
    for (int move = 0; move < 18; ++move) {
      std::vector<float> expected(kPixels);
      MovePixels(rig_.batch->row(0), {3, 4}, {move >= 9, false, move % 9 / 3 - 1, move % 3 - 1},
                 expected.data());
      if (expected != View(0)) continue;
      ++matches;
      mirrored += move >= 9;
      ++moves[static_cast<size_t>(move % 9)];
    }
    ASSERT_EQ(matches, 1);
  }
  EXPECT_NEAR(mirrored, 900, 100);  // 4.7 standard deviations
  for (const int count : moves) EXPECT_NEAR(count, 200, 65);
}

TEST_F(AugmentationTest, TurnsAndZoomsStayWithinTheirBounds) {
  AugmentationOptions options = Picture();
  options.scale = 0.5;
  // A ramp from the centre out: what is read at a pixel says where it came from.
  SmallBatch batch = stream_.Next({0});
  for (int64_t i = 0; i < kPixels; ++i) batch.features[i] = static_cast<float>(i % 4) - 1.5f;
  rig_.Load(batch.View());
  float largest = 0, smallest = 9;
  for (uint64_t key = 0; key < 500; ++key) {
    Apply(options, key);
    const float zoomed = 0.5f / View(0)[6];  // the pixel right of the centre, middle row
    largest = std::max(largest, zoomed);
    smallest = std::min(smallest, zoomed);
  }
  EXPECT_NEAR(smallest, 0.5, 0.02);
  EXPECT_NEAR(largest, 1.5, 0.02);
}

TEST_F(AugmentationTest, NoiseHasItsDeviation) {
  AugmentationOptions options;
  options.noise = 0.5;
  rig_.Load(stream_.Next({0}).View());
  double sum = 0, squares = 0;
  constexpr int kSteps = 2000;
  for (uint64_t key = 0; key < kSteps; ++key) {
    Apply(options, key);
    for (int64_t i = 0; i < kPixels; ++i) {
      const double added = View(0)[static_cast<size_t>(i)] - rig_.batch->row(0)[i];
      sum += added;
      squares += added * added;
    }
  }
  EXPECT_NEAR(sum / (kSteps * kPixels), 0, 0.02);
  EXPECT_NEAR(squares / (kSteps * kPixels), 0.25, 0.01);
}

TEST(DrawBetaTest, HasMeanAndVarianceOfBeta) {
  for (const double alpha : {0.2, 1.0, 4.0}) {
    Generator random(3);
    double sum = 0, squares = 0;
    constexpr int kDraws = 40000;
    for (int i = 0; i < kDraws; ++i) {
      const double share = DrawBeta(alpha, &random);
      ASSERT_TRUE(share >= 0 && share <= 1);
      sum += share;
      squares += (share - 0.5) * (share - 0.5);
    }
    EXPECT_NEAR(sum / kDraws, 0.5, 0.01) << alpha;
    EXPECT_NEAR(squares / kDraws, 1 / (4 * (2 * alpha + 1)), 0.005) << alpha;
  }
  Generator random(4);
  for (int i = 0; i < 100; ++i) EXPECT_FALSE(std::isnan(DrawBeta(1e-4, &random)));
}

TEST_F(AugmentationTest, MixupBlendsTwoRowsAndTheirLabelsAlike) {
  AugmentationOptions options;
  options.mixup_alpha = 1;
  rig_.Load(stream_.Next({0, 1, 2, 3, 4}).View());
  Apply(options, 9);
  const LossRows loss = rig_.batch->loss_rows();
  ASSERT_EQ(loss.first_shares.size(), 5u);
  int mixed = 0;
  for (int64_t row = 0; row < 5; ++row) {
    const float own = loss.first_shares[static_cast<size_t>(row)];
    const int64_t other = loss.second_targets[static_cast<size_t>(row)];  // unit r is row r's
    mixed += other != row;
    for (int64_t i = 0; i < kPixels; ++i) {
      EXPECT_NEAR(View(row)[i], own * Raw(row)[i] + (1 - own) * Raw(other)[i], 1e-6);
    }
  }
  EXPECT_GE(mixed, 2);
}

TEST_F(AugmentationTest, CutmixPastesABoxAndLabelsByItsPixels) {
  AugmentationOptions options = Picture();
  options.cutmix_alpha = 1;
  rig_.Load(stream_.Next({0, 1, 2, 3, 4}).View());
  int mixed = 0;
  for (uint64_t key = 0; key < 20; ++key) {
    Apply(options, key);
    const LossRows loss = rig_.batch->loss_rows();
    for (int64_t row = 0; row < 5; ++row) {
      const int64_t other =
          loss.second_targets.empty() ? row : loss.second_targets[static_cast<size_t>(row)];
      int64_t kept = 0;
      for (int64_t i = 0; i < kPixels; ++i) {
        const bool own = View(row)[i] == Raw(row)[i];
        kept += own;
        EXPECT_TRUE(own || View(row)[i] == Raw(other)[i]);
      }
      if (other == row) continue;
      ++mixed;
      EXPECT_NEAR(loss.first_shares[static_cast<size_t>(row)], kept / 12.0, 1e-6);
    }
  }
  EXPECT_GT(mixed, 40);
}

TEST_F(AugmentationTest, RowsMixOnlyWithThoseThatTheLossTreatsAlike) {
  AugmentationOptions options;
  options.mixup_alpha = 1;
  const SmallBatch batch = stream_.Next({0, 1, 2, 3, 4, 5, 6, 7});
  rig_.Load(batch.View());
  rig_.Load(stream_.Next({0, 1, 2}).View());
  for (int32_t cls = 3; cls < 8; ++cls) {
    ASSERT_TRUE(rig_.batch->AppendRow(batch.features.data() + cls * kPixels, cls, 0, 1).ok());
  }
  rig_.batch->LimitUnits(3, 5, {3, 4});
  rig_.batch->KeepUnmixed(7, 8);
  const std::vector<std::pair<int64_t, int64_t>> allowed = {{0, 3}, {0, 3}, {0, 3}, {3, 5},
                                                            {3, 5}, {5, 7}, {5, 7}, {7, 8}};
  for (uint64_t key = 0; key < 40; ++key) {
    Apply(options, key);
    const LossRows loss = rig_.batch->loss_rows();
    for (size_t row = 0; row < 8; ++row) {
      EXPECT_GE(loss.second_targets[row], allowed[row].first);
      EXPECT_LT(loss.second_targets[row], allowed[row].second);
    }
    EXPECT_EQ(View(7), Raw(7));
  }
}

TEST_F(AugmentationTest, TheGradientIsThatOfTheViewsAndBothLabels) {
  rig_.options.augmentation = Everything();
  rig_.options.label_smoothing = 0.1;
  rig_.Load(stream_.Next({0, 1, 2, 3}).View());
  rig_.context->Augment(*rig_.batch);
  const auto leaves = CloneParameters(rig_.arena);
  const LossRows loss = rig_.batch->loss_rows();
  torch::Tensor labels = torch::zeros({4, 4});
  for (int64_t row = 0; row < 4; ++row) {
    const size_t at = static_cast<size_t>(row);
    labels[row][loss.targets[at]] += loss.first_shares[at];
    labels[row][loss.second_targets[at]] += 1 - loss.first_shares[at];
  }
  const torch::Tensor expected = torch::nn::functional::cross_entropy(
      ReferenceForward(leaves, rig_.batch->inputs().clone()), labels,
      torch::nn::functional::CrossEntropyFuncOptions().label_smoothing(0.1));
  expected.backward();
  const double ours =
      rig_.context->LossAndBackward(*rig_.batch, rig_.context->Forward(*rig_.batch));
  EXPECT_NEAR(ours, expected.item<double>(), 1e-5);
  const at::Tensor gradient = at::zeros({rig_.arena.size()});
  rig_.optimizer->WriteGradient(rig_.network->traces(), gradient);
  for (size_t id = 0; id < leaves.size(); ++id) {
    const at::Tensor slot = rig_.arena.View(gradient, static_cast<ParameterId>(id));
    EXPECT_LT(
        (slot.reshape(leaves[id].sizes()) - leaves[id].grad()).abs().max().item<double>(), 1e-5);
  }
}

TEST_F(AugmentationTest, TestThenTrainSeesTheRowsAsTheyCame) {
  rig_.options.augmentation = Everything();
  rig_.Load(stream_.Next({0, 1, 2, 3}).View());
  const at::Tensor expected = rig_.network->Forward(rig_.batch->features()).clone();
  const auto seen = rig_.context->PlainStep(*rig_.batch);
  ASSERT_TRUE(seen.ok());
  EXPECT_TRUE(seen->logits.equal(expected));
}

TEST_F(AugmentationTest, OffItDrawsNothingAndTrainsTheRowsThemselves) {
  rig_.options.augmentation = Picture();
  rig_.Load(stream_.Next({0, 1}).View());
  const Generator::State before = rig_.generator.state();
  ASSERT_TRUE(rig_.context->PlainStep(*rig_.batch).ok());
  EXPECT_EQ(rig_.generator.state(), before);
  EXPECT_FALSE(rig_.batch->has_views());
}

// Learners: what is kept, and recovery.

ModelOptions Replaying() {
  ModelOptions options = SmallModel(kPixels);
  options.strategies = {{"experience_replay", {{"memory_size", int64_t{16}}}}};
  return options;
}

std::unique_ptr<Learner> Make(const ModelOptions& options) {
  auto learner = MakeLearner(options);
  EXPECT_TRUE(learner.ok()) << learner.status();
  return std::move(learner).value();
}

void Train(Learner* learner, SmallStream* stream, int steps) {
  for (int step = 0; step < steps; ++step) {
    ASSERT_TRUE(learner->Train(stream->Next({0, 1, 2, 0, 1, 2}).View()).ok());
  }
}

TEST_F(AugmentationTest, MemoryHoldsTheExamplesAsTheyCame) {
  ModelOptions augmented = Replaying();
  augmented.augmentation = Everything();
  const auto plain = Make(Replaying()), other = Make(augmented);
  SmallStream first(kPixels, 1), second(kPixels, 1);
  Train(plain.get(), &first, 20);
  Train(other.get(), &second, 20);
  const auto none = [](const MemberKey&) { return false; };
  const auto kept = plain->Save(none), kept_augmented = other->Save(none);
  ASSERT_EQ(kept->members.size(), 16u);
  ASSERT_EQ(kept->members, kept_augmented->members);
  for (size_t i = 0; i < kept->new_payloads.size(); ++i) {
    EXPECT_EQ(kept->new_payloads[i].bytes, kept_augmented->new_payloads[i].bytes);
  }
  EXPECT_NE(kept->tensors, kept_augmented->tensors);
}

TEST_F(AugmentationTest, ARestoredLearnerDrawsTheSameViews) {
  ModelOptions options = Replaying();
  options.augmentation = Everything();
  const auto original = Make(options), restored = Make(options);
  SmallStream stream(kPixels, 1);
  Train(original.get(), &stream, 7);
  const auto saved = original->Save([](const MemberKey&) { return false; });
  ASSERT_TRUE(restored->Restore(*saved, AllPayloads(*saved)).ok());
  SmallStream same = stream;
  Train(original.get(), &stream, 7);
  Train(restored.get(), &same, 7);
  EXPECT_EQ(SavedTensors(*original), SavedTensors(*restored));
}

TEST_F(AugmentationTest, MayComeAndGoOnALiveModel) {
  const ModelOptions plain = Replaying();
  ModelOptions augmented = plain;
  augmented.augmentation = Everything();
  const auto changed = Make(plain), never = Make(plain), always = Make(augmented);
  SmallStream stream(kPixels, 1);
  for (Learner* learner : {changed.get(), never.get(), always.get()}) {
    SmallStream own(kPixels, 1);
    Train(learner, &own, 1);
  }
  ASSERT_TRUE(changed->Reconfigure(augmented).ok());
  ASSERT_TRUE(changed->Reconfigure(plain).ok());
  EXPECT_EQ(SavedTensors(*changed), SavedTensors(*never));
  ASSERT_TRUE(changed->Reconfigure(augmented).ok());
  SmallStream first(kPixels, 2), second(kPixels, 2);
  Train(changed.get(), &first, 3);
  Train(never.get(), &second, 3);
  EXPECT_NE(SavedTensors(*changed), SavedTensors(*never));
}

absl::Status Refusal(const std::string& strategy, const AugmentationOptions& augmentation) {
  ModelOptions options = SmallModel(kPixels);
  options.strategies = {{strategy, {}}};
  options.augmentation = augmentation;
  return ValidateOptions(options);
}

TEST(AugmentationOptionsTest, WhatCannotBeIsRefusedByName) {
  AugmentationOptions flat;
  flat.flip_horizontal = true;
  EXPECT_THAT(std::string(Refusal("finetune", flat).message()),
              HasSubstr("augmentation.height: an image of height x width x channels must have the "
                        "12 values of feature_count, got 0 x 0 x 1"));
  AugmentationOptions coloured = Picture();
  coloured.channels = 3;
  EXPECT_THAT(std::string(Refusal("finetune", coloured).message()), HasSubstr("3 x 4 x 3"));
  AugmentationOptions padded = Picture();
  padded.crop_padding = 4;
  EXPECT_THAT(std::string(Refusal("finetune", padded).message()), HasSubstr("crop_padding"));
  AugmentationOptions noise;
  noise.noise = std::nan("");
  EXPECT_THAT(std::string(Refusal("finetune", noise).message()), HasSubstr("augmentation.noise"));
  AugmentationOptions tabular;
  tabular.mixup_alpha = 0.2;
  tabular.noise = 0.1;
  EXPECT_TRUE(Refusal("finetune", tabular).ok());
}

TEST(AugmentationOptionsTest, StrategiesThatCannotTrainAViewRefuseIt) {
  AugmentationOptions mixes;
  mixes.mixup_alpha = 0.2;
  EXPECT_THAT(std::string(Refusal("mer", mixes).message()),
              HasSubstr("augmentation.mixup_alpha: mer trains one row at a time"));
  AugmentationOptions noise;
  noise.noise = 0.2;
  EXPECT_TRUE(Refusal("mer", noise).ok());
  for (const char* name : {"slda", "ridge", "generative_classifier"}) {
    EXPECT_THAT(std::string(Refusal(name, noise).message()),
                HasSubstr(absl::StrCat("augmentation: ", name)));
  }
}

}  // namespace
}  // namespace engram::strategies
