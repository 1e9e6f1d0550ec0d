// The quarantine in a model: what it keeps from the learner, what a restart, a rollback and an
// erasure make of its list, and releases.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "engram/internal/records.pb.h"
#include "server/record_kind.h"
#include "tests/testing/server/model_bench.h"

namespace engram::server {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using testing::MakeExample;
using testing::MakeExamples;
using testing::MakeSpec;
using testing::ModelBench;
using v1::QuarantinedExample;

v1::ModelSpec JudgingSpec() {
  v1::ModelSpec spec = MakeSpec();
  spec.mutable_quarantine()->set_min_label_score(0.5);
  spec.mutable_quarantine()->set_after_examples(6);
  return spec;
}

// Looks like one label and says another.
v1::Example Lie(int64_t looks, int64_t says, const std::string& id = "") {
  v1::Example example = MakeExample(looks);
  example.mutable_label()->set_number(says);
  example.set_id(id);
  return example;
}

// 60 examples of two labels: sequences 1 to 60 of an empty log.
void LearnHonestly(ModelBench* bench) {
  for (int i = 0; i < 20; ++i) {
    bench->LearnNow({MakeExample(1), MakeExample(2), MakeExample(i % 2 + 1)});
  }
  bench->Settle();
}

v1::ListQuarantinedResponse List(ModelBench* bench, int32_t limit = 0, uint64_t before = 0) {
  v1::ListQuarantinedRequest request;
  request.set_limit(limit);
  request.set_before_sequence(before);
  return *bench->model().ListQuarantined(request);
}

std::vector<uint64_t> ListedSequences(ModelBench* bench) {
  std::vector<uint64_t> sequences;
  const v1::ListQuarantinedResponse listed = List(bench);
  for (const auto& example : listed.examples()) sequences.push_back(example.sequence());
  return sequences;
}

// Committed, not yet learned.
absl::StatusOr<v1::ReleaseQuarantinedResponse> Release(ModelBench* bench,
                                                       const std::vector<uint64_t>& sequences) {
  v1::ReleaseQuarantinedRequest request;
  request.mutable_sequences()->Add(sequences.begin(), sequences.end());
  absl::StatusOr<v1::ReleaseQuarantinedResponse> released = absl::UnknownError("no answer");
  bench->model().ReleaseQuarantined(request, [&](auto answer) { released = std::move(answer); });
  bench->store().Commit();
  return released;
}

storage::LogRecord RecordAt(ModelBench* bench, uint64_t sequence) {
  return bench->store().log().Read(bench->uid(), sequence, 1, 1)->front();
}

TEST(QuarantineModelTest, ALieIsSetAsideAndItsNeighboursAreLearned) {
  ModelBench bench(JudgingSpec());
  LearnHonestly(&bench);
  bench.LearnNow({MakeExample(1), Lie(1, 2, "lie"), MakeExample(2)});
  bench.Settle();
  EXPECT_EQ(bench.learner().batch_sizes().back(), 2);
  EXPECT_THAT(bench.learner().trained(), Not(Contains(62)));
  const v1::ListQuarantinedResponse listed = List(&bench);
  ASSERT_EQ(listed.examples_size(), 1);
  EXPECT_EQ(listed.held(), 1);
  const QuarantinedExample& lie = listed.examples(0);
  EXPECT_EQ(lie.sequence(), 62u);
  EXPECT_EQ(lie.reason(), QuarantinedExample::LABEL_DISAGREES);
  EXPECT_FLOAT_EQ(lie.score(), 0.1f);
  EXPECT_EQ(lie.producer(), "p");
  EXPECT_EQ(lie.label().number(), 2);
  EXPECT_EQ(lie.task(), "task-1");
  EXPECT_EQ(lie.id(), "lie");
  EXPECT_TRUE(lie.releasable());
  EXPECT_EQ(bench.model().statistics().set_aside[QuarantinedExample::LABEL_DISAGREES], 1u);
  EXPECT_EQ(bench.model().statistics().quarantined, 1);
  // Admission and trainer count alike: what was set aside is among the examples.
  EXPECT_EQ(bench.model().Report().train_examples(), 63);
}

TEST(QuarantineModelTest, ABatchOfLiesIsNoStep) {
  ModelBench bench(JudgingSpec());
  LearnHonestly(&bench);
  const uint64_t digest = bench.learner().digest();
  bench.LearnNow({Lie(1, 2), Lie(2, 1), Lie(1, 2)});
  bench.Settle();
  EXPECT_EQ(bench.learner().digest(), digest);
  EXPECT_EQ(bench.model().AppliedSequence(), 63u);
  EXPECT_THAT(ListedSequences(&bench), ElementsAre(63, 62, 61));
  EXPECT_EQ(List(&bench, 1).examples_size(), 1);
  EXPECT_EQ(List(&bench, 0, 62).examples(0).sequence(), 61u);
}

TEST(QuarantineModelTest, ARestartFindsTheSameListAndTheSameWeights) {
  for (const bool checkpoint : {false, true}) {
    ModelBench bench(JudgingSpec());
    LearnHonestly(&bench);
    bench.LearnNow({Lie(1, 2), MakeExample(1), MakeExample(2)});
    if (checkpoint) bench.CheckpointNow();
    bench.LearnNow({MakeExample(2), Lie(2, 1), MakeExample(1)});
    bench.Settle();
    const uint64_t digest = bench.learner().digest();
    const std::string list = List(&bench).SerializeAsString();
    bench.Restart();
    EXPECT_EQ(bench.learner().digest(), digest);
    EXPECT_EQ(List(&bench).SerializeAsString(), list);
    EXPECT_THAT(ListedSequences(&bench), ElementsAre(65, 61));
    // What it knows came back as well: the next lie is judged alike.
    bench.LearnNow({Lie(1, 2), MakeExample(1), MakeExample(2)});
    bench.Settle();
    EXPECT_THAT(ListedSequences(&bench), ElementsAre(67, 65, 61));
  }
}

TEST(QuarantineModelTest, ARollbackRestoresTheList) {
  ModelBench bench(JudgingSpec());
  LearnHonestly(&bench);
  bench.LearnNow({Lie(1, 2), MakeExample(1), MakeExample(2)});
  bench.CheckpointNow("one");
  bench.LearnNow({Lie(2, 1), MakeExample(1), MakeExample(2)});
  ASSERT_TRUE(Release(&bench, {61}).ok());
  bench.LearnNow(MakeExamples(2));
  bench.Settle();
  EXPECT_THAT(ListedSequences(&bench), ElementsAre(64));
  bench.RollbackNow("one");
  EXPECT_THAT(ListedSequences(&bench), ElementsAre(61));
  bench.Restart();
  EXPECT_THAT(ListedSequences(&bench), ElementsAre(61));
  // The release was undone with the rest: it may be made again.
  EXPECT_TRUE(Release(&bench, {61}).ok());
}

TEST(QuarantineModelTest, AReleasedExampleIsLearnedAndLeavesTheList) {
  ModelBench bench(JudgingSpec());
  LearnHonestly(&bench);
  bench.LearnNow({Lie(1, 2, "lie"), MakeExample(1), MakeExample(2)});
  bench.Settle();
  const auto released = Release(&bench, {61});
  ASSERT_TRUE(released.ok()) << released.status();
  ASSERT_EQ(released->released_size(), 1);
  EXPECT_EQ(released->released(0).sequence(), 61u);
  EXPECT_EQ(released->released(0).as_sequence(), 64u);
  const storage::LogRecord record = RecordAt(&bench, 64);
  EXPECT_EQ(record.kind, static_cast<uint8_t>(RecordKind::kReleased));
  EXPECT_EQ(record.producer, "p");
  // Staged, and still on the list: it cannot be released twice, nor after a crash.
  bench.Settle();
  for (int crash = 0; crash < 2; ++crash) {
    const absl::Status again = Release(&bench, {61}).status();
    EXPECT_TRUE(absl::IsFailedPrecondition(again)) << again;
    EXPECT_THAT(again.message(), HasSubstr("61 is released already, as record 64"));
    bench.Restart();
  }
  bench.LearnNow(MakeExamples(2));
  bench.Settle();
  EXPECT_THAT(bench.learner().trained(), Contains(64)) << "though it is the same lie";
  EXPECT_THAT(ListedSequences(&bench), IsEmpty());
  EXPECT_EQ(Release(&bench, {61}).status().code(), absl::StatusCode::kNotFound);
  const uint64_t digest = bench.learner().digest();
  bench.Restart();
  EXPECT_EQ(bench.learner().digest(), digest);
  EXPECT_THAT(ListedSequences(&bench), IsEmpty());
}

TEST(QuarantineModelTest, TheFirstReleaseRaisesTheFormatBeforeItIsInTheLog) {
  ModelBench bench(JudgingSpec());
  LearnHonestly(&bench);
  bench.LearnNow({Lie(1, 2), MakeExample(1), MakeExample(2)});
  bench.Settle();
  EXPECT_EQ(Release(&bench, {62}).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(bench.store().format, 2) << "nothing was released";
  bench.store().format_answer = absl::UnavailableError("cannot write in the data folder");
  const absl::Status refused = Release(&bench, {61}).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition) << refused;
  EXPECT_THAT(refused.message(), HasSubstr("cannot write in the data folder"));
  EXPECT_EQ(bench.model().DurableSequence(), 63u);
  bench.store().format_answer = absl::OkStatus();
  ASSERT_TRUE(Release(&bench, {61}).ok());
  EXPECT_EQ(bench.store().format, 3);
  // A folder that was written before the format told of it.
  bench.store().format = 2;
  bench.Restart();
  EXPECT_EQ(bench.store().format, 3);
}

TEST(QuarantineModelTest, AReleaseIsAllOrNothing) {
  ModelBench bench(JudgingSpec());
  LearnHonestly(&bench);
  bench.LearnNow({Lie(1, 2), MakeExample(1), MakeExample(2)});
  bench.Settle();
  const absl::Status unknown = Release(&bench, {61, 62}).status();
  EXPECT_EQ(unknown.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(unknown.message(), HasSubstr("62"));
  EXPECT_TRUE(absl::IsInvalidArgument(Release(&bench, {}).status()));
  EXPECT_TRUE(absl::IsInvalidArgument(Release(&bench, {61, 61}).status()));
  EXPECT_EQ(bench.model().DurableSequence(), 63u);
}

TEST(QuarantineModelTest, WhatTheLogNoLongerHoldsIsListedAndNotReleasable) {
  ModelBench bench(JudgingSpec());
  LearnHonestly(&bench);
  bench.LearnNow({Lie(1, 2), MakeExample(1), MakeExample(2)});
  bench.CheckpointNow();
  ASSERT_TRUE(bench.store().log().Trim(bench.uid(), 62).ok());
  const v1::ListQuarantinedResponse listed = List(&bench);
  ASSERT_EQ(listed.examples_size(), 1);
  EXPECT_FALSE(listed.examples(0).releasable());
  EXPECT_EQ(listed.examples(0).producer(), "");
  EXPECT_FALSE(listed.examples(0).has_label());
  EXPECT_EQ(Release(&bench, {61}).status().code(), absl::StatusCode::kNotFound);
}

TEST(QuarantineModelTest, AnEndedTasksExampleComesBackWhereTasksMayMix) {
  for (const bool mixed : {false, true}) {
    v1::ModelSpec spec = JudgingSpec();
    if (mixed) spec.add_strategies()->mutable_experience_replay();
    ModelBench bench(spec);
    LearnHonestly(&bench);
    bench.LearnNow({Lie(1, 2), MakeExample(1), MakeExample(2)});
    bench.BoundaryNow("next");
    bench.Settle();
    const absl::Status status = Release(&bench, {61}).status();
    if (!mixed) {
      EXPECT_TRUE(absl::IsFailedPrecondition(status)) << status;
      EXPECT_THAT(status.message(), HasSubstr("expected the current task \"next\", got "));
      continue;
    }
    EXPECT_TRUE(status.ok()) << status;
    bench.LearnNow(MakeExamples(2));
    bench.Settle();
    EXPECT_EQ(bench.model().Report().tasks(0).train_examples(), 64) << "in its own column";
    EXPECT_EQ(bench.model().Report().tasks(1).train_examples(), 2);
  }
}

TEST(QuarantineModelTest, ASkippedStepIsListedWithoutTheOption) {
  ModelBench bench;
  LearnHonestly(&bench);
  bench.script().skip_at = 61;
  bench.script().refuse_at = 64;
  bench.LearnNow({MakeExample(1), MakeExample(2), MakeExample(1)});
  bench.LearnNow({MakeExample(1), MakeExample(2), MakeExample(1)});
  bench.Settle();
  EXPECT_THAT(ListedSequences(&bench), ElementsAre(66, 65, 64, 63, 62, 61));
  EXPECT_EQ(List(&bench).examples(0).reason(), QuarantinedExample::STEP_SKIPPED);
  ASSERT_TRUE(Release(&bench, {61, 65, 66}).ok());
  bench.Settle();
  EXPECT_THAT(bench.learner().trained(), Contains(69));
  EXPECT_THAT(ListedSequences(&bench), ElementsAre(64, 63, 62));
  const std::string list = List(&bench).SerializeAsString();
  const uint64_t digest = bench.learner().digest();
  bench.Restart();
  EXPECT_EQ(List(&bench).SerializeAsString(), list);
  EXPECT_EQ(bench.learner().digest(), digest);
}

TEST(QuarantineModelTest, WithoutTheOptionNothingIsKeptOfIt) {
  ModelBench bench;
  LearnHonestly(&bench);
  bench.LearnNow({Lie(1, 2), MakeExample(1), MakeExample(2)});
  bench.CheckpointNow();
  EXPECT_EQ(List(&bench).held(), 0);
  const auto rows = bench.store().checkpoints().List(bench.uid());
  for (const auto& row : *rows) {
    EXPECT_FALSE(StreamState::Parse(row.stream_state)->proto().has_quarantine());
  }
}

TEST(QuarantineModelTest, AnErasureTakesItFromTheListAndFromWhatWasReleased) {
  ModelBench bench(JudgingSpec());
  LearnHonestly(&bench);
  bench.LearnNow({Lie(1, 2, "lie"), Lie(2, 1, "other"), MakeExample(2)});
  bench.Settle();
  ASSERT_TRUE(Release(&bench, {61}).ok());
  bench.LearnNow({MakeExample(1), Lie(1, 2, "lie")});
  bench.Settle();
  EXPECT_THAT(ListedSequences(&bench), ElementsAre(66, 62));
  EXPECT_THAT(bench.learner().trained(), Contains(64));
  const v1::EraseResponse receipt = bench.EraseNow("lie", "");
  EXPECT_EQ(receipt.weights(), v1::EraseResponse::WEIGHTS_REBUILT);
  EXPECT_EQ(receipt.erased_examples(), 3) << "61, 64 and 66";
  EXPECT_THAT(ListedSequences(&bench), ElementsAre(62));
  internal::ErasedRecord tombstone;
  ASSERT_TRUE(tombstone.ParseFromString(RecordAt(&bench, 64).payload));
  EXPECT_TRUE(tombstone.released());
  EXPECT_EQ(tombstone.task(), "task-1");
  const std::string weights = bench.Stored().saved.tensors;
  bench.Restart();
  EXPECT_EQ(bench.Stored().saved.tensors, weights);
  EXPECT_THAT(ListedSequences(&bench), ElementsAre(62));
}

TEST(QuarantineModelTest, AnErasureByProducerFindsWhatWasReleased) {
  ModelBench bench(JudgingSpec());
  LearnHonestly(&bench);
  bench.LearnFrom("liar", {Lie(1, 2), Lie(2, 1), Lie(1, 2)});
  bench.Settle();
  ASSERT_TRUE(Release(&bench, {62}).ok());
  bench.LearnNow(MakeExamples(2));
  bench.Settle();
  ASSERT_THAT(bench.learner().trained(), Contains(64));
  EXPECT_EQ(bench.EraseProducerNow("liar").erased_examples(), 4) << "61 to 63, and 62 as 64";
  EXPECT_THAT(ListedSequences(&bench), IsEmpty());
}

TEST(QuarantineModelTest, BlameCountsWhatIsSetAside) {
  ModelBench bench(JudgingSpec());
  LearnHonestly(&bench);
  bench.LearnFrom("liar", {Lie(1, 2), MakeExample(1), Lie(2, 1)});
  bench.Settle();
  const auto blame = bench.model().Blame({}, [] { return false; });
  ASSERT_TRUE(blame.ok()) << blame.status();
  ASSERT_EQ(blame->producers_size(), 2);
  EXPECT_EQ(blame->producers(0).name(), "liar");
  EXPECT_EQ(blame->producers(0).examples(), 3);
  EXPECT_EQ(blame->producers(0).quarantined(), 2);
  EXPECT_EQ(blame->producers(1).quarantined(), 0);
}

TEST(QuarantineModelTest, WhereTheWeightsStayTheListForgetsAllTheSame) {
  ModelBench bench(JudgingSpec());
  LearnHonestly(&bench);
  bench.LearnNow({Lie(1, 2, "lie"), Lie(2, 1, "other"), MakeExample(2)});
  bench.CheckpointNow();
  ASSERT_TRUE(bench.store().log().Trim(bench.uid(), 63).ok());
  const v1::EraseResponse receipt = bench.EraseNow("lie", "");
  EXPECT_EQ(receipt.weights(), v1::EraseResponse::WEIGHTS_NOT_REBUILT);
  EXPECT_THAT(ListedSequences(&bench), ElementsAre(62));
  bench.Restart();
  EXPECT_THAT(ListedSequences(&bench), ElementsAre(62));
}

TEST(QuarantineModelTest, AnErasureWaitsForAReleaseOnItsWay) {
  ModelBench bench(JudgingSpec());
  LearnHonestly(&bench);
  bench.LearnNow({Lie(1, 2, "lie"), MakeExample(1), MakeExample(2)});
  bench.Settle();
  v1::ReleaseQuarantinedRequest request;
  request.add_sequences(61);
  bool released = false;
  bench.model().ReleaseQuarantined(request, [&](const auto& answer) { released = answer.ok(); });
  const auto receipt = bench.Erase("lie", "");
  bench.model().RunOnce();  // what is not durable cannot be found
  while (bench.background().RunOne()) {
  }
  EXPECT_FALSE(released);
  EXPECT_FALSE(receipt->has_value());
  bench.Settle();
  EXPECT_TRUE(released);
  ASSERT_TRUE(receipt->has_value() && (*receipt)->ok());
  EXPECT_EQ((**receipt)->erased_examples(), 2);
  EXPECT_EQ(RecordAt(&bench, 64).kind, static_cast<uint8_t>(RecordKind::kErased));
}

TEST(QuarantineModelTest, RejectedMessagesAreListedAsTheyWereAnswered) {
  ModelBench bench;
  bench.LearnNow(MakeExamples(1));
  v1::Example bad = MakeExample(1);
  bad.clear_label();
  const absl::Status answered = bench.Rejection(testing::MakeMessage(2, {bad, MakeExample(1)}));
  ASSERT_TRUE(absl::IsInvalidArgument(answered));
  v1::ListRejectedRequest request;
  const v1::ListRejectedResponse listed = *bench.model().ListRejected(request);
  ASSERT_EQ(listed.messages_size(), 1);
  EXPECT_EQ(listed.rejected(), 1);
  EXPECT_EQ(listed.messages(0).producer(), "p");
  EXPECT_EQ(listed.messages(0).producer_sequence(), 2u);
  EXPECT_EQ(listed.messages(0).examples(), 2);
  EXPECT_EQ(listed.messages(0).status().message(), answered.message());
  request.set_producer("q");
  EXPECT_EQ(bench.model().ListRejected(request)->messages_size(), 0);
  request.set_limit(1001);
  EXPECT_TRUE(absl::IsInvalidArgument(bench.model().ListRejected(request).status()));
}

TEST(RejectedMessagesTest, TheLastThousandAreKeptTheNewestFirst) {
  RejectedMessages rejected;
  v1::LearnMessage message;
  for (uint64_t i = 1; i <= 1005; ++i) {
    message.set_producer_sequence(i);
    rejected.Add(static_cast<int64_t>(i), "p", message, absl::InvalidArgumentError("x"));
  }
  v1::ListRejectedRequest request;
  request.set_limit(1000);
  const v1::ListRejectedResponse listed = *rejected.List(request);
  EXPECT_EQ(listed.rejected(), 1005);
  ASSERT_EQ(listed.messages_size(), 1000);
  EXPECT_EQ(listed.messages(0).producer_sequence(), 1005u);
  EXPECT_EQ(listed.messages(999).producer_sequence(), 6u);
}

}  // namespace
}  // namespace engram::server
