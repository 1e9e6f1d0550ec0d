// What every strategy of the registry must keep, under every kind of head, alone and composed.
// A new line in the registry's table is tested here without a line of its own.
#include <algorithm>
#include <cmath>
#include <limits>
#include <memory>
#include <numeric>
#include <string>
#include <tuple>
#include <utility>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "gtest/gtest.h"
#include "strategies/api/compute.h"
#include "strategies/api/learner.h"
#include "strategies/core/registry.h"
#include "strategies/memory/exemplar_payload.h"
#include "tests/contract/tiny_stream.h"

namespace engram::strategies {
namespace {

struct Composition {
  std::string name;
  std::vector<StrategySpec> specs;
};

StrategySpec TestSpec(const StrategyEntry& entry) {
  StrategySpec spec;
  spec.name = entry.help.name;
  spec.parameters = entry.test_parameters;
  return spec;
}

// Each entry of the table, and the composition that issue and house name.
std::vector<Composition> Compositions() {
  std::vector<Composition> compositions;
  Composition replay_and_ewc{"replay_and_ewc", {}};
  for (const StrategyEntry& entry : StrategyTable()) {
    compositions.push_back({entry.help.name, {TestSpec(entry)}});
    if (entry.help.name == "experience_replay" || entry.help.name == "ewc") {
      replay_and_ewc.specs.push_back(TestSpec(entry));
    }
  }
  compositions.push_back(std::move(replay_and_ewc));
  return compositions;
}

// Under every kind of head that the entries take.
std::vector<std::tuple<Composition, HeadKind>> Cases() {
  std::vector<std::tuple<Composition, HeadKind>> cases;
  for (const Composition& composition : Compositions()) {
    const bool per_task_only =
        std::any_of(composition.specs.begin(), composition.specs.end(), [](const auto& spec) {
          return (*FindStrategy(spec.name))->per_task_heads;
        });
    for (const HeadKind head : {HeadKind::kGrowing, HeadKind::kFixed, HeadKind::kPerTask}) {
      if (head == HeadKind::kPerTask || !per_task_only) cases.emplace_back(composition, head);
    }
  }
  return cases;
}

std::string HeadName(HeadKind kind) {
  return kind == HeadKind::kGrowing ? "growing" : kind == HeadKind::kFixed ? "fixed" : "per_task";
}

class LearnerContractTest : public testing::TestWithParam<std::tuple<Composition, HeadKind>> {
 protected:
  static void SetUpTestSuite() {
    SetComputeThreads(1);
    EnterComputeThread();
  }

  ModelOptions Options(OptimizerKind optimizer = OptimizerKind::kSgd) const {
    ModelOptions options;
    options.feature_count = kTinyFeatures;
    options.hidden = {16, 8};
    options.head.kind = std::get<1>(GetParam());
    if (options.head.kind == HeadKind::kFixed) options.head.head_classes = kTinyClasses;
    options.head.max_classes = 2 * kTinyClasses;
    options.optimizer.kind = optimizer;
    options.optimizer.learning_rate = optimizer == OptimizerKind::kSgd ? 0.1 : 0.01;
    options.strategies = std::get<0>(GetParam()).specs;
    options.seed = 11;
    options.batch_size = 8;
    return options;
  }

  std::unique_ptr<Learner> Make(const ModelOptions& options) const {
    auto learner = MakeLearner(options);
    EXPECT_TRUE(learner.ok()) << learner.status();
    return std::move(learner).value();
  }
  std::unique_ptr<Learner> Make() const { return Make(Options()); }

  // The views that every strategy of the list can train.
  AugmentationOptions Views() const {
    AugmentationOptions views;
    bool all = true;
    for (const StrategySpec& spec : std::get<0>(GetParam()).specs) {
      const AugmentationSupport support = (*FindStrategy(spec.name))->augmentation;
      if (support == AugmentationSupport::kNone) return {};
      all = all && support == AugmentationSupport::kAll;
    }
    views.height = 2;
    views.width = 3;
    views.flip_horizontal = true;
    views.crop_padding = 1;
    views.rotate_degrees = 10;
    views.noise = 0.1;
    if (all) views.mixup_alpha = views.cutmix_alpha = 0.5;
    return views;
  }

  // Saves in the middle of a task and continues from there, beside one that was not interrupted.
  void ExpectSameAfterRestore(const ModelOptions& options) const {
    auto original = Make(options);
    TinyStream stream(1);
    ASSERT_TRUE(LearnTask(original.get(), &stream, 0, 10).ok());
    for (int step = 0; step < 5; ++step) {
      ASSERT_TRUE(original->Train(stream.Next(1, 8).View()).ok());
    }
    const WholeState middle = SaveWhole(*original);

    auto restored = Make(options);
    TinyStream elsewhere(5);  // what it learned before is replaced
    ASSERT_TRUE(LearnTask(restored.get(), &elsewhere, 0, 3).ok());
    const absl::Status status = restored->Restore(middle.saved, middle.payloads);
    ASSERT_TRUE(status.ok()) << status;
    EXPECT_TRUE(SameState(middle, SaveWhole(*restored)));

    TinyStream same_stream = stream;
    for (int32_t task = 1; task < kTinyTasks; ++task) {
      ASSERT_TRUE(LearnTask(original.get(), &stream, task, 10).ok());
      ASSERT_TRUE(LearnTask(restored.get(), &same_stream, task, 10).ok());
    }
    EXPECT_TRUE(SameState(SaveWhole(*original), SaveWhole(*restored)));
    EXPECT_EQ(Probe(*Take(original.get(), 7), 1), Probe(*Take(restored.get(), 7), 1));
  }

  std::shared_ptr<const Snapshot> Take(Learner* learner, uint64_t version) const {
    auto snapshot = learner->TakeSnapshot(version);
    EXPECT_TRUE(snapshot.ok()) << snapshot.status();
    return std::move(snapshot).value();
  }

  // Correct share of the probe rows of a task.
  double Accuracy(Learner* learner, int32_t task) const {
    const auto snapshot = Take(learner, 1);
    const std::vector<float> scores = Probe(*snapshot, task);
    TinyStream stream(99);
    const TinyBatch batch = stream.Next(task, 64);
    const int64_t columns = snapshot->class_count();
    int64_t correct = 0;
    for (int64_t row = 0; row < batch.rows(); ++row) {
      const auto* begin = scores.data() + row * columns;
      correct += std::max_element(begin, begin + columns) - begin == batch.classes[row] ? 1 : 0;
    }
    return static_cast<double>(correct) / static_cast<double>(batch.rows());
  }

  void ExpectFinite(Learner* learner, int32_t task) const {
    for (const float score : Probe(*Take(learner, 1), task)) ASSERT_TRUE(std::isfinite(score));
  }

  // What the specs allow a memory and the consolidation reservoir to hold.
  int64_t DeclaredExemplars() const {
    int64_t replayed = 0, consolidated = 0;
    for (const StrategySpec& spec : std::get<0>(GetParam()).specs) {
      const auto resolved = StrategyParameters::Resolve((*FindStrategy(spec.name))->help, spec);
      EXPECT_TRUE(resolved.ok()) << resolved.status();
      const auto& values = resolved->values();
      if (values.contains("memory_size")) replayed += resolved->Integer("memory_size");
      if (values.contains("memory_per_task")) {
        replayed += resolved->Integer("memory_per_task") * resolved->Integer("tasks_max");
      }
      for (const auto& [name, value] : values) {
        if (absl::EndsWith(name, "_examples") || name == "candidates") {
          consolidated = std::max(consolidated, absl::get<int64_t>(value));
        }
      }
    }
    return replayed + consolidated;
  }
};

TEST_P(LearnerContractTest, LeavesItsInputsUntouched) {
  auto learner = Make();
  TinyStream stream(1);
  ASSERT_TRUE(LearnTask(learner.get(), &stream, 0, 5).ok());
  const TinyBatch batch = stream.Next(1, 8);
  const TinyBatch copy = batch;
  ASSERT_TRUE(learner->Train(batch.View()).ok());
  EXPECT_EQ(batch.features, copy.features);
  EXPECT_EQ(batch.classes, copy.classes);
  EXPECT_EQ(batch.tasks, copy.tasks);
  EXPECT_EQ(batch.sequences, copy.sequences);
}

TEST_P(LearnerContractTest, EqualSeedsAndCallsGiveEqualBits) {
  auto first = Make();
  auto second = Make();
  ModelOptions other_seed = Options();
  other_seed.seed = 12;
  auto third = Make(other_seed);
  for (Learner* learner : {first.get(), second.get(), third.get()}) {
    TinyStream stream(1);
    for (int32_t task = 0; task < kTinyTasks; ++task) {
      ASSERT_TRUE(LearnTask(learner, &stream, task, 10).ok());
    }
  }
  EXPECT_TRUE(SameState(SaveWhole(*first), SaveWhole(*second)));
  EXPECT_FALSE(SameState(SaveWhole(*first), SaveWhole(*third)));
}

TEST_P(LearnerContractTest, ARestoredLearnerContinuesBitForBit) {
  for (const OptimizerKind optimizer :
       {OptimizerKind::kSgd, OptimizerKind::kAdam, OptimizerKind::kAdamW}) {
    ExpectSameAfterRestore(Options(optimizer));
  }
}

TEST_P(LearnerContractTest, SoItDoesWhereRowsAreAugmented) {
  ModelOptions options = Options();
  options.augmentation = Views();
  if (options.augmentation.any()) ExpectSameAfterRestore(options);
}

TEST_P(LearnerContractTest, ASenderHasItsShareOfTheMemoriesAtMost) {
  ModelOptions options = Options();
  options.max_sender_share = 0.25;
  ExpectSameAfterRestore(options);
  auto learner = Make(options);
  TinyStream stream(1);
  for (int32_t task = 0; task < kTinyTasks; ++task) {
    ASSERT_TRUE(LearnTask(learner.get(), &stream, task, 40).ok());
    for (int i = 0; i < 2; ++i) ASSERT_TRUE(learner->Train(stream.Next(task, 8).View()).ok());
    int64_t flooded = 0, others = 0;
    for (const MemberPayload& payload : SaveWhole(*learner).payloads) {
      const auto exemplar = DecodeExemplar(payload.bytes, kTinyFeatures);
      ASSERT_TRUE(exemplar.ok() && exemplar->sender.has_value()) << exemplar.status();
      (*exemplar->sender == kTinyFlooder ? flooded : others) += 1;
    }
    EXPECT_LE(flooded, DeclaredExemplars() / 4);
    EXPECT_EQ(others > 0, flooded > 0);
  }
}

TEST_P(LearnerContractTest, WhereSendersAreNotCappedTheyAreNothing) {
  auto named = Make(), nameless = Make();
  TinyStream stream(1);
  for (int step = 0; step < 10; ++step) {
    TinyBatch batch = stream.Next(0, 8);
    ASSERT_TRUE(named->Train(batch.View()).ok());
    batch.senders.clear();
    ASSERT_TRUE(nameless->Train(batch.View()).ok());
  }
  EXPECT_TRUE(SameState(SaveWhole(*named), SaveWhole(*nameless)));
}

TEST_P(LearnerContractTest, ARollbackToAnOlderStateRepeatsHistory) {
  auto learner = Make();
  TinyStream stream(1);
  ASSERT_TRUE(LearnTask(learner.get(), &stream, 0, 10).ok());
  const WholeState old = SaveWhole(*learner);
  TinyStream replayed = stream;
  ASSERT_TRUE(LearnTask(learner.get(), &stream, 1, 10).ok());
  const WholeState later = SaveWhole(*learner);
  ASSERT_TRUE(learner->Restore(old.saved, old.payloads).ok());
  EXPECT_TRUE(SameState(old, SaveWhole(*learner)));
  ASSERT_TRUE(LearnTask(learner.get(), &replayed, 1, 10).ok());
  EXPECT_TRUE(SameState(later, SaveWhole(*learner)));
}

TEST_P(LearnerContractTest, AnOldSnapshotDoesNotChange) {
  auto learner = Make();
  TinyStream stream(1);
  ASSERT_TRUE(LearnTask(learner.get(), &stream, 0, 10).ok());
  const auto snapshot = Take(learner.get(), 81);
  const std::vector<float> before = Probe(*snapshot, 0);
  const int64_t classes_before = snapshot->class_count();
  std::vector<std::shared_ptr<const Snapshot>> later;
  for (int32_t task = 1; task < kTinyTasks; ++task) {
    ASSERT_TRUE(LearnTask(learner.get(), &stream, task, 10).ok());
    later.push_back(Take(learner.get(), 81 + task));
  }
  EXPECT_EQ(snapshot->version(), 81u);
  EXPECT_EQ(snapshot->class_count(), classes_before);
  EXPECT_EQ(Probe(*snapshot, 0), before);
}

TEST_P(LearnerContractTest, AnEmptyBatchIsRefusedAndChangesNothing) {
  auto learner = Make();
  TinyStream stream(1);
  ASSERT_TRUE(LearnTask(learner.get(), &stream, 0, 3).ok());
  const WholeState before = SaveWhole(*learner);
  BatchView empty;
  empty.feature_count = kTinyFeatures;
  EXPECT_EQ(learner->Train(empty).status().code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(SameState(before, SaveWhole(*learner)));
}

TEST_P(LearnerContractTest, LearnsFromOneExampleAtATime) {
  auto learner = Make();
  TinyStream stream(1);
  for (int step = 0; step < 20; ++step) {
    const auto report = learner->Train(stream.Next(0, 1).View());
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_EQ(report->rows, 1);
    EXPECT_FALSE(report->skipped);
  }
  ExpectFinite(learner.get(), 0);
}

TEST_P(LearnerContractTest, LearnsFromASingleClass) {
  auto learner = Make();
  TinyStream stream(1);
  for (int step = 0; step < 10; ++step) {
    const auto report = learner->Train(stream.NextOfClass(0, 1, 8).View());
    ASSERT_TRUE(report.ok()) << report.status();
    EXPECT_FALSE(report->skipped);
  }
  ASSERT_TRUE(learner->MarkBoundary({0, 1, stream.NextSequence()}).ok());
  ASSERT_TRUE(learner->Train(stream.NextOfClass(1, 2, 8).View()).ok());
  ExpectFinite(learner.get(), 1);
}

TEST_P(LearnerContractTest, ALabelNeverSeenBeforeIsLearned) {
  auto learner = Make();
  TinyStream stream(1);
  ASSERT_TRUE(LearnTask(learner.get(), &stream, 0, 10).ok());
  const int64_t before = Take(learner.get(), 1)->class_count();
  const auto report = learner->Train(stream.NextOfClass(1, 3, 8).View());
  ASSERT_TRUE(report.ok()) << report.status();
  if (std::get<1>(GetParam()) != HeadKind::kFixed) {
    EXPECT_EQ(report->correct, 0);  // a class without an output counts as wrong
    EXPECT_GT(Take(learner.get(), 2)->class_count(), before);
  }
  ExpectFinite(learner.get(), 1);
}

TEST_P(LearnerContractTest, AClassBeyondTheLimitIsRefusedAndChangesNothing) {
  auto learner = Make();
  TinyStream stream(1);
  ASSERT_TRUE(LearnTask(learner.get(), &stream, 0, 3).ok());
  const WholeState before = SaveWhole(*learner);
  const bool is_fixed = std::get<1>(GetParam()) == HeadKind::kFixed;
  absl::Status refused;
  for (int32_t cls = kTinyClasses; refused.ok() && cls < 3 * kTinyClasses; ++cls) {
    refused = learner->Train(stream.NextOfClass(1, cls, 1).View()).status();
  }
  EXPECT_EQ(refused.code(),
            is_fixed ? absl::StatusCode::kInvalidArgument : absl::StatusCode::kResourceExhausted)
      << refused;
  if (is_fixed) {
    EXPECT_TRUE(SameState(before, SaveWhole(*learner)));
  }
}

TEST_P(LearnerContractTest, NonFiniteValuesNeverReachTheWeights) {
  auto learner = Make();
  TinyStream stream(1);
  ASSERT_TRUE(LearnTask(learner.get(), &stream, 0, 10).ok());
  // A boundary empties the reservoir of the task: some rows of the next one must not be displaced.
  ASSERT_TRUE(learner->Train(stream.Next(0, 8).View()).ok());
  const std::vector<MemberKey> members = SaveWhole(*learner).saved.members;
  for (const float hostile :
       {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
        -std::numeric_limits<float>::infinity()}) {
    TinyBatch batch = stream.Next(0, 8);
    for (float& feature : batch.features) feature = hostile;
    const std::vector<float> before = Probe(*Take(learner.get(), 1), 0);
    const auto report = learner->Train(batch.View());
    EXPECT_TRUE(!report.ok() || (report->skipped && !report->skip_reason.empty())) << hostile;
    EXPECT_EQ(Probe(*Take(learner.get(), 1), 0), before);
    EXPECT_EQ(SaveWhole(*learner).saved.members, members);
  }
  ASSERT_TRUE(LearnTask(learner.get(), &stream, 0, 150).ok());
  EXPECT_GT(Accuracy(learner.get(), 0), 0.75);
}

TEST_P(LearnerContractTest, AbsurdFiniteValuesLeaveTheWeightsFinite) {
  auto learner = Make();
  TinyStream stream(1);
  ASSERT_TRUE(LearnTask(learner.get(), &stream, 0, 10).ok());
  for (const float absurd : {1e6f, 1e20f, std::numeric_limits<float>::max()}) {
    for (int step = 0; step < 5; ++step) {
      TinyBatch batch = stream.Next(0, 8);
      batch.features[3] = absurd;
      batch.features[10] = -absurd;
      ASSERT_TRUE(learner->Train(batch.View()).ok());
    }
    ASSERT_TRUE(learner->MarkBoundary({0, 0, stream.NextSequence()}).ok());
    ASSERT_TRUE(LearnTask(learner.get(), &stream, 0, 5).ok());
    ExpectFinite(learner.get(), 0);
  }
}

TEST_P(LearnerContractTest, ABoundaryWithoutExamplesIsHarmless) {
  auto learner = Make();
  TinyStream stream(1);
  ASSERT_TRUE(LearnTask(learner.get(), &stream, 0, 10).ok());
  const std::vector<float> before = Probe(*Take(learner.get(), 1), 0);
  const auto report = learner->MarkBoundary({1, 2, stream.NextSequence()});
  ASSERT_TRUE(report.ok()) << report.status();
  EXPECT_TRUE(report->importance.empty());
  EXPECT_EQ(Probe(*Take(learner.get(), 2), 0), before);
  ASSERT_TRUE(LearnTask(learner.get(), &stream, 2, 5).ok());
  ExpectFinite(learner.get(), 2);
}

TEST_P(LearnerContractTest, MemoryStaysWithinItsDeclaredBound) {
  auto learner = Make();
  TinyStream stream(1);
  const int64_t bytes_each = 4 * kTinyFeatures + 72;
  size_t tensor_bytes = 0;
  for (int round = 0; round < 4; ++round) {
    for (int32_t task = 0; task < kTinyTasks; ++task) {
      ASSERT_TRUE(LearnTask(learner.get(), &stream, task, 30).ok());
      const LearnerGauges gauges = learner->Gauges();
      const WholeState state = SaveWhole(*learner);
      EXPECT_LE(static_cast<int64_t>(state.saved.members.size()), DeclaredExemplars());
      EXPECT_LE(gauges.episodic_bytes, DeclaredExemplars() * bytes_each);
      if (round == 1) tensor_bytes = std::max(tensor_bytes, state.saved.tensors.size());
      if (round > 1) {
        EXPECT_LE(state.saved.tensors.size(), tensor_bytes + 64);  // digits of counters
      }
    }
  }
}

TEST_P(LearnerContractTest, EveryExemplarHasItsOwnKeyAndReplayIsMemoryZero) {
  auto learner = Make();
  TinyStream stream(1);
  ASSERT_TRUE(LearnTask(learner.get(), &stream, 0, 10).ok());
  ASSERT_TRUE(learner->Train(stream.Next(1, 8).View()).ok());
  const std::vector<MemberKey> members = SaveWhole(*learner).saved.members;
  const absl::flat_hash_set<MemberKey> distinct(members.begin(), members.end());
  EXPECT_EQ(distinct.size(), members.size());
  bool replays = false;
  for (const StrategySpec& spec : std::get<0>(GetParam()).specs) {
    replays = replays || (*FindStrategy(spec.name))->keeps_exemplars;
  }
  int64_t replayed = 0, counted = 0, counted_by_class = 0;
  for (const MemberKey& member : members) replayed += member.memory == 0 ? 1 : 0;
  for (const int64_t count : learner->Gauges().episodic_by_task) counted += count;
  for (const int64_t count : learner->Gauges().episodic_by_class) counted_by_class += count;
  EXPECT_EQ(replays, replayed > 0);
  EXPECT_EQ(replayed, counted);
  EXPECT_EQ(replayed, counted_by_class);
}

TEST_P(LearnerContractTest, OnlyUnknownPayloadsAreSavedAgain) {
  auto learner = Make();
  TinyStream stream(1);
  ASSERT_TRUE(LearnTask(learner.get(), &stream, 0, 10).ok());
  for (int step = 0; step < 3; ++step) {
    ASSERT_TRUE(learner->Train(stream.Next(1, 8).View()).ok());
  }
  const WholeState whole = SaveWhole(*learner);
  const auto again = learner->Save([](const MemberKey& key) { return key.sequence % 2 == 0; });
  ASSERT_TRUE(again.ok()) << again.status();
  EXPECT_EQ(again->members, whole.saved.members);
  size_t odd = 0;
  for (const MemberKey& member : whole.saved.members) odd += member.sequence % 2;
  ASSERT_EQ(again->new_payloads.size(), odd);
  for (const MemberPayload& payload : again->new_payloads) EXPECT_EQ(payload.key.sequence % 2, 1u);
}

TEST_P(LearnerContractTest, ExemplarsWithoutBytesAreLetGo) {
  auto learner = Make();
  TinyStream stream(1);
  ASSERT_TRUE(LearnTask(learner.get(), &stream, 0, 10).ok());
  const TinyBatch batch = stream.Next(1, 8);
  ASSERT_TRUE(learner->Train(batch.View()).ok());
  WholeState whole = SaveWhole(*learner);
  // Every exemplar of the first task, and one of the second.
  std::vector<MemberKey> left;
  for (MemberPayload& payload : whole.payloads) {
    if (payload.key.sequence <= batch.sequences[0]) {
      payload.bytes.clear();
    } else {
      left.push_back(payload.key);
    }
  }
  const absl::Status restored = learner->Restore(whole.saved, whole.payloads);
  ASSERT_TRUE(restored.ok()) << restored;
  const WholeState after = SaveWhole(*learner);
  EXPECT_EQ(after.saved.members, left);
  auto again = Make();
  ASSERT_TRUE(again->Restore(after.saved, after.payloads).ok());
  for (int32_t task = 1; task < kTinyTasks; ++task) {
    ASSERT_TRUE(LearnTask(learner.get(), &stream, task, 5).ok());
    ExpectFinite(learner.get(), task);
  }
}

TEST_P(LearnerContractTest, AStrategyListedTwiceIsRefused) {
  ModelOptions options = Options();
  options.strategies.push_back(options.strategies.front());
  EXPECT_EQ(MakeLearner(options).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_P(LearnerContractTest, IsBetterThanChance) {
  ModelOptions options = Options();
  // Wide, as a drawn layer that stays as it is separates classes only then.
  options.hidden = {64};
  auto learner = Make(options);
  TinyStream stream(1);
  for (int32_t task = 0; task < kTinyTasks; ++task) {
    ASSERT_TRUE(LearnTask(learner.get(), &stream, task, 150).ok());
    EXPECT_GT(Accuracy(learner.get(), task), 0.75) << "task " << task;
  }
}

TEST_P(LearnerContractTest, DamagedStateIsRefusedAndChangesNothing) {
  auto learner = Make();
  TinyStream stream(1);
  ASSERT_TRUE(LearnTask(learner.get(), &stream, 0, 10).ok());
  const WholeState state = SaveWhole(*learner);

  SavedLearner cut = state.saved;
  cut.tensors.resize(cut.tensors.size() - 5);
  EXPECT_EQ(learner->Restore(cut, state.payloads).code(), absl::StatusCode::kDataLoss);
  SavedLearner empty = state.saved;
  empty.tensors.clear();
  EXPECT_EQ(learner->Restore(empty, state.payloads).code(), absl::StatusCode::kDataLoss);
  if (!state.payloads.empty()) {
    std::vector<MemberPayload> damaged = state.payloads;
    damaged.back().bytes.pop_back();
    EXPECT_EQ(learner->Restore(state.saved, damaged).code(), absl::StatusCode::kDataLoss);
    std::vector<MemberPayload> missing = state.payloads;
    missing.pop_back();
    EXPECT_FALSE(learner->Restore(state.saved, missing).ok());
  }
  EXPECT_TRUE(SameState(state, SaveWhole(*learner)));
}

TEST_P(LearnerContractTest, StateOfAnotherArchitectureIsRefusedNamingBoth) {
  auto learner = Make();
  ModelOptions wider = Options();
  wider.hidden = {16, 9};
  auto other = Make(wider);
  TinyStream stream(1);
  ASSERT_TRUE(LearnTask(learner.get(), &stream, 0, 3).ok());
  ASSERT_TRUE(LearnTask(other.get(), &stream, 0, 3).ok());
  const WholeState before = SaveWhole(*learner);
  const WholeState foreign = SaveWhole(*other);
  const absl::Status status = learner->Restore(foreign.saved, foreign.payloads);
  EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "9")) << status;
  EXPECT_TRUE(absl::StrContains(status.message(), "8")) << status;
  EXPECT_TRUE(SameState(before, SaveWhole(*learner)));
}

TEST_P(LearnerContractTest, OnlyLiveParametersMayChange) {
  const ModelOptions options = Options();
  auto learner = Make(options);
  TinyStream stream(1);
  ASSERT_TRUE(LearnTask(learner.get(), &stream, 0, 3).ok());
  for (size_t position = 0; position < options.strategies.size(); ++position) {
    const StrategyHelp& help = (*FindStrategy(options.strategies[position].name))->help;
    for (const ParameterHelp& parameter : help.parameters) {
      if (parameter.kind == ParameterKind::kBool || parameter.kind == ParameterKind::kChoice) {
        continue;
      }
      ModelOptions next = options;
      ParameterValue& value = next.strategies[position].parameters[parameter.name];
      if (parameter.kind == ParameterKind::kInteger) {
        value = static_cast<int64_t>(parameter.min) + 1;
      } else {
        value = 0.75 * parameter.min + 0.25 * std::min(parameter.max, parameter.min + 1);
      }
      const absl::Status status = learner->Reconfigure(next);
      EXPECT_EQ(status.code(),
                parameter.live ? absl::StatusCode::kOk : absl::StatusCode::kInvalidArgument)
          << parameter.name << ": " << status;
      if (parameter.live) {
        ASSERT_TRUE(learner->Reconfigure(options).ok());
      }
    }
  }
  ASSERT_TRUE(LearnTask(learner.get(), &stream, 1, 3).ok());
}

INSTANTIATE_TEST_SUITE_P(Registry, LearnerContractTest, testing::ValuesIn(Cases()),
                         [](const testing::TestParamInfo<std::tuple<Composition, HeadKind>>& test) {
                           return absl::StrCat(std::get<0>(test.param).name, "_",
                                               HeadName(std::get<1>(test.param)));
                         });

}  // namespace
}  // namespace engram::strategies
