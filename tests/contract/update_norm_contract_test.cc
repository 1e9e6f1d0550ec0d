// A step that max_update_norm refuses leaves nothing behind, whatever the strategy, the head and
// the optimizer: the state in the middle of a task, put into a learner with a cap that no step
// keeps, is the same after a batch as before it, but for what counts the batch and what was drawn
// for it.
#include <string>
#include <vector>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "gtest/gtest.h"
#include "strategies/api/compute.h"
#include "strategies/api/learner.h"
#include "strategies/core/registry.h"
#include "strategies/core/state_archive.h"
#include "tests/contract/tiny_stream.h"

namespace engram::strategies {
namespace {

// No step is shorter.
constexpr double kNothing = 1e-30;

std::vector<std::string> Names() {
  std::vector<std::string> names;
  for (const StrategyEntry& entry : StrategyTable()) names.push_back(entry.help.name);
  return names;
}

// GDumb takes no step before a boundary: it keeps examples, which no cap on steps is about.
bool StepsAtBoundariesOnly(const std::string& name) { return name == "gdumb"; }

class UpdateNormContractTest : public testing::TestWithParam<std::string> {
 protected:
  static void SetUpTestSuite() {
    SetComputeThreads(1);
    EnterComputeThread();
  }

  const StrategyEntry& entry() const { return **FindStrategy(GetParam()); }

  ModelOptions Options(HeadKind head, const OptimizerOptions& optimizer) const {
    ModelOptions options;
    options.feature_count = kTinyFeatures;
    options.hidden = {16, 8};
    options.head.kind = head;
    if (head == HeadKind::kFixed) options.head.head_classes = kTinyClasses;
    options.head.max_classes = kTinyClasses;
    options.optimizer = optimizer;
    options.strategies = {{entry().help.name, entry().test_parameters}};
    if (entry().make_network == nullptr) options.ema_decay = 0.9;
    options.seed = 11;
    options.batch_size = 8;
    return options;
  }

  std::vector<HeadKind> Heads() const {
    if (entry().per_task_heads) return {HeadKind::kPerTask};
    return {HeadKind::kGrowing, HeadKind::kFixed, HeadKind::kPerTask};
  }

  // Plain SGD, which sums up paths in its kernel; momentum, whose update is observed; and moments.
  static std::vector<OptimizerOptions> Optimizers() {
    std::vector<OptimizerOptions> optimizers(4);
    for (OptimizerOptions& optimizer : optimizers) {
      optimizer.learning_rate = 0.05;
      optimizer.schedule.kind = ScheduleKind::kStep;
    }
    optimizers[1].momentum = 0.9;
    optimizers[2].kind = OptimizerKind::kAdam;
    optimizers[2].learning_rate = 0.01;
    optimizers[3].clip_norm = 1;  // the gradient is written
    return optimizers;
  }
};

// The bytes without examples_seen and the draws of the generator.
std::string WithoutProgress(const std::string& tensors) {
  const auto reader = StateReader::Open(tensors);
  EXPECT_TRUE(reader.ok()) << reader.status();
  const std::string seen = *reader->GetText("examples_seen");
  std::string rest = absl::StrReplaceAll(
      tensors, {{absl::StrCat("\"examples_seen\":\"", seen, "\""), "\"examples_seen\":\"\""}});
  const std::vector<uint64_t> words = *reader->GetUnsigned("generator");
  const std::string drawn(reinterpret_cast<const char*>(words.data()), 8 * words.size());
  return absl::StrReplaceAll(rest, {{drawn, std::string(drawn.size(), '\0')}});
}

TEST_P(UpdateNormContractTest, AStepBeyondItLeavesNothingBehind) {
  if (entry().own_update) return;
  for (const HeadKind head : Heads()) {
    for (const OptimizerOptions& optimizer : Optimizers()) {
      ModelOptions options = Options(head, optimizer);
      auto free = MakeLearner(options);
      ASSERT_TRUE(free.ok()) << free.status();
      TinyStream stream(1);
      ASSERT_TRUE(LearnTask(free->get(), &stream, 0, 10).ok());
      for (int i = 0; i < 5; ++i) ASSERT_TRUE((*free)->Train(stream.Next(1, 8).View()).ok());
      const WholeState middle = SaveWhole(**free);

      options.max_update_norm = kNothing;
      auto capped = MakeLearner(options);
      ASSERT_TRUE(capped.ok()) << capped.status();
      ASSERT_TRUE((*capped)->Restore(middle.saved, middle.payloads).ok());
      const std::vector<float> scores = Probe(**(*capped)->TakeSnapshot(1), 1);
      // What keeps a part of the network for each task lays it out at the first batch after a
      // restore, whether a step follows or not.
      WholeState before = middle;
      for (int step = 0; step < 3; ++step) {
        if (step == 1 && entry().per_task_heads) before = SaveWhole(**capped);
        const auto report = (*capped)->Train(stream.Next(1, 8).View());
        ASSERT_TRUE(report.ok()) << report.status();
        if (StepsAtBoundariesOnly(GetParam())) continue;
        EXPECT_TRUE(report->skipped);
        EXPECT_TRUE(absl::StrContains(report->skip_reason, "norm")) << report->skip_reason;
        EXPECT_TRUE(absl::StrContains(report->skip_reason, "exceeds max_update_norm 1e-30"));
      }
      if (StepsAtBoundariesOnly(GetParam())) continue;
      const WholeState after = SaveWhole(**capped);
      EXPECT_EQ(after.saved.members, before.saved.members);
      EXPECT_EQ(Probe(**(*capped)->TakeSnapshot(2), 1), scores);
      EXPECT_TRUE(WithoutProgress(after.saved.tensors) == WithoutProgress(before.saved.tensors))
          << "head " << static_cast<int>(head) << ", optimizer "
          << static_cast<int>(optimizer.kind) << ", momentum " << optimizer.momentum;
    }
  }
}

TEST_P(UpdateNormContractTest, AnAverageIsTakenOfThePlainNetworkOnly) {
  ModelOptions options = Options(Heads()[0], Optimizers()[0]);
  options.ema_decay = 0.9;
  EXPECT_EQ(MakeLearner(options).ok(), entry().make_network == nullptr);
}

TEST_P(UpdateNormContractTest, BelowItNothingIsOtherwise) {
  if (entry().own_update) return;
  for (const OptimizerOptions& optimizer : Optimizers()) {
    ModelOptions options = Options(Heads()[0], optimizer);
    auto free = MakeLearner(options);
    options.max_update_norm = 1e9;
    auto capped = MakeLearner(options);
    ASSERT_TRUE(free.ok() && capped.ok()) << free.status() << capped.status();
    for (Learner* learner : {free->get(), capped->get()}) {
      TinyStream stream(1);
      for (int32_t task = 0; task < kTinyTasks; ++task) {
        ASSERT_TRUE(LearnTask(learner, &stream, task, 5).ok());
      }
    }
    EXPECT_TRUE(SameState(SaveWhole(**free), SaveWhole(**capped)));
  }
}

TEST_P(UpdateNormContractTest, WhatTakesNoSuchStepRefusesIt) {
  ModelOptions options = Options(Heads()[0], Optimizers()[0]);
  options.max_update_norm = 1;
  const absl::Status made = MakeLearner(options).status();
  if (!entry().own_update) {
    EXPECT_TRUE(made.ok()) << made;
    return;
  }
  EXPECT_EQ(made.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(absl::StrContains(made.message(),
                                absl::StrCat("max_update_norm: strategy ", GetParam())))
      << made;
}

INSTANTIATE_TEST_SUITE_P(Registry, UpdateNormContractTest, testing::ValuesIn(Names()),
                         [](const testing::TestParamInfo<std::string>& test) {
                           return test.param;
                         });

}  // namespace
}  // namespace engram::strategies
