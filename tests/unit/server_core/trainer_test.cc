// Cuts, publishing, flushing, waiting, pausing, faults: one model stepped by hand.
#include "server/trainer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "tests/testing/server/model_bench.h"

namespace engram::server {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::MakeExample;
using testing::MakeExamples;
using testing::MakeHeldOut;
using testing::MakeMessage;
using testing::MakeSpec;
using testing::ModelBench;

struct Wait {
  absl::optional<absl::StatusOr<v1::WaitAppliedResponse>> answer;
};

std::shared_ptr<Wait> WaitFor(ModelBench* bench, uint64_t sequence, bool evaluated,
                              absl::Duration patience) {
  auto wait = std::make_shared<Wait>();
  bench->model().WaitApplied(
      sequence, evaluated, bench->clock().Monotonic() + patience,
      [wait](absl::StatusOr<v1::WaitAppliedResponse> answer) { wait->answer = std::move(answer); });
  return wait;
}

TEST(TrainerTest, CutsBatchesOfBatchSizeWhateverTheMessages) {
  ModelBench bench;
  bench.LearnNow(MakeExamples(1));
  bench.LearnNow(MakeExamples(4));
  bench.LearnNow(MakeExamples(2));
  bench.Settle();
  EXPECT_THAT(bench.learner().batch_sizes(), ElementsAre(3, 3));
  EXPECT_EQ(bench.model().Live().version(), 6);  // the seventh waits for its batch
}

TEST(TrainerTest, ABoundaryCutsAPartialBatch) {
  ModelBench bench;
  bench.LearnNow(MakeExamples(4));
  bench.BoundaryNow("b");
  bench.LearnNow(MakeExamples(3));
  bench.Settle();
  EXPECT_THAT(bench.learner().batch_sizes(), ElementsAre(3, 1, 3));
  EXPECT_EQ(bench.model().Live().version(), 8);
  EXPECT_THAT(bench.model().Live().view->tasks, ElementsAre("task-1", "b"));
}

TEST(TrainerTest, HeldOutRowsNeverTrainAndApplyByThemselves) {
  ModelBench bench;
  bench.LearnNow({MakeHeldOut(1), MakeHeldOut(2)});
  bench.Settle();
  EXPECT_EQ(bench.model().Live().version(), 2);
  bench.LearnNow({MakeExample(1), MakeHeldOut(1)});
  bench.Settle();
  EXPECT_EQ(bench.model().Live().version(), 2);  // behind an example that waits
  EXPECT_TRUE(bench.learner().trained().empty());
  bench.LearnNow(MakeExamples(2));
  bench.Settle();
  EXPECT_THAT(bench.learner().trained(), ElementsAre(3, 5, 6));
}

TEST(TrainerTest, APartialBatchThatWaitedIsCutByAFlushRecord) {
  v1::ModelSpec spec = MakeSpec();
  spec.set_max_batch_wait_ms(50);
  ModelBench bench(spec);
  bench.LearnNow(MakeExamples(2));
  bench.Settle();
  EXPECT_EQ(bench.model().Live().version(), 0);
  const Turn turn = bench.model().RunOnce();
  EXPECT_EQ(turn.wake_in, absl::Milliseconds(50));
  bench.clock().Advance(absl::Milliseconds(50));
  bench.Settle();
  EXPECT_THAT(bench.learner().batch_sizes(), ElementsAre(2));
  EXPECT_EQ(bench.model().Live().version(), 3);  // the flush record took a sequence
  bench.clock().Advance(absl::Seconds(1));
  bench.Settle();
  EXPECT_EQ(bench.model().DurableSequence(), 3);  // nothing waits, nothing to flush
}

TEST(TrainerTest, NoFlushWhileMoreIsOnItsWay) {
  v1::ModelSpec spec = MakeSpec();
  spec.set_max_batch_wait_ms(50);
  ModelBench bench(spec);
  bench.LearnNow(MakeExamples(2));
  bench.model().RunOnce();
  bench.clock().Advance(absl::Milliseconds(60));
  bench.Learn(MakeExamples(1));  // given a sequence, not durable yet
  bench.model().RunOnce();
  EXPECT_EQ(bench.store().log().AssignedSequence(bench.uid()), 3);
  bench.Settle();
  EXPECT_THAT(bench.learner().batch_sizes(), ElementsAre(3));
}

TEST(TrainerTest, PublishesEverySoManyStepsAndWheneverItCatchesUp) {
  v1::ModelSpec spec = MakeSpec();
  spec.set_publish_every_steps(2);
  spec.set_batch_size(100);
  ModelBench bench(spec);
  for (int i = 0; i < 9; ++i) bench.Learn(MakeExamples(100));
  bench.store().Commit();
  bench.model().RunOnce();  // 512 examples: five steps, and the log goes on
  EXPECT_EQ(bench.model().Live().version(), 400);
  bench.Settle();
  EXPECT_EQ(bench.model().Live().version(), 900);
}

TEST(TrainerTest, PublishesAfterPublishEveryMs) {
  v1::ModelSpec spec = MakeSpec();
  spec.set_publish_every_steps(1000);
  spec.set_batch_size(100);
  ModelBench bench(spec);
  for (int i = 0; i < 20; ++i) bench.Learn(MakeExamples(100));
  bench.store().Commit();
  bench.model().RunOnce();
  EXPECT_EQ(bench.model().Live().version(), 0);
  bench.clock().Advance(absl::Milliseconds(100));
  bench.model().RunOnce();
  EXPECT_EQ(bench.model().Live().version(), 600);  // the next cut after the time had come
}

TEST(TrainerTest, ClassesAreServedInFirstSeenOrder) {
  ModelBench bench;
  bench.LearnNow({MakeExample(5), MakeExample(2), MakeExample(5)});
  bench.Settle();
  const Served served = bench.model().Live();
  ASSERT_EQ(served.view->labels.size(), 2);
  EXPECT_EQ(served.view->labels[0].number(), 5);
  EXPECT_EQ(served.view->labels[1].number(), 2);
  EXPECT_EQ(served.snapshot->class_count(), 2);
}

TEST(TrainerTest, AServedSnapshotDoesNotChange) {
  ModelBench bench;
  bench.LearnNow(MakeExamples(3, 1));
  bench.Settle();
  const Served old = bench.model().Live();
  bench.LearnNow(MakeExamples(3, 2));
  bench.Settle();
  EXPECT_EQ(old.version(), 3);
  EXPECT_EQ(old.view->labels.size(), 1);
  EXPECT_EQ(old.snapshot->class_count(), 1);
  EXPECT_EQ(bench.model().Live().version(), 6);
}

TEST(TrainerTest, WaitAppliedAnswersOnceTheSequenceIsServed) {
  ModelBench bench;
  bench.LearnNow(MakeExamples(3));
  const auto wait = WaitFor(&bench, 3, false, absl::Seconds(1));
  const auto now = WaitFor(&bench, 0, false, absl::Seconds(1));  // what is durable now
  EXPECT_FALSE(wait->answer.has_value());
  bench.Settle();
  ASSERT_TRUE(wait->answer.has_value());
  EXPECT_EQ((*wait->answer)->applied_sequence(), 3);
  EXPECT_TRUE(now->answer.has_value());
  EXPECT_TRUE(WaitFor(&bench, 2, false, absl::Seconds(1))->answer.has_value());
}

TEST(TrainerTest, WaitAppliedSaysHowFarItGot) {
  ModelBench bench;
  bench.LearnNow(MakeExamples(5));
  bench.Settle();
  const auto wait = WaitFor(&bench, 5, false, absl::Seconds(1));
  EXPECT_EQ(bench.model().NextDeadline(), bench.clock().Monotonic() + absl::Seconds(1));
  bench.clock().Advance(absl::Seconds(1));
  bench.model().ExpireWaits(bench.clock().Monotonic());
  ASSERT_TRUE(wait->answer.has_value());
  EXPECT_TRUE(absl::IsDeadlineExceeded(wait->answer->status()));
  EXPECT_EQ(wait->answer->status().message(), "applied_through=3 < 5");
}

TEST(TrainerTest, WaitAppliedRefusesWhatCanNeverBe) {
  ModelBench bench;
  const auto wait = WaitFor(&bench, 2'000'000'000, false, absl::Seconds(1));
  EXPECT_TRUE(absl::IsOutOfRange(wait->answer->status()));
}

TEST(TrainerTest, WaitAppliedCanWaitForTheRowOfABoundary) {
  ModelBench bench;
  bench.LearnNow({MakeHeldOut(1), MakeExample(1), MakeExample(2)});
  const uint64_t boundary = bench.BoundaryNow().first_sequence;
  const auto wait = WaitFor(&bench, boundary, true, absl::Seconds(1));
  bench.Train();
  EXPECT_EQ(bench.model().Live().version(), boundary);
  EXPECT_FALSE(wait->answer.has_value());
  EXPECT_EQ(bench.model().Report().pending_evaluations(), 1);
  bench.Settle();
  EXPECT_TRUE(wait->answer.has_value());
  EXPECT_EQ(bench.model().Report().rows_size(), 1);
}

TEST(TrainerTest, APausedModelAcceptsAndServesButDoesNotTrain) {
  ModelBench bench;
  bench.LearnNow(MakeExamples(3));
  bench.Settle();
  bench.model().SetPaused(true);
  bench.LearnNow(MakeExamples(6));
  bench.Settle();
  EXPECT_TRUE(bench.model().Describe().paused());
  EXPECT_EQ(bench.model().Live().version(), 3);
  EXPECT_EQ(bench.model().DurableSequence(), 9);
  bench.model().SetPaused(false);
  bench.Settle();
  EXPECT_EQ(bench.model().Live().version(), 9);
}

TEST(TrainerTest, APauseOutlivesARestartWithTheVersionItHad) {
  ModelBench bench;
  bench.LearnNow(MakeExamples(4));
  bench.Settle();
  ASSERT_TRUE(bench.store().catalog().SetPaused(bench.uid(), true).ok());
  bench.model().SetPaused(true);
  bench.Settle();
  bench.LearnNow(MakeExamples(5));
  bench.Restart();
  EXPECT_EQ(bench.model().Live().version(), 3);
  EXPECT_TRUE(bench.model().Describe().paused());
  EXPECT_TRUE(bench.Rejection(MakeMessage(3, MakeExamples(1, 4))).ok());
  ASSERT_TRUE(bench.store().catalog().SetPaused(bench.uid(), false).ok());
  bench.model().SetPaused(false);
  bench.Settle();
  EXPECT_EQ(bench.model().Live().version(), 9);
}

TEST(TrainerTest, PrequentialAccuracyIsMeasuredBeforeTraining) {
  v1::ModelSpec spec = MakeSpec();
  spec.set_batch_size(1);
  ModelBench bench(spec);
  bench.LearnNow({MakeExample(1), MakeExample(1), MakeExample(2), MakeExample(2)});
  bench.Settle();
  const v1::Report report = bench.model().Report();
  EXPECT_EQ(report.prequential_examples(), 4);
  EXPECT_EQ(report.prequential_hits(), 2);
  EXPECT_NEAR(report.prequential_accuracy(), 0.5, 0.01);  // wrong, right, wrong, right
  EXPECT_EQ(report.train_examples(), 4);
}

TEST(TrainerTest, SkippedBatchesCountAsApplied) {
  ModelBench bench;
  bench.script().skip_at = 1;
  bench.script().refuse_at = 4;
  bench.LearnNow(MakeExamples(9));
  bench.Settle();
  EXPECT_THAT(bench.learner().trained(), ElementsAre(7, 8, 9));
  EXPECT_EQ(bench.model().Live().version(), 9);
  EXPECT_EQ(bench.model().Report().skipped_batches(), 2);
  EXPECT_EQ(bench.model().statistics().skipped_batches, 2);
}

TEST(TrainerTest, AReplayCountsNoSkippedBatchAnew) {
  ModelBench bench;
  bench.script().skip_at = 1;
  bench.LearnNow(MakeExamples(9));
  bench.Settle();
  EXPECT_EQ(bench.model().statistics().skipped_batches, 1);
  bench.Restart();
  EXPECT_EQ(bench.model().statistics().recovery_replayed_examples, 9);
  EXPECT_EQ(bench.model().Report().skipped_batches(), 1);
  EXPECT_EQ(bench.model().statistics().skipped_batches, 0) << "since the process started";
}

TEST(TrainerTest, AnInternalErrorStopsTheTrainerAndServingGoesOn) {
  ModelBench bench;
  bench.LearnNow(MakeExamples(3));
  bench.Settle();
  const std::string good = bench.CheckpointNow("good").id();
  bench.script().internal_error_at = 4;
  bench.LearnNow(MakeExamples(6));
  bench.Settle();
  EXPECT_EQ(bench.model().Describe().state(), v1::Model::FAILED);
  EXPECT_THAT(bench.model().Describe().state_reason(), HasSubstr("scripted fault"));
  EXPECT_EQ(bench.model().Live().version(), 3);
  EXPECT_TRUE(bench.Rejection(MakeMessage(3, MakeExamples(1))).ok());  // still durable
  const auto refused = bench.Checkpoint();
  bench.Settle();
  EXPECT_TRUE(absl::IsFailedPrecondition((*refused)->status()));
  const v1::RollbackResponse mended = bench.RollbackNow(good);
  EXPECT_EQ(bench.model().Describe().state(), v1::Model::SERVING);
  EXPECT_EQ(bench.model().Live().version(), mended.rollback_sequence());
  bench.next_producer_sequence = 4;
  bench.LearnNow(MakeExamples(3));
  bench.Settle();
  EXPECT_EQ(bench.model().Live().version(), mended.rollback_sequence() + 3);
}

TEST(TrainerTest, AConfigurationIsARecordThatAppliesInOrder) {
  ModelBench bench;
  bench.LearnNow(MakeExamples(4));
  v1::ModelSpec next = *bench.model().spec();
  next.mutable_optimizer()->set_learning_rate(0.5);
  absl::optional<absl::StatusOr<v1::UpdateModelResponse>> answer;
  bench.model().Update(next, [&](absl::StatusOr<v1::UpdateModelResponse> response) {
    answer = std::move(response);
  });
  EXPECT_FALSE(answer.has_value());
  bench.Settle();
  EXPECT_EQ((*answer)->sequence(), 5);
  EXPECT_EQ((*answer)->model().spec().optimizer().learning_rate(), 0.5);
  EXPECT_EQ(bench.model().spec()->optimizer().learning_rate(), 0.5);
  EXPECT_THAT(bench.learner().batch_sizes(), ElementsAre(3, 1));  // it cuts
  EXPECT_EQ(bench.model().Live().version(), 5);
  next.set_feature_count(3);
  bench.model().Update(next, [&](absl::StatusOr<v1::UpdateModelResponse> response) {
    answer = std::move(response);
  });
  EXPECT_TRUE(absl::IsInvalidArgument(answer->status()));
  EXPECT_THAT(std::string(answer->status().message()), HasSubstr("feature_count"));
}

TEST(TrainerTest, InterleavedTasksTrainInTheirColumns) {
  v1::ModelSpec spec = MakeSpec();
  spec.add_strategies()->mutable_experience_replay();
  ModelBench bench(spec);
  bench.LearnNow({MakeExample(1, "a"), MakeExample(2, "b"), MakeExample(3)});
  bench.Settle();
  const v1::Report report = bench.model().Report();
  ASSERT_EQ(report.tasks_size(), 3);
  EXPECT_EQ(report.tasks(0).task(), "task-1");
  EXPECT_EQ(report.tasks(1).task(), "a");
  for (const auto& task : report.tasks()) EXPECT_EQ(task.train_examples(), 1);
}

TEST(TrainerTest, EvaluatesRowsOfTheCaller) {
  ModelBench bench;
  bench.LearnNow({MakeExample(1), MakeExample(2), MakeExample(3)});
  bench.Settle();
  v1::EvaluateRequest request;
  *request.add_examples() = MakeExample(1);
  *request.add_examples() = MakeExample(2);
  *request.add_examples() = MakeExample(9);  // an unknown label is wrong
  const auto response = bench.model().Evaluate(request);
  ASSERT_TRUE(response.ok()) << response.status();
  EXPECT_NEAR(response->accuracy(), 2.0 / 3, 1e-9);
  EXPECT_EQ(response->model_version(), 3);
  request.mutable_examples(0)->set_task("nowhere");
  EXPECT_TRUE(absl::IsNotFound(bench.model().Evaluate(request).status()));
  request.clear_examples();
  EXPECT_TRUE(absl::IsInvalidArgument(bench.model().Evaluate(request).status()));
}

}  // namespace
}  // namespace engram::server
