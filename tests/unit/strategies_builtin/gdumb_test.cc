// GDumb: nothing is learned from the stream, all of it from the memory, at boundaries only.
#include <algorithm>
#include <string>
#include <vector>

#include "strategies/api/learner.h"
#include "tests/unit/strategies_builtin/replay_rig.h"

namespace engram::strategies {
namespace {

Parameters Quick() {
  return {{"passes", int64_t{30}}, {"train_batch_size", int64_t{4}}, {"lr_max", 0.2}};
}

TEST(GdumbTest, TheStreamMovesNoWeightButIsMeasuredAndKept) {
  ReplayRig rig("gdumb", Quick());
  rig.Step({0, 1, 2});
  const at::Tensor before = rig.rig().arena.flat().clone();
  const Observation seen = rig.Step({0, 1, 2, 1});
  EXPECT_TRUE(rig.rig().arena.flat().equal(before));
  EXPECT_EQ(seen.logits.size(0), 4);
  EXPECT_GT(seen.loss, 0);
  EXPECT_EQ(rig.Kept().size(), 7u);
}

TEST(GdumbTest, ABoundaryTrainsANewNetworkOnTheMemory) {
  ReplayRig rig("gdumb",
                {{"passes", int64_t{400}}, {"train_batch_size", int64_t{4}}, {"lr_max", 0.3}});
  rig.Step({0, 1, 2, 0, 1, 2});
  const double before = rig.Step({0, 1, 2}).loss;
  const at::Tensor features = rig.rig().batch->features().clone();
  rig.Boundary({});
  const at::Tensor logits = rig.rig().network->Forward(features).clone();
  const torch::Tensor labels = torch::tensor(std::vector<int64_t>{0, 1, 2});
  const auto after = torch::nn::functional::cross_entropy(logits, labels).item<double>();
  EXPECT_LT(after, before / 2);
  EXPECT_EQ(rig.rig().optimizer->learning_rate(), 0.1);  // the model's own again
}

TEST(GdumbTest, WhatIsTrainedDoesNotDependOnTheWeightsBefore) {
  ReplayRig first("gdumb", Quick());
  ReplayRig second("gdumb", Quick());
  for (ReplayRig* rig : {&first, &second}) rig->Step({0, 1, 2, 0});
  second.rig().arena.View(0).fill_(0.25);
  first.Boundary({});
  second.Boundary({});
  EXPECT_TRUE(first.rig().arena.flat().equal(second.rig().arena.flat()));
}

TEST(GdumbTest, ABoundaryWithoutNewExamplesChangesNothing) {
  ReplayRig rig("gdumb", Quick());
  rig.Step({0, 1});
  rig.Boundary({});
  const at::Tensor trained = rig.rig().arena.flat().clone();
  rig.Boundary({});
  EXPECT_TRUE(rig.rig().arena.flat().equal(trained));
}

TEST(GdumbTest, TheMemoryIsBalancedOverClasses) {
  ReplayRig rig("gdumb", {{"memory_size", int64_t{6}}});
  for (int i = 0; i < 10; ++i) rig.Step({0, 0, 0, 0, 0, 1, 2});
  LearnerGauges gauges;
  rig.strategy().AddGauges(&gauges);
  EXPECT_EQ(gauges.episodic_by_task, (std::vector<int64_t>{6}));
  std::vector<int64_t> of_class(3);
  for (const uint64_t sequence : rig.Kept()) {
    const uint64_t place = (sequence - 1) % 7;
    ++of_class[place < 5 ? 0 : place - 4];
  }
  EXPECT_EQ(of_class, (std::vector<int64_t>{2, 2, 2}));
}

TEST(GdumbTest, CroppingNeedsASquareImage) {
  ModelOptions options;
  options.strategies = {{"gdumb", {{"crop_padding", int64_t{2}}}}};
  options.feature_count = 784;
  EXPECT_TRUE(ValidateOptions(options).ok());
  options.feature_count = 785;
  const absl::Status status = ValidateOptions(options);
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_NE(status.message().find("gdumb.crop_padding"), std::string::npos);
}

TEST(GdumbTest, CroppingChangesWhatIsTrainedOn) {
  Parameters parameters = Quick();
  parameters["crop_padding"] = int64_t{1};
  ReplayRig rig("gdumb", parameters);
  rig.Step({0, 1, 0, 1});
  rig.Boundary({});
  const at::Tensor flat = rig.rig().arena.flat().clone();
  ReplayRig plain("gdumb", Quick());
  plain.Step({0, 1, 0, 1});
  plain.Boundary({});
  EXPECT_FALSE(plain.rig().arena.flat().equal(flat));
  EXPECT_TRUE(at::isfinite(flat).all().item<bool>());
}

}  // namespace
}  // namespace engram::strategies
