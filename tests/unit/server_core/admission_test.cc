// What gets into the log and what does not: checks, repeats, fencing, quotas.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "google/rpc/error_details.pb.h"
#include "server/message_check.h"
#include "tests/testing/server/model_bench.h"

namespace engram::server {
namespace {

using ::testing::HasSubstr;
using testing::Answer;
using testing::MakeBoundary;
using testing::MakeExample;
using testing::MakeHeldOut;
using testing::MakeMessage;
using testing::MakeSpec;
using testing::ModelBench;

std::string ReasonOf(const absl::Status& status) {
  google::rpc::ErrorInfo error_detail;
  const auto payload = status.GetPayload("type.googleapis.com/google.rpc.ErrorInfo");
  if (payload.has_value()) error_detail.ParseFromString(std::string(*payload));
  return error_detail.reason();
}

v1::Example WithFeatures(std::vector<float> values) {
  v1::Example example = MakeExample(1);
  example.mutable_features()->set_dense(values.data(), values.size() * sizeof(float));
  return example;
}

// A message whose third example is `bad`; the producer sequence is the next one.
absl::Status RejectionOf(ModelBench* bench, v1::Example bad) {
  return bench->Rejection(MakeMessage(bench->next_producer_sequence++,
                                      {MakeExample(1), MakeExample(2), std::move(bad)}));
}

#define EXPECT_REJECTED(status_expr, is_code, text)                              \
  do {                                                                           \
    const absl::Status rejected = (status_expr);                                 \
    EXPECT_TRUE(absl::is_code(rejected)) << rejected;                            \
    EXPECT_THAT(std::string(rejected.message()), HasSubstr(text));               \
  } while (false)

TEST(AdmissionTest, GivesLogSequencesInOrderAndAnswersWhenDurable) {
  ModelBench bench;
  const auto first = bench.Learn({MakeExample(1), MakeExample(2)});
  const auto second = bench.Learn({MakeExample(3)});
  EXPECT_FALSE(first->has_value());
  bench.store().Commit();
  EXPECT_EQ((**first)->first_sequence, 1);
  EXPECT_EQ((**first)->count, 2);
  EXPECT_EQ((**second)->first_sequence, 3);
  EXPECT_EQ(bench.model().DurableSequence(), 3);
  EXPECT_EQ(bench.model().statistics().accepted_examples, 3);
}

TEST(AdmissionTest, NamesTheExampleTheFieldAndWhatCame) {
  ModelBench bench;
  EXPECT_REJECTED(RejectionOf(&bench, WithFeatures({1})), IsInvalidArgument,
                  "examples[2].features: expected 2 values (model \"digits\"), got 1");
  EXPECT_REJECTED(RejectionOf(&bench, WithFeatures({1, NAN})), IsInvalidArgument,
                  "examples[2].features[1]: is NaN");
  EXPECT_REJECTED(RejectionOf(&bench, WithFeatures({-INFINITY, 0})), IsInvalidArgument,
                  "examples[2].features[0]: is -Inf");
  EXPECT_REJECTED(RejectionOf(&bench, WithFeatures({0, 1e20f})), IsInvalidArgument,
                  "examples[2].features[1]: 1e+20 exceeds max_abs_feature 1e+06");
  EXPECT_REJECTED(RejectionOf(&bench, WithFeatures({})), IsInvalidArgument,
                  "examples[2].features: required");
  v1::Example example = MakeExample(1);
  example.mutable_features()->mutable_dense()->pop_back();
  EXPECT_REJECTED(RejectionOf(&bench, example), IsInvalidArgument,
                  "examples[2].features.dense: expected 8 bytes (model \"digits\"), got 7");
  EXPECT_EQ(bench.model().DurableSequence(), 0);  // nothing of any of them
  EXPECT_EQ(bench.model().statistics().rejected_examples, 6 * 3);
  EXPECT_EQ(bench.model().statistics().accepted_examples, 0);
}

TEST(AdmissionTest, RefusesShapesThatCannotBe) {
  ModelBench bench;
  for (const std::vector<int64_t>& shape :
       std::vector<std::vector<int64_t>>{{int64_t{1} << 33, int64_t{1} << 33}, {-1, -2}, {0},
                                         {3}, {1, 1, 1, 1, 1, 1, 1, 1, 2}}) {
    v1::Example example = MakeExample(1);
    for (int64_t dimension : shape) example.mutable_features()->add_shape(dimension);
    EXPECT_REJECTED(RejectionOf(&bench, example), IsInvalidArgument, "features.shape");
  }
  v1::Example example = MakeExample(1);
  example.mutable_features()->add_shape(2);
  EXPECT_TRUE(RejectionOf(&bench, example).ok());
}

TEST(AdmissionTest, RefusesBadExtras) {
  ModelBench bench;
  v1::Example example = MakeExample(1);
  example.clear_label();
  EXPECT_REJECTED(RejectionOf(&bench, example), IsInvalidArgument, "examples[2].label: required");
  for (float weight : {0.0f, -1.0f, 1e30f, std::numeric_limits<float>::quiet_NaN()}) {
    example = MakeExample(1);
    example.set_weight(weight);
    EXPECT_REJECTED(RejectionOf(&bench, example), IsInvalidArgument,
                    "examples[2].weight: must be in (0, 100]");
  }
  example = MakeExample(1, "../x");
  EXPECT_REJECTED(RejectionOf(&bench, example), IsInvalidArgument, "examples[2].task: must match");
  example = MakeExample(1);
  example.set_id(std::string(129, 'x'));
  EXPECT_REJECTED(RejectionOf(&bench, example), IsInvalidArgument, "examples[2].id");
  example = MakeExample(1);
  example.set_split(static_cast<v1::Split>(99));
  EXPECT_REJECTED(RejectionOf(&bench, example), IsInvalidArgument,
                  "examples[2].split: unknown value 99");
  example = MakeExample(1);
  example.mutable_label()->set_text("");
  EXPECT_REJECTED(RejectionOf(&bench, example), IsInvalidArgument, "examples[2].label.text");
}

TEST(AdmissionTest, TakesOneTo1024ExamplesOrABoundary) {
  ModelBench bench;
  auto next = [&] { return bench.next_producer_sequence++; };
  EXPECT_REJECTED(bench.Rejection(MakeMessage(next(), {})), IsInvalidArgument, "batch is empty");
  EXPECT_REJECTED(
      bench.Rejection(MakeMessage(next(), std::vector<v1::Example>(1025, MakeExample(1)))),
      IsInvalidArgument, "batch 1025 exceeds 1024");
  v1::LearnMessage both = MakeMessage(next(), {MakeExample(1)});
  both.mutable_boundary();
  EXPECT_REJECTED(bench.Rejection(both), IsInvalidArgument, "got both");
  EXPECT_REJECTED(bench.Rejection(MakeBoundary(next(), "a b")), IsInvalidArgument,
                  "boundary.next_task: must match");
  EXPECT_EQ(bench.model().DurableSequence(), 0);
  EXPECT_TRUE(
      bench.Rejection(MakeMessage(next(), std::vector<v1::Example>(1024, MakeExample(1)))).ok());
  EXPECT_EQ(bench.model().DurableSequence(), 1024);
}

TEST(AdmissionTest, TypedValuesAreTheSameContentAsDenseOnes) {
  ModelBench bench;
  bench.LearnNow({MakeExample(1)});
  v1::Example typed = MakeExample(1);
  typed.mutable_features()->clear_dense();
  typed.mutable_features()->add_values(10);
  typed.mutable_features()->add_values(1);
  const auto repeat = bench.Send(MakeMessage(1, {typed}));
  ASSERT_TRUE(repeat->has_value());
  EXPECT_TRUE((**repeat)->duplicate);
}

TEST(AdmissionTest, AFixedHeadKnowsOnlyItsLabels) {
  v1::ModelSpec spec = MakeSpec();
  spec.mutable_head()->set_kind(v1::Head::FIXED);
  for (int label : {0, 1, 2}) spec.add_labels()->set_number(label);
  ModelBench bench(spec);
  EXPECT_TRUE(bench.Rejection(MakeMessage(1, {MakeExample(2)})).ok());
  EXPECT_REJECTED(bench.Rejection(MakeMessage(2, {MakeExample(-100)})), IsInvalidArgument,
                  "-100 is not among the 3 labels of model \"digits\" (0 ... 2)");
  EXPECT_REJECTED(bench.Rejection(MakeMessage(3, {MakeHeldOut(7)})), IsInvalidArgument,
                  "7 is not among");
}

TEST(AdmissionTest, AClassBeyondTheLimitIsRefusedWhole) {
  v1::ModelSpec spec = MakeSpec();
  spec.set_max_classes(2);
  ModelBench bench(spec);
  EXPECT_REJECTED(bench.Rejection(MakeMessage(1, {MakeExample(1), MakeExample(2), MakeExample(3)})),
                  IsResourceExhausted, "examples[2].label: class 3 exceeds max_classes 2");
  EXPECT_EQ(bench.model().DurableSequence(), 0);
  EXPECT_TRUE(bench.Rejection(MakeMessage(2, {MakeExample(1), MakeExample(2)})).ok());
  EXPECT_REJECTED(bench.Rejection(MakeMessage(3, {MakeExample(3)})), IsResourceExhausted,
                  "max_classes 2");
  EXPECT_TRUE(bench.Rejection(MakeMessage(4, {MakeHeldOut(3)})).ok());  // creates no class
}

TEST(AdmissionTest, LabelsAreOfOneKind) {
  ModelBench bench;
  v1::Example text = MakeExample(1);
  text.mutable_label()->set_text("one");
  EXPECT_REJECTED(RejectionOf(&bench, text), IsInvalidArgument,
                  "examples[2].label: expected a number (model \"digits\"), got a text");
  EXPECT_TRUE(bench.Rejection(MakeMessage(bench.next_producer_sequence++, {MakeExample(1)})).ok());
  EXPECT_REJECTED(bench.Rejection(MakeMessage(bench.next_producer_sequence++, {text})),
                  IsInvalidArgument, "expected a number");
}

TEST(AdmissionTest, TrainExamplesBelongToTheCurrentTask) {
  ModelBench bench;
  EXPECT_TRUE(RejectionOf(&bench, MakeExample(3, "task-1")).ok());
  EXPECT_TRUE(RejectionOf(&bench, MakeHeldOut(3, "future")).ok());
  EXPECT_REJECTED(RejectionOf(&bench, MakeExample(3, "future")), IsFailedPrecondition,
                  "examples[2].task: expected the current task \"task-1\", got \"future\"");
}

TEST(AdmissionTest, StrategiesThatAllowItInterleaveTasks) {
  v1::ModelSpec spec = MakeSpec();
  spec.add_strategies()->mutable_experience_replay();
  ModelBench bench(spec);
  EXPECT_TRUE(RejectionOf(&bench, MakeExample(3, "other")).ok());
}

TEST(AdmissionTest, ABoundaryNeedsAnExampleToLearnFrom) {
  ModelBench bench;
  EXPECT_REJECTED(bench.Rejection(MakeBoundary(1)), IsFailedPrecondition,
                  "task \"task-1\" has 0 examples");
  bench.next_producer_sequence = 2;
  bench.LearnNow({MakeHeldOut(1)});
  EXPECT_REJECTED(bench.Rejection(MakeBoundary(3)), IsFailedPrecondition, "has 0 examples");
  bench.next_producer_sequence = 4;
  bench.LearnNow({MakeExample(1)});
  const Accepted boundary = bench.BoundaryNow("b");
  EXPECT_EQ(boundary.ended_task, "task-1");
  EXPECT_EQ(boundary.next_task, "b");
  EXPECT_REJECTED(bench.Rejection(MakeBoundary(6)), IsFailedPrecondition,
                  "task \"b\" has 0 examples");
}

TEST(AdmissionTest, ABoundaryWaitsForAsManyExamplesAsTheModelAsksFor) {
  v1::ModelSpec spec = MakeSpec();
  spec.set_min_task_examples(3);
  ModelBench bench(spec);
  bench.LearnNow({MakeExample(1), MakeHeldOut(1), MakeExample(2)});
  EXPECT_REJECTED(bench.Rejection(MakeBoundary(2)), IsFailedPrecondition,
                  "task \"task-1\" has 2 examples to learn from since the last boundary; expected "
                  "at least 3 (min_task_examples of model \"digits\"): learn more of it first");
  bench.next_producer_sequence = 3;
  bench.LearnNow({MakeExample(1)});
  EXPECT_EQ(bench.BoundaryNow("b").ended_task, "task-1");
  bench.LearnNow({MakeExample(1), MakeExample(2)});
  EXPECT_REJECTED(bench.Rejection(MakeBoundary(bench.next_producer_sequence++)),
                  IsFailedPrecondition, "task \"b\" has 2 examples");
  bench.Restart();  // what was counted is in the log
  EXPECT_REJECTED(bench.Rejection(MakeBoundary(bench.next_producer_sequence++)),
                  IsFailedPrecondition, "task \"b\" has 2 examples");
  bench.LearnNow({MakeExample(3)});
  EXPECT_EQ(bench.BoundaryNow("c").ended_task, "b");
}

TEST(AdmissionTest, TasksAreLimited) {
  ModelBench bench;
  bench.limits().set_tasks(2);
  bench.Restart();
  EXPECT_TRUE(bench.Rejection(MakeMessage(1, {MakeExample(1), MakeHeldOut(1, "b")})).ok());
  EXPECT_REJECTED(bench.Rejection(MakeMessage(2, {MakeHeldOut(1, "c")})), IsResourceExhausted,
                  "task limit 2");
  EXPECT_REJECTED(bench.Rejection(MakeBoundary(3, "c")), IsResourceExhausted, "task limit 2");
  EXPECT_TRUE(bench.Rejection(MakeBoundary(4, "b")).ok());
}

TEST(AdmissionTest, ProducersAreNamedAndLimited) {
  ModelBench bench;
  bench.limits().set_producers(2);
  bench.Restart();
  absl::Status last;
  auto send = [&](const std::string& producer) {
    bench.model().Learn(producer, 0, MakeMessage(1, {MakeExample(1)}),
                        [&](absl::StatusOr<Accepted> accepted) { last = accepted.status(); });
    bench.store().Commit();
    return last;
  };
  for (const std::string& name : {std::string(), std::string(129, 'a'), std::string("../x"),
                                  std::string("a\0b", 3), std::string("..")}) {
    EXPECT_REJECTED(send(name), IsInvalidArgument, "producer: must match [A-Za-z0-9._-]{1,128}");
  }
  EXPECT_TRUE(send("a").ok());
  EXPECT_TRUE(send("b").ok());
  EXPECT_REJECTED(send("c"), IsResourceExhausted, "producer limit 2");
}

TEST(AdmissionTest, AProducerThatGotNothingInTakesNoPlace) {
  ModelBench bench;
  bench.limits().set_producers(1);
  bench.Restart();
  absl::Status last;
  auto send = [&](const std::string& producer, uint64_t sequence) {
    bench.model().Learn(producer, 0, MakeMessage(sequence, {MakeExample(1)}),
                        [&](absl::StatusOr<Accepted> accepted) { last = accepted.status(); });
    bench.store().Commit();
    return last;
  };
  EXPECT_EQ(ReasonOf(send("gap", 7)), "SEQUENCE_GAP");
  bench.store().RefuseWrites(absl::ResourceExhaustedError("queue full"));
  EXPECT_TRUE(absl::IsResourceExhausted(send("unlucky", 1)));
  bench.store().RefuseWrites(absl::OkStatus());
  EXPECT_TRUE(send("good", 1).ok());
}

// --- repeats ---

TEST(AdmissionTest, ARepeatIsAcknowledgedAndNotStored) {
  ModelBench bench;
  bench.LearnNow({MakeExample(1), MakeExample(2)});
  const auto repeat = bench.Send(MakeMessage(1, {MakeExample(1), MakeExample(2)}));
  ASSERT_TRUE(repeat->has_value());
  EXPECT_TRUE((**repeat)->duplicate);
  EXPECT_EQ((**repeat)->first_sequence, 1);
  EXPECT_EQ((**repeat)->count, 2);
  EXPECT_EQ(bench.model().DurableSequence(), 2);
  EXPECT_EQ(bench.model().statistics().duplicate_examples, 2);
}

TEST(AdmissionTest, ARepeatOfAMessageOnItsWayWaitsForIt) {
  ModelBench bench;
  const auto original = bench.Send(MakeMessage(1, {MakeExample(1)}));
  const auto repeat = bench.Send(MakeMessage(1, {MakeExample(1)}));
  EXPECT_FALSE(repeat->has_value());
  bench.store().Commit();
  EXPECT_FALSE((**original)->duplicate);
  EXPECT_TRUE((**repeat)->duplicate);
  EXPECT_EQ((**repeat)->first_sequence, 1);
}

TEST(AdmissionTest, OtherContentUnderAUsedSequenceIsAMismatch) {
  ModelBench bench;
  bench.LearnNow({MakeExample(1)});
  absl::Status status = bench.Rejection(MakeMessage(1, {MakeExample(2)}));
  EXPECT_TRUE(absl::IsAlreadyExists(status));
  EXPECT_EQ(ReasonOf(status), "PAYLOAD_MISMATCH");
  EXPECT_THAT(std::string(status.message()),
              HasSubstr("sequence 1 already stored with a different payload"));
  bench.Send(MakeMessage(2, {MakeExample(2)}));
  status = (**bench.Send(MakeMessage(2, {MakeExample(3)})))->rejection;  // still in flight
  EXPECT_EQ(ReasonOf(status), "PAYLOAD_MISMATCH");
  bench.store().Commit();
  EXPECT_EQ(bench.model().DurableSequence(), 2);
}

TEST(AdmissionTest, AGapIsRefusedNamingWhatIsExpected) {
  ModelBench bench;
  bench.LearnNow({MakeExample(1)});
  const absl::Status status = bench.Rejection(MakeMessage(3, {MakeExample(2)}));
  EXPECT_TRUE(absl::IsAborted(status));
  EXPECT_EQ(ReasonOf(status), "SEQUENCE_GAP");
  EXPECT_EQ(status.message(), "expected sequence 2, got 3");
  EXPECT_TRUE(absl::IsInvalidArgument(bench.Rejection(MakeMessage(0, {MakeExample(1)}))));
  EXPECT_TRUE(absl::IsInvalidArgument(
      bench.Rejection(MakeMessage(std::numeric_limits<uint64_t>::max(), {MakeExample(1)}))));
}

TEST(AdmissionTest, RepeatsOlderThanTheWindowAreDuplicatesUnchecked) {
  ModelBench bench;
  for (int i = 0; i < 1026; ++i) bench.Learn({MakeExample(1)});
  bench.store().Commit();
  EXPECT_TRUE((**bench.Send(MakeMessage(1, {MakeExample(9)})))->duplicate);
  EXPECT_FALSE((**bench.Send(MakeMessage(1000, {MakeExample(9)})))->rejection.ok());
}

TEST(AdmissionTest, ARejectionUsesUpItsSequenceAndStoresNothing) {
  ModelBench bench;
  EXPECT_FALSE(bench.Rejection(MakeMessage(1, {})).ok());
  EXPECT_TRUE(bench.Rejection(MakeMessage(2, {MakeExample(1)})).ok());
  EXPECT_EQ(bench.model().DurableSequence(), 1);
  bench.Restart();
  EXPECT_TRUE(bench.Rejection(MakeMessage(3, {MakeExample(1)})).ok());
}

TEST(AdmissionTest, TheLastRejectedMessageMayBeMended) {
  for (bool restart : {false, true}) {
    ModelBench bench;
    EXPECT_FALSE(bench.Rejection(MakeMessage(1, {})).ok());
    if (restart) bench.Restart();
    EXPECT_TRUE(bench.Rejection(MakeMessage(1, {MakeExample(1)})).ok());
    EXPECT_EQ(bench.model().DurableSequence(), 1);
    EXPECT_TRUE((**bench.Send(MakeMessage(1, {MakeExample(1)})))->duplicate);
  }
}

TEST(AdmissionTest, AnOlderRejectionIsRejectedAgain) {
  ModelBench bench;
  EXPECT_FALSE(bench.Rejection(MakeBoundary(1)).ok());
  EXPECT_TRUE(bench.Rejection(MakeMessage(2, {MakeExample(1)})).ok());
  const absl::Status again = bench.Rejection(MakeBoundary(1));
  EXPECT_TRUE(absl::IsFailedPrecondition(again));
  EXPECT_EQ(ReasonOf(again), "REJECTED_BEFORE");
  EXPECT_EQ(bench.model().DurableSequence(), 1);
}

TEST(AdmissionTest, ARepeatedBoundaryStillNamesItsTasks) {
  ModelBench bench;
  bench.LearnNow({MakeExample(1)});
  bench.BoundaryNow("b");
  bench.Restart();
  const Accepted repeat = ***bench.Send(MakeBoundary(2, "b"));
  EXPECT_TRUE(repeat.duplicate);
  EXPECT_EQ(repeat.first_sequence, 2);
  EXPECT_EQ(repeat.ended_task, "task-1");
  EXPECT_EQ(repeat.next_task, "b");
}

TEST(AdmissionTest, RepeatsSurviveARestart) {
  ModelBench bench;
  bench.LearnNow({MakeExample(1)});
  bench.LearnNow({MakeExample(2)});
  bench.Restart();
  EXPECT_TRUE((**bench.Send(MakeMessage(2, {MakeExample(2)})))->duplicate);
  EXPECT_EQ(ReasonOf(bench.Rejection(MakeMessage(4, {MakeExample(2)}))), "SEQUENCE_GAP");
}

TEST(AdmissionTest, WhatWasNotDurableIsNewAfterACrash) {
  ModelBench bench;
  const auto lost = bench.Learn({MakeExample(1)});
  bench.Restart();
  EXPECT_FALSE(lost->has_value());
  EXPECT_TRUE(bench.Rejection(MakeMessage(1, {MakeExample(1)})).ok());
  EXPECT_EQ(bench.model().DurableSequence(), 1);
}

// --- epochs ---

Answer<v1::LearnWelcome> Hello(ModelBench* bench, uint64_t last_acked) {
  auto answer = std::make_shared<absl::optional<absl::StatusOr<v1::LearnWelcome>>>();
  v1::LearnHello hello;
  hello.set_producer("p");
  hello.set_last_acked_sequence(last_acked);
  bench->model().Hello(hello, [answer](absl::StatusOr<v1::LearnWelcome> welcome) {
    *answer = std::move(welcome);
  });
  bench->store().Commit();
  return answer;
}

TEST(AdmissionTest, AHelloFencesOlderStreams) {
  ModelBench bench;
  bench.LearnNow({MakeExample(1)});
  EXPECT_EQ((**Hello(&bench, 0))->epoch(), 1);
  const auto welcome = ***Hello(&bench, 1);
  EXPECT_EQ(welcome.epoch(), 2);
  EXPECT_EQ(welcome.last_producer_sequence(), 1);
  EXPECT_EQ(welcome.durable_sequence(), 1);
  const auto stale = bench.Send(MakeMessage(2, {MakeExample(1)}), 1);
  EXPECT_EQ(ReasonOf((*stale)->status()), "STALE_EPOCH");
  EXPECT_EQ((*stale)->status().message(), "stream taken over by epoch 2");
  bench.Send(MakeMessage(2, {MakeExample(1)}), 2);
  bench.Restart();
  EXPECT_EQ((**Hello(&bench, 0))->epoch(), 3);
}

TEST(AdmissionTest, AProducerThatSawMoreAcksThanAreStoredMeansDataLoss) {
  ModelBench bench;
  bench.LearnNow({MakeExample(1)});
  const auto answer = Hello(&bench, 5);
  bench.Settle();
  const absl::Status status = (*answer)->status();
  EXPECT_TRUE(absl::IsDataLoss(status));
  EXPECT_EQ(ReasonOf(status), "ACK_AHEAD");
  EXPECT_EQ(status.message(), "client holds ack 5, server has 1");
}

TEST(AdmissionTest, IdleProducersAreForgottenWithTheCheckpointsRetention) {
  ModelBench bench;
  bench.LearnNow({MakeExample(1)});
  bench.clock().Advance(absl::Hours(24 * 31));
  bench.LearnNow({MakeExample(1)});  // seen again
  bench.model().Learn("other", 0, MakeMessage(1, {MakeExample(1)}),
                      [](const absl::StatusOr<Accepted>&) {});
  bench.store().Commit();
  bench.clock().Advance(absl::Hours(24 * 20));
  bench.LearnNow({MakeExample(1)});
  bench.clock().Advance(absl::Hours(24 * 20));
  bench.CheckpointNow();
  const auto producers = *bench.store().log().Producers(bench.uid());
  ASSERT_EQ(producers.size(), 1);
  EXPECT_EQ(producers[0].producer, "p");
}

// --- storage refuses ---

TEST(AdmissionTest, AFullQueueDoesNotUseUpTheSequence) {
  ModelBench bench;
  bench.store().RefuseWrites(absl::ResourceExhaustedError("queue 64 MiB full"));
  const auto refused = bench.Send(MakeMessage(1, {MakeExample(1)}));
  EXPECT_REJECTED((*refused)->status(), IsResourceExhausted, "queue 64 MiB full");
  EXPECT_TRUE((*refused)->status().GetPayload("type.googleapis.com/google.rpc.RetryInfo"));
  bench.store().RefuseWrites(absl::OkStatus());
  EXPECT_TRUE(bench.Rejection(MakeMessage(1, {MakeExample(1)})).ok());
}

TEST(AdmissionTest, AFailedSyncAnswersEverybodyAndPredictionsGoOn) {
  ModelBench bench;
  bench.LearnNow({MakeExample(1), MakeExample(1), MakeExample(1)});
  bench.Settle();
  const auto lost = bench.Learn({MakeExample(2)});
  const auto repeat = bench.Send(MakeMessage(2, {MakeExample(2)}));
  bench.store().FailCommits("fdatasync: Input/output error");
  bench.store().Commit();
  EXPECT_REJECTED((*lost)->status(), IsFailedPrecondition, "read-only");
  EXPECT_FALSE((*repeat)->status().ok());
  EXPECT_REJECTED((*bench.Learn({MakeExample(2)}))->status(), IsFailedPrecondition, "read-only");
  const auto again = bench.Send(MakeMessage(2, {MakeExample(2)}));
  EXPECT_REJECTED((*again)->status(), IsFailedPrecondition, "read-only");
  EXPECT_EQ(bench.model().Describe().state(), v1::Model::READ_ONLY);
  EXPECT_EQ(bench.model().Live().version(), 3);
}

TEST(ContentHashTest, DependsOnKindAndOnWhereRecordsEnd) {
  EXPECT_NE(ContentHash({{1, "ab"}}), ContentHash({{2, "ab"}}));
  EXPECT_NE(ContentHash({{1, "ab"}, {1, "c"}}), ContentHash({{1, "a"}, {1, "bc"}}));
  EXPECT_EQ(ContentHash({{1, "ab"}}), ContentHash({{1, "ab"}}));
}

}  // namespace
}  // namespace engram::server
