#include "server/stream_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "server/lineage.h"
#include "server/sequence_hash.h"
#include "server/spec_options.h"
#include "tests/testing/server/model_bench.h"

namespace engram::server {
namespace {

using testing::MakeSpec;

v1::Label Number(int64_t number) {
  v1::Label label;
  label.set_number(number);
  return label;
}

v1::Label Text(const std::string& text) {
  v1::Label label;
  label.set_text(text);
  return label;
}

StreamState Fresh(v1::ModelSpec spec = MakeSpec()) {
  return StreamState::Fresh(*CompleteSpec(std::move(spec)));
}

internal::BoundaryRecord Next(const std::string& task) {
  internal::BoundaryRecord record;
  record.set_next_task(task);
  return record;
}

TEST(StreamStateTest, LabelsGetClassesInTheOrderTheyAreTrainedOn) {
  StreamState state = Fresh();
  EXPECT_EQ(state.ApplyExample(Number(7), "", false).class_index, 0);
  EXPECT_EQ(state.ApplyExample(Number(3), "", false).class_index, 1);
  EXPECT_EQ(state.ApplyExample(Number(7), "", false).class_index, 0);
  EXPECT_EQ(state.proto().train_examples(), 3);
}

TEST(StreamStateTest, HeldOutLabelsCreateNoClass) {
  StreamState state = Fresh();
  EXPECT_EQ(state.ApplyExample(Number(9), "", true).class_index, -1);
  EXPECT_EQ(state.FindClass(Number(9)), -1);
  EXPECT_EQ(state.ApplyExample(Number(3), "", false).class_index, 0);
  EXPECT_EQ(state.proto().train_examples(), 1);
}

TEST(StreamStateTest, LabelsOfTheSpecHaveClassesFromTheStart) {
  v1::ModelSpec spec = MakeSpec();
  *spec.add_labels() = Text("cat");
  *spec.add_labels() = Text("dog");
  StreamState state = Fresh(spec);
  EXPECT_EQ(state.FindClass(Text("dog")), 1);
  EXPECT_EQ(state.ApplyExample(Text("eel"), "", false).class_index, 2);
}

TEST(StreamStateTest, TasksGetColumnsInFirstSeenOrderAlsoFromHeldOutRows) {
  StreamState state = Fresh();
  EXPECT_EQ(state.ApplyExample(Number(1), "later", true).task, 1);
  EXPECT_EQ(state.ApplyExample(Number(1), "", false).task, 0);
  const auto role = state.ApplyBoundary(Next("other"));
  EXPECT_EQ(role.ended_task, 0);
  EXPECT_EQ(role.next_task, 2);
  EXPECT_EQ(state.ApplyExample(Number(1), "", false).task, 2);
  EXPECT_EQ(state.current_task().name(), "other");
}

TEST(StreamStateTest, ABoundaryMayReturnToATaskSeenBefore) {
  StreamState state = Fresh();
  state.ApplyExample(Number(1), "", false);
  state.ApplyBoundary(Next("b"));
  state.ApplyExample(Number(1), "", false);
  EXPECT_EQ(state.ApplyBoundary(Next("task-1")).next_task, 0);
  EXPECT_EQ(state.proto().examples_in_current_task(), 0);
  EXPECT_EQ(state.proto().tasks_size(), 2);
}

TEST(StreamStateTest, UnnamedTasksAreCounted) {
  StreamState state = Fresh();
  EXPECT_EQ(state.current_task().name(), "task-1");
  EXPECT_EQ(state.DefaultNextTask(), "task-2");
  state.ApplyBoundary(Next("x"));
  EXPECT_EQ(state.DefaultNextTask(), "task-3");
}

TEST(StreamStateTest, ParsedStateGoesOnAsTheOriginalDoes) {
  StreamState state = Fresh();
  state.ApplyExample(Number(5), "", false);
  state.ApplyExample(Number(6), "future", true);
  state.ApplyBoundary(Next("b"));
  auto parsed = StreamState::Parse(state.proto().SerializeAsString());
  ASSERT_TRUE(parsed.ok());
  for (StreamState* each : {&state, &*parsed}) {
    each->ApplyExample(Number(6), "", false);
    each->ApplyExample(Number(5), "future", false);
  }
  EXPECT_EQ(state.proto().SerializeAsString(), parsed->proto().SerializeAsString());
}

TEST(StreamStateTest, DamagedStateIsDataLoss) {
  EXPECT_TRUE(absl::IsDataLoss(StreamState::Parse("\xff\xff").status()));
  EXPECT_TRUE(absl::IsDataLoss(StreamState::Parse("").status()));
}

TEST(StreamStateTest, UnreadableRecordsAreDataLossNamingTheSequence) {
  StreamState state = Fresh();
  const std::string before = state.proto().SerializeAsString();
  for (int kind : {1, 2, 4, 5}) {
    const absl::Status status = state.Apply(static_cast<RecordKind>(kind), "\xff\xff", 17);
    EXPECT_TRUE(absl::IsDataLoss(status));
    EXPECT_THAT(std::string(status.message()), ::testing::HasSubstr("17"));
  }
  EXPECT_TRUE(absl::IsDataLoss(state.Apply(static_cast<RecordKind>(99), "", 18)));
  EXPECT_TRUE(state.Apply(RecordKind::kFlush, "", 19).ok());
  EXPECT_EQ(state.proto().SerializeAsString(), before);
}

TEST(StreamStateTest, AFixedShareIsHeldOutByNothingButSeedAndSequence) {
  v1::ModelSpec spec = MakeSpec();
  spec.set_held_out_fraction(0.1);
  const StreamState state = Fresh(spec);
  const StreamState same = Fresh(spec);
  spec.set_seed(8);
  const StreamState other = Fresh(spec);
  int held_out = 0;
  int differing = 0;
  for (uint64_t sequence = 1; sequence <= 10000; ++sequence) {
    held_out += state.IsHeldOut(v1::TRAIN, sequence);
    EXPECT_EQ(state.IsHeldOut(v1::TRAIN, sequence), same.IsHeldOut(v1::TRAIN, sequence));
    differing += state.IsHeldOut(v1::TRAIN, sequence) != other.IsHeldOut(v1::TRAIN, sequence);
    EXPECT_TRUE(state.IsHeldOut(v1::HELD_OUT, sequence));
  }
  EXPECT_NEAR(held_out, 1000, 120);
  EXPECT_GT(differing, 1000);
}

TEST(StreamStateTest, RollbackBringsClassesAndCountsBackButKeepsColumns) {
  StreamState state = Fresh();
  state.ApplyExample(Number(5), "", false);
  const StreamState checkpoint = state;
  state.ApplyExample(Number(6), "", false);
  state.ApplyBoundary(Next("b"));
  state.ApplyExample(Number(7), "", false);
  const StreamState after = state.RolledBackTo(checkpoint, 1, 5);
  EXPECT_EQ(after.proto().labels_size(), 1);
  EXPECT_EQ(after.current_task().name(), "task-1");
  EXPECT_EQ(after.proto().train_examples(), 1);
  ASSERT_EQ(after.proto().tasks_size(), 2);
  EXPECT_EQ(after.proto().tasks(1).name(), "b");
  EXPECT_EQ(after.proto().tasks(1).train_examples(), 0);
  ASSERT_EQ(after.proto().rewinds_size(), 1);
  EXPECT_EQ(after.proto().rewinds(0).record(), 5);
}

Rewinds MakeRewinds(std::vector<std::array<int64_t, 3>> rows) {
  Rewinds rewinds;
  for (const auto& row : rows) {
    auto* rewind = rewinds.Add();
    rewind->set_record(row[0]);
    rewind->set_restored(row[1]);
    rewind->set_train_examples(row[2]);
  }
  return rewinds;
}

TEST(LineageTest, EverythingStandsWithoutRollbacks) { EXPECT_EQ(UndoneBy({}, 12), 0); }

TEST(LineageTest, OneRollbackUndoesWhatLiesBetween) {
  const Rewinds rewinds = MakeRewinds({{100, 40, 40}});
  EXPECT_EQ(UndoneBy(rewinds, 40), 0);
  EXPECT_EQ(UndoneBy(rewinds, 41), 100);
  EXPECT_EQ(UndoneBy(rewinds, 99), 100);
  EXPECT_EQ(UndoneBy(rewinds, 101), 0);
}

TEST(LineageTest, ARollbackOfARollbackBringsTheBranchBack) {
  // 100 went back to 40; 150 went on from a checkpoint at 80, on the branch that 100 had left.
  const Rewinds rewinds = MakeRewinds({{100, 40, 40}, {150, 80, 80}});
  EXPECT_EQ(UndoneBy(rewinds, 60), 0);
  EXPECT_EQ(UndoneBy(rewinds, 90), 100);
  EXPECT_EQ(UndoneBy(rewinds, 120), 150);
  EXPECT_EQ(UndoneBy(rewinds, 151), 0);
}

TEST(LineageTest, TheRollbackThatUndidARecordKeepsTheBlame) {
  const Rewinds rewinds = MakeRewinds({{100, 40, 40}, {120, 40, 40}});
  EXPECT_EQ(UndoneBy(rewinds, 60), 100);
  EXPECT_EQ(UndoneBy(rewinds, 110), 120);
  // Undone by 100, brought back by 150, undone again by 160.
  EXPECT_EQ(UndoneBy(MakeRewinds({{100, 40, 40}, {150, 80, 80}, {160, 50, 50}}), 60), 160);
}

TEST(LineageTest, DropsAreCountedOnTheSameLine) {
  EXPECT_EQ(DroppedBy({}, 90, 40, 38), 52);
  EXPECT_EQ(DroppedBy(MakeRewinds({{100, 40, 40}}), 60, 110, 49), 11);
}

TEST(LineageTest, DropsTowardsALeftBranchCountFromTheFork) {
  // The present line is 1-40 and 101-110 (50 learned); the target, at 80, learned 1-80.
  EXPECT_EQ(DroppedBy(MakeRewinds({{100, 40, 40}}), 50, 80, 80), 10);
  // Target on a branch that forks off before the present line's own fork.
  const Rewinds rewinds = MakeRewinds({{101, 50, 50}, {130, 80, 80}});
  EXPECT_EQ(DroppedBy(rewinds, 85, 120, 69), 35);
}

TEST(SequenceHashTest, PurposesAreIndependent) {
  std::set<uint64_t> seen;
  for (uint64_t sequence = 0; sequence < 1000; ++sequence) {
    for (uint64_t purpose : {1, 2, 3}) seen.insert(SequenceHash(5, purpose, sequence));
  }
  EXPECT_EQ(seen.size(), 3000);
}

}  // namespace
}  // namespace engram::server
