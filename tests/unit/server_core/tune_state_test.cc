// When a tune is decided, and for whom: pure functions.
#include "server/tune_state.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

namespace engram::server {
namespace {

using v1::TuneReport;

TuneReport::Score Score(int64_t hits, int64_t examples, const std::string& dropped = "") {
  TuneReport::Score score;
  score.set_hits(hits);
  score.set_examples(examples);
  score.set_dropped(dropped);
  return score;
}

int32_t Best(const TuneReport::Score& own, const std::vector<TuneReport::Score>& candidates) {
  TuneReport report;
  *report.mutable_own() = own;
  for (const auto& candidate : candidates) *report.add_candidates() = candidate;
  return BestOfTune(report);
}

internal::StreamState Opened(int64_t tasks, int64_t examples) {
  internal::StreamState state;
  v1::Tune* tune = state.mutable_spec()->mutable_tune();
  tune->set_id(3);
  tune->set_tasks(tasks);
  tune->set_examples(examples);
  tune->add_candidates()->set_name("slow");
  tune->add_candidates()->set_name("fast");
  state.set_boundaries(5);
  state.set_train_examples(100);
  OpenTune(&state);
  return state;
}

TEST(TuneStateTest, TheBestShareOfHitsWins) {
  EXPECT_EQ(Best(Score(50, 100), {Score(60, 100), Score(70, 100), Score(65, 100)}), 2);
  EXPECT_EQ(Best(Score(50, 100), {Score(40, 100), Score(49, 100)}), 0);
}

TEST(TuneStateTest, TiesGoToTheModelsOwnThenToTheFirst) {
  EXPECT_EQ(Best(Score(50, 100), {Score(50, 100)}), 0);
  EXPECT_EQ(Best(Score(50, 100), {Score(60, 100), Score(60, 100)}), 1);
  // Shares that doubles cannot tell apart.
  const int64_t many = 9'007'199'254'740'993;
  EXPECT_EQ(Best(Score(many - 1, many + 1), {Score(many, many + 1)}), 1);
}

TEST(TuneStateTest, DroppedCandidatesAndThoseWithoutExamplesDoNotWin) {
  EXPECT_EQ(Best(Score(50, 100), {Score(90, 100, "diverged"), Score(60, 100)}), 2);
  EXPECT_EQ(Best(Score(50, 100), {Score(90, 100, "diverged"), Score(91, 100, "failed")}), 0);
  EXPECT_EQ(Best(Score(0, 0), {Score(0, 0)}), 0);
}

TEST(TuneStateTest, ASkippedBatchCountsAsWrong) {
  TuneReport::Score score;
  strategies::StepReport step;
  step.rows = 10;
  step.correct = 6;
  AddScore(step, &score);
  step.skipped = true;
  AddScore(step, &score);
  EXPECT_EQ(score.examples(), 20);
  EXPECT_EQ(score.hits(), 6);
  EXPECT_EQ(score.skipped_batches(), 1);
  EXPECT_DOUBLE_EQ(score.accuracy(), 0.3);
}

TEST(TuneStateTest, IsDueAfterItsTasksOrItsExamplesWhicheverComesFirst) {
  internal::StreamState state = Opened(2, 50);
  state.set_boundaries(6);
  state.set_train_examples(149);
  CountTuneProgress(&state);
  EXPECT_FALSE(TuneIsDue(state));
  state.set_train_examples(150);
  CountTuneProgress(&state);
  EXPECT_TRUE(TuneIsDue(state));
  state.set_train_examples(101);
  state.set_boundaries(7);
  CountTuneProgress(&state);
  EXPECT_TRUE(TuneIsDue(state));
  DecideTune(&state);
  EXPECT_FALSE(TuneIsDue(state));
  EXPECT_EQ(state.tune().report().tasks_ended(), 2);
  EXPECT_EQ(state.tune().report().examples_seen(), 1);
}

TEST(TuneStateTest, WhatEndsByItselfAndWhatWaits) {
  internal::StreamState state = Opened(1, 0);
  TuneReport* report = state.mutable_tune()->mutable_report();
  *report->mutable_candidates(1) = Score(9, 10);
  report->mutable_candidates(1)->set_name("fast");
  DecideTune(&state);
  EXPECT_EQ(report->winner(), 2);
  EXPECT_EQ(report->winner_name(), "fast");
  EXPECT_FALSE(TuneEndsItself(state)) << "proposed";
  report->set_policy(v1::Tune::PROMOTE);
  EXPECT_TRUE(TuneEndsItself(state));
  report->set_policy(v1::Tune::PROPOSE);
  DropCandidate(1, "failed", state.mutable_tune());
  EXPECT_EQ(report->winner(), 0);
  EXPECT_TRUE(TuneEndsItself(state)) << "nothing to propose";
  CloseTune(0, &state);
  EXPECT_EQ(report->state(), TuneReport::KEPT);
}

TEST(TuneStateTest, ItsEndSaysHow) {
  internal::StreamState state = Opened(1, 0);
  CloseTune(0, &state);
  EXPECT_EQ(state.tune().report().state(), TuneReport::STOPPED);
  EXPECT_EQ(state.memory_space(), 0u);
  state = Opened(1, 0);
  CloseTune(2, &state);
  EXPECT_EQ(state.tune().report().state(), TuneReport::PROMOTED);
  EXPECT_EQ(state.memory_space(), MemorySpaceOf(3, 2));
  EXPECT_EQ(state.tunes(), 3u);
}

TEST(TuneStateTest, NoTwoCandidatesOfAModelShareASpaceOfExemplars) {
  EXPECT_EQ(MemorySpaceOf(1, 1), 1u) << "0 is the model's own";
  EXPECT_LT(MemorySpaceOf(1, 16), MemorySpaceOf(2, 1));
}

}  // namespace
}  // namespace engram::server
