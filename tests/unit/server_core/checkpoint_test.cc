// Checkpoints: on request and by themselves, versions served from them, retention, trim, payloads.
#include "server/checkpoint_keeper.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <future>

#include "server/errors.h"
#include "tests/testing/server/model_bench.h"

namespace engram::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::MakeExamples;
using testing::MakeSpec;
using testing::ModelBench;

std::vector<uint64_t> Applied(ModelBench* bench) {
  std::vector<uint64_t> applied;
  const auto rows = bench->model().ListCheckpoints();
  for (const auto& row : *rows) applied.push_back(row.applied_sequence());
  return applied;
}

TEST(CheckpointTest, HoldsExactlyWhatIsAppliedWhateverIsStaged) {
  ModelBench bench;
  bench.LearnNow(MakeExamples(5));
  const v1::Checkpoint checkpoint = bench.CheckpointNow("mine");
  EXPECT_EQ(checkpoint.applied_sequence(), 3);
  EXPECT_EQ(checkpoint.label(), "mine");
  EXPECT_FALSE(checkpoint.automatic());
  EXPECT_EQ(checkpoint.compute(), "fake");
  EXPECT_EQ(checkpoint.current_task(), "task-1");
  EXPECT_EQ(bench.model().GetCheckpoint("mine")->id(), checkpoint.id());
  EXPECT_GT(bench.model().statistics().last_checkpoint_bytes, 0);
}

TEST(CheckpointTest, MayWaitForASequence) {
  ModelBench bench;
  v1::CreateCheckpointRequest request;
  request.set_min_applied_sequence(6);
  absl::optional<absl::StatusOr<v1::Checkpoint>> answer;
  bench.model().CreateCheckpoint(request, [&](absl::StatusOr<v1::Checkpoint> checkpoint) {
    answer = std::move(checkpoint);
  });
  bench.LearnNow(MakeExamples(3));
  bench.Settle();
  EXPECT_FALSE(answer.has_value());
  bench.LearnNow(MakeExamples(3));
  bench.Settle();
  ASSERT_TRUE(answer.has_value());
  EXPECT_EQ((*answer)->applied_sequence(), 6);
}

TEST(CheckpointTest, LabelsAreNamesAndUnique) {
  ModelBench bench;
  bench.CheckpointNow("a");
  const auto again = bench.Checkpoint("a");
  bench.Settle();
  EXPECT_TRUE(absl::IsAlreadyExists((*again)->status()));
  EXPECT_TRUE(absl::IsInvalidArgument((*bench.Checkpoint("../a"))->status()));
}

TEST(CheckpointTest, ComesByItselfAtBoundariesAndEverySoManyExamples) {
  v1::ModelSpec spec = MakeSpec();
  spec.set_checkpoint_every_examples(6);
  ModelBench bench(spec);
  for (int i = 0; i < 4; ++i) {
    bench.LearnNow(MakeExamples(3));
    bench.Settle();
  }
  EXPECT_THAT(Applied(&bench), ElementsAre(12, 6));
  bench.LearnNow(MakeExamples(1));
  bench.BoundaryNow();
  bench.Settle();
  EXPECT_THAT(Applied(&bench), ElementsAre(14, 12, 6));
  EXPECT_TRUE((*bench.model().ListCheckpoints())[0].automatic());
}

TEST(CheckpointTest, KeepsTheNewestAutomaticOnesAndAllNamedOnes) {
  v1::ModelSpec spec = MakeSpec();
  spec.set_checkpoint_every_examples(3);
  spec.set_keep_automatic_checkpoints(2);
  ModelBench bench(spec);
  bench.LearnNow(MakeExamples(1));
  bench.Settle();
  bench.CheckpointNow("named");
  for (int i = 0; i < 5; ++i) {
    bench.LearnNow(MakeExamples(3));
    bench.Settle();
  }
  EXPECT_THAT(Applied(&bench), ElementsAre(15, 12, 0));
}

TEST(CheckpointTest, TheStoresLimitRefusesAndTouchesNothing) {
  ModelBench bench;
  bench.LearnNow(MakeExamples(3));
  for (int i = 0; i < 64; ++i) bench.CheckpointNow(absl::StrCat("c", i));
  const auto refused = bench.Checkpoint("one-too-many");
  bench.Settle();
  EXPECT_TRUE(absl::IsResourceExhausted((*refused)->status()));
  EXPECT_EQ(RetryDelay((*refused)->status()), std::chrono::milliseconds(0));  // waiting is no help
  EXPECT_EQ(bench.model().ListCheckpoints()->size(), 64);
}

TEST(CheckpointTest, TheOnlyValidOneIsNotDeleted) {
  ModelBench bench;
  bench.LearnNow(MakeExamples(3));
  const std::string id = bench.CheckpointNow().id();
  const absl::Status refused = bench.model().DeleteCheckpoint(id);
  EXPECT_TRUE(absl::IsFailedPrecondition(refused));
  EXPECT_THAT(std::string(refused.message()), HasSubstr("only valid checkpoint"));
  bench.LearnNow(MakeExamples(3));
  bench.CheckpointNow();
  EXPECT_TRUE(bench.model().DeleteCheckpoint(id).ok());
  EXPECT_TRUE(absl::IsNotFound(bench.model().GetCheckpoint(id).status()));
}

// A rollback's record would name it, and a restart not find it.
TEST(CheckpointTest, OneThatIsBeingDeletedIsNotPinned) {
  ModelBench bench;
  bench.CheckpointNow("going");
  bench.LearnNow(MakeExamples(3));
  bench.CheckpointNow("staying");
  ModelContext context;
  context.uid = bench.uid();
  context.store = &bench.store();
  CheckpointKeeper keeper(&context);
  std::future<absl::Status> pinned;
  bench.store().WhileDeleting([&] {
    pinned = std::async(std::launch::async, [&] { return keeper.FindAndPin("going").status(); });
    pinned.wait_for(std::chrono::milliseconds(200));
  });
  EXPECT_TRUE(keeper.Delete("going").ok());
  EXPECT_TRUE(absl::IsNotFound(pinned.get()));
  bench.store().WhileDeleting([] {});
  ASSERT_TRUE(keeper.FindAndPin("staying").ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(keeper.Delete("staying")));
}

TEST(CheckpointTest, ACheckpointThatTheTrimmedLogNeedsIsNotDeleted) {
  ModelBench bench;
  bench.LearnNow(MakeExamples(3));
  bench.CheckpointNow("old");
  bench.LearnNow(MakeExamples(3));
  const std::string newest = bench.CheckpointNow("new").id();
  ASSERT_TRUE(bench.store().log().Trim(bench.uid(), 6).ok());
  EXPECT_TRUE(absl::IsFailedPrecondition(bench.model().DeleteCheckpoint(newest)));
  EXPECT_TRUE(bench.model().DeleteCheckpoint("old").ok());
}

TEST(CheckpointTest, TheLogIsTrimmedBehindTheNewestOnceItIsOldEnough) {
  ModelBench bench;
  bench.retention().set_log_seconds(60);
  bench.retention().set_log_bytes(1);
  bench.Restart();
  bench.LearnNow(MakeExamples(3));
  bench.CheckpointNow();
  EXPECT_EQ(bench.store().log().TrimMark(bench.uid()), 0);  // young
  bench.clock().Advance(absl::Seconds(61));
  bench.LearnNow(MakeExamples(4));
  bench.CheckpointNow();
  EXPECT_EQ(bench.store().log().TrimMark(bench.uid()), 3);
  bench.clock().Advance(absl::Seconds(61));
  bench.LearnNow(MakeExamples(1));
  bench.CheckpointNow();  // at 6: the records behind it are old, but two of them are not applied
  EXPECT_LE(bench.store().log().TrimMark(bench.uid()), 6);
  const uint64_t digest = bench.learner().digest();
  bench.Restart();
  EXPECT_EQ(bench.learner().digest(), digest);
}

TEST(CheckpointTest, PayloadsLiveWhileACheckpointNamesThem) {
  ModelBench bench;
  bench.LearnNow(MakeExamples(12));  // sequences 4, 8 and 12 are exemplars
  bench.CheckpointNow("a");
  EXPECT_EQ(bench.store().episodic().Keys(bench.uid())->size(), 3);
  bench.LearnNow(MakeExamples(60));  // 16 ... 72: the memory of eight has forgotten the first ones
  bench.CheckpointNow("b");
  EXPECT_EQ(bench.store().episodic().Keys(bench.uid())->size(), 11);
  ASSERT_TRUE(bench.model().DeleteCheckpoint("a").ok());
  bench.Settle();
  EXPECT_EQ(bench.store().episodic().Keys(bench.uid())->size(), 8);
  const uint64_t digest = bench.learner().digest();
  bench.Restart();
  EXPECT_EQ(bench.learner().digest(), digest);
}

TEST(CheckpointTest, PayloadsOfASavedButUnwrittenCheckpointAreNotSwept) {
  ModelBench bench;
  bench.LearnNow(MakeExamples(12));
  bench.CheckpointNow("a");
  bench.LearnNow(MakeExamples(3));
  bench.Settle();
  const auto saved = bench.Checkpoint("c");
  bench.model().RunOnce();  // saved: 4, 8 and 12 are durable, so they are not in it
  bench.CheckpointNow("b");
  ASSERT_TRUE(bench.model().DeleteCheckpoint("a").ok());
  bench.Settle();
  ASSERT_TRUE((*saved)->ok());
  ASSERT_TRUE(bench.model().DeleteCheckpoint("b").ok());
  bench.Settle();
  bench.Restart();
  EXPECT_EQ(bench.model().Describe().state(), v1::Model::SERVING);
  EXPECT_EQ(bench.store().episodic().Keys(bench.uid())->size(), 3);
}

TEST(CheckpointTest, AKeptVersionCanStillPredict) {
  ModelBench bench;
  bench.LearnNow(MakeExamples(3, 1));
  bench.CheckpointNow();
  bench.LearnNow(MakeExamples(3, 2));
  bench.Settle();
  const auto old = bench.model().Version(3);
  ASSERT_TRUE(old.ok()) << old.status();
  EXPECT_EQ(old->version(), 3);
  EXPECT_EQ(old->snapshot->class_count(), 1);
  EXPECT_EQ(old->view->labels.size(), 1);
  EXPECT_EQ(bench.model().Version(3)->snapshot, old->snapshot);  // cached
  EXPECT_EQ(bench.model().Version(0)->version(), 6);
  EXPECT_EQ(bench.model().Version(6)->version(), 6);
  const absl::Status unknown = bench.model().Version(5).status();
  EXPECT_TRUE(absl::IsNotFound(unknown));
  EXPECT_THAT(std::string(unknown.message()), HasSubstr("6 (live), 3"));
}

}  // namespace
}  // namespace engram::server
