// Candidates in a model's shadow: the same log decides alike, to the same bits, whatever happens
// in between.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "absl/strings/str_cat.h"
#include "server/shadow_set.h"
#include "tests/testing/server/model_bench.h"

namespace engram::server {
namespace {

using ::testing::HasSubstr;
using testing::MakeExamples;
using testing::MakeSpec;
using testing::ModelBench;
using v1::TuneReport;

constexpr double kOwnRate = 0.05;
constexpr double kBestRate = 0.4;

// Rates 0.05 (own), 0.1, 0.4, 1.6; two tasks.
v1::ModelSpec TunedSpec(v1::Tune::Policy policy) {
  v1::ModelSpec spec = MakeSpec();
  spec.mutable_optimizer()->set_learning_rate(kOwnRate);
  v1::Tune* tune = spec.mutable_tune();
  for (const double rate : {0.1, kBestRate, 1.6}) {
    tune->add_candidates()->mutable_spec()->mutable_optimizer()->set_learning_rate(rate);
  }
  tune->set_tasks(2);
  tune->set_policy(policy);
  return spec;
}

// Its second candidate learns best.
class TunedBench : public ModelBench {
 public:
  explicit TunedBench(v1::Tune::Policy policy) : ModelBench(TunedSpec(policy)) {
    script().best_rate = kBestRate;
  }
};

void LearnTask(ModelBench* bench, int64_t label) {
  bench->LearnNow(MakeExamples(24, label));
  bench->LearnNow(MakeExamples(8, label + 1));
}

void LearnAndEndTask(ModelBench* bench, int64_t label) {
  LearnTask(bench, label);
  bench->BoundaryNow();
}

// What a tune of two tasks is decided by, up to where the record of the decision may come.
void LearnTwoTasks(ModelBench* bench) {
  LearnAndEndTask(bench, 1);
  LearnAndEndTask(bench, 2);
}

TuneReport Tune(ModelBench* bench) { return bench->model().Describe().tune(); }

// Everything that a checkpoint of now holds of the model and its candidates.
std::string Bits(const RestorableLearner& learner) {
  std::string bits = learner.saved.tensors;
  for (const auto& payload : learner.payloads) {
    absl::StrAppend(&bits, " ", payload.key.memory, ":", payload.key.sequence, "=", payload.bytes);
  }
  for (const auto& shadow : learner.shadows) absl::StrAppend(&bits, "|", Bits(shadow));
  return bits;
}

std::string Bits(ModelBench* bench) {
  return absl::StrCat(Bits(bench->Stored()), Tune(bench).DebugString());
}

// Learns two tasks and a bit, with whatever `between` does after each message.
void LearnThrough(ModelBench* bench, const std::function<void()>& between) {
  bench->script().best_rate = kBestRate;
  for (int task = 0; task < 2; ++task) {
    bench->LearnNow(MakeExamples(24, task));
    between();
    bench->LearnNow(MakeExamples(8, task + 1));
    between();
    bench->BoundaryNow();
    bench->Settle();  // the record of the decision comes at the same place each time
    between();
  }
  bench->LearnNow(MakeExamples(10, 3));
  bench->Settle();
}

TEST(TuneTest, TheBestCandidateIsProposedAtTheEndOfTheLastTask) {
  TunedBench bench(v1::Tune::PROPOSE);
  LearnAndEndTask(&bench, 1);
  bench.Settle();
  EXPECT_EQ(Tune(&bench).state(), TuneReport::RUNNING);
  EXPECT_EQ(Tune(&bench).tasks_ended(), 1);
  LearnAndEndTask(&bench, 2);
  bench.Settle();
  const TuneReport report = Tune(&bench);
  EXPECT_EQ(report.state(), TuneReport::DECIDED);
  EXPECT_EQ(report.winner(), 2);
  EXPECT_EQ(report.winner_name(), "candidate-2");
  EXPECT_EQ(report.own().examples(), 64);
  EXPECT_EQ(report.candidates(1).examples(), 64);
  EXPECT_EQ(report.candidates(1).hits(), 64);
  EXPECT_EQ(report.own().hits(), 40) << "three octaves away: sequences 3 to 7 of each 8";
  EXPECT_EQ(report.candidates(2).hits(), 48);
  EXPECT_EQ(bench.model().spec()->optimizer().learning_rate(), kOwnRate);
  EXPECT_TRUE(bench.model().spec()->has_tune()) << "it waits";
  EXPECT_EQ(bench.model().DurableSequence(), 66) << "a proposal is no record";
}

TEST(TuneTest, AProposalIsPromotedOnRequest) {
  ModelBench bench(TunedSpec(v1::Tune::PROPOSE));
  EXPECT_TRUE(absl::IsFailedPrecondition(bench.PromoteNow().status())) << "nothing is proposed";
  LearnThrough(&bench, [] {});
  const auto promoted = bench.PromoteNow();
  ASSERT_TRUE(promoted.ok()) << promoted.status();
  EXPECT_EQ(promoted->sequence(), 77);
  EXPECT_EQ(promoted->model().name(), "digits");
  EXPECT_EQ(promoted->model().spec().optimizer().learning_rate(), kBestRate);
  EXPECT_EQ(bench.model().spec()->optimizer().learning_rate(), kBestRate);
  EXPECT_FALSE(bench.model().spec()->has_tune());
  EXPECT_EQ(Tune(&bench).state(), TuneReport::PROMOTED);
  EXPECT_EQ(bench.model().Live().version(), 77);
  EXPECT_TRUE(absl::IsFailedPrecondition(bench.PromoteNow().status())) << "once";
}

TEST(TuneTest, APromotedModelEqualsOneCreatedWithTheWinningSpec) {
  ModelBench tuned(TunedSpec(v1::Tune::PROMOTE));
  LearnThrough(&tuned, [] {});
  EXPECT_EQ(Tune(&tuned).state(), TuneReport::PROMOTED);
  v1::ModelSpec spec = MakeSpec();
  spec.mutable_optimizer()->set_learning_rate(kBestRate);
  ModelBench direct(spec);
  int messages = 0;
  LearnThrough(&direct, [&] {
    // Where the other log says that the candidate takes over, this one says nothing new.
    if (++messages == 6) {
      ASSERT_TRUE(direct.UpdateNow(*direct.model().spec()).ok());
    }
  });
  EXPECT_EQ(tuned.model().DurableSequence(), direct.model().DurableSequence());
  EXPECT_EQ(tuned.model().Live().version(), direct.model().Live().version());
  EXPECT_EQ(Bits(tuned.Stored()), Bits(direct.Stored()));
  EXPECT_EQ(tuned.model().spec()->SerializeAsString(), direct.model().spec()->SerializeAsString());
}

TEST(TuneTest, ACandidateOfAnotherShapeTakesOverWhole) {
  v1::ModelSpec spec = TunedSpec(v1::Tune::PROMOTE);
  spec.mutable_tune()->mutable_candidates(1)->mutable_spec()->mutable_mlp()->add_hidden(32);
  ModelBench bench(spec);
  LearnThrough(&bench, [] {});
  EXPECT_THAT(bench.model().spec()->mlp().hidden(), ::testing::ElementsAre(32));
  const std::string bits = Bits(&bench);
  bench.Restart();
  EXPECT_EQ(Bits(&bench), bits);
}

TEST(TuneTest, EqualRecordsDecideAlikeToTheSameBits) {
  for (const v1::Tune::Policy policy : {v1::Tune::PROPOSE, v1::Tune::PROMOTE}) {
    ModelBench first(TunedSpec(policy)), second(TunedSpec(policy));
    LearnThrough(&first, [] {});
    LearnThrough(&second, [] {});
    EXPECT_EQ(Bits(&first), Bits(&second));
  }
}

TEST(TuneTest, RestartsInTheMiddleChangeNothing) {
  for (const v1::Tune::Policy policy : {v1::Tune::PROPOSE, v1::Tune::PROMOTE}) {
    ModelBench plain(TunedSpec(policy)), crashed(TunedSpec(policy)), kept(TunedSpec(policy));
    LearnThrough(&plain, [] {});
    LearnThrough(&crashed, [&] { crashed.Restart(); });
    LearnThrough(&kept, [&] {
      kept.CheckpointNow();
      kept.Restart();
    });
    const std::string bits = Bits(&plain);
    EXPECT_EQ(Bits(&crashed), bits);
    EXPECT_EQ(Bits(&kept), bits);
    EXPECT_EQ(kept.model().DurableSequence(), plain.model().DurableSequence());
    plain.Restart();
    EXPECT_EQ(Bits(&plain), bits);
  }
}

TEST(TuneTest, TheRecordOfADecisionIsWrittenOnceAlsoWhenTheServerDiesBeforeIt) {
  TunedBench bench(v1::Tune::PROMOTE);
  LearnTwoTasks(&bench);
  while (Tune(&bench).state() != TuneReport::DECIDED) bench.model().RunOnce();
  EXPECT_EQ(bench.model().DurableSequence(), 66);
  bench.Reopen();  // the record was submitted, never synced
  bench.Settle();
  EXPECT_EQ(bench.model().DurableSequence(), 67);
  EXPECT_EQ(Tune(&bench).state(), TuneReport::PROMOTED);
  bench.Restart();
  bench.Restart();
  EXPECT_EQ(bench.model().DurableSequence(), 67);
}

TEST(TuneTest, APausedModelAsksForNoSecondRecord) {
  TunedBench bench(v1::Tune::PROMOTE);
  LearnTwoTasks(&bench);
  while (Tune(&bench).state() != TuneReport::DECIDED) bench.model().RunOnce();
  bench.model().SetPaused(true);
  ASSERT_TRUE(bench.store().catalog().SetPaused(bench.uid(), true).ok());
  bench.Settle();  // the record is durable and not applied; a checkpoint of the pause is behind it
  EXPECT_EQ(bench.model().DurableSequence(), 67);
  bench.Restart();
  EXPECT_EQ(Tune(&bench).state(), TuneReport::DECIDED);
  EXPECT_EQ(bench.model().DurableSequence(), 67);
  bench.model().SetPaused(false);
  bench.Settle();
  EXPECT_EQ(Tune(&bench).state(), TuneReport::PROMOTED);
  EXPECT_EQ(bench.model().DurableSequence(), 67);
}

TEST(TuneTest, ARollbackAcrossTheDecisionOpensTheTuneAgain) {
  TunedBench bench(v1::Tune::PROMOTE);
  LearnAndEndTask(&bench, 1);
  bench.CheckpointNow("first");
  const std::string before = Bits(bench.Stored());
  LearnAndEndTask(&bench, 2);
  bench.Settle();
  ASSERT_EQ(Tune(&bench).state(), TuneReport::PROMOTED);
  bench.RollbackNow("first");
  EXPECT_EQ(Tune(&bench).state(), TuneReport::RUNNING);
  EXPECT_EQ(Tune(&bench).tasks_ended(), 1);
  EXPECT_EQ(bench.model().spec()->optimizer().learning_rate(), kOwnRate);
  EXPECT_EQ(Bits(bench.Stored()), before) << "candidates and model, to the bit";
  bench.Restart();
  EXPECT_EQ(Bits(bench.Stored()), before);
  bench.script().best_rate = 1.6;  // this time it goes otherwise
  LearnTask(&bench, 5);
  LearnTask(&bench, 6);
  LearnAndEndTask(&bench, 7);
  bench.Settle();
  EXPECT_EQ(Tune(&bench).winner(), 3);
  EXPECT_EQ(bench.model().spec()->optimizer().learning_rate(), 1.6);
  const std::string after = Bits(&bench);
  bench.Restart();
  EXPECT_EQ(Bits(&bench), after);
}

// Learns two tasks, of which `subject` is to be erased.
void LearnTwoTasksOf(const std::string& subject, ModelBench* bench) {
  v1::Example example = testing::MakeExample(1);
  example.set_subject_id(subject);
  bench->LearnNow({example});
  LearnTwoTasks(bench);
  bench->Settle();
}

TEST(TuneTest, AnErasureKeepsWhatTheLogPromotedThoughAnotherWouldWinWithoutTheExamples) {
  TunedBench bench(v1::Tune::PROMOTE);
  LearnTwoTasksOf("ann", &bench);
  ASSERT_EQ(Tune(&bench).winner(), 2);
  LearnTask(&bench, 3);
  bench.script().best_rate = 0.1;
  EXPECT_EQ(bench.EraseNow("", "ann").weights(), v1::EraseResponse::WEIGHTS_REBUILT);
  const TuneReport report = Tune(&bench);
  EXPECT_EQ(report.state(), TuneReport::PROMOTED);
  EXPECT_EQ(report.winner(), 2);
  EXPECT_EQ(report.winner_name(), "candidate-2");
  EXPECT_EQ(bench.model().Describe().state(), v1::Model::SERVING);
  EXPECT_EQ(bench.model().spec()->optimizer().learning_rate(), kBestRate);
  LearnTask(&bench, 4);
  bench.Settle();
  const std::string bits = Bits(&bench);
  bench.Restart();
  EXPECT_EQ(Bits(&bench), bits);
}

TEST(TuneTest, AnErasureKeepsWhatTheLogPromotedThoughItWouldBeDroppedWithoutTheExamples) {
  TunedBench bench(v1::Tune::PROMOTE);
  LearnTwoTasksOf("ann", &bench);
  bench.script().skipping_rate = kBestRate;
  bench.EraseNow("", "ann");
  const TuneReport report = Tune(&bench);
  EXPECT_THAT(report.candidates(1).dropped(), HasSubstr("diverged"));
  EXPECT_EQ(report.candidates(1).skipped_batches(), ShadowSet::kSkippedInRowMax);
  EXPECT_EQ(report.winner(), 2);
  EXPECT_EQ(bench.model().spec()->optimizer().learning_rate(), kBestRate);
  EXPECT_EQ(bench.model().Describe().state(), v1::Model::SERVING);
}

TEST(TuneTest, AnErasureDecidesAProposalAnew) {
  TunedBench bench(v1::Tune::PROPOSE);
  LearnTwoTasksOf("ann", &bench);
  ASSERT_EQ(Tune(&bench).winner(), 2);
  bench.script().best_rate = 0.1;
  bench.EraseNow("", "ann");
  EXPECT_EQ(Tune(&bench).state(), TuneReport::DECIDED);
  EXPECT_EQ(Tune(&bench).winner(), 1);
  const RestorableLearner stored = bench.Stored();
  ASSERT_EQ(stored.shadows.size(), 3u);
  EXPECT_NE(stored.shadows[0].saved.tensors, "");
  EXPECT_EQ(stored.shadows[1].saved.tensors, "") << "the others have ended";
  EXPECT_EQ(stored.shadows[2].saved.tensors, "");
  ASSERT_TRUE(bench.PromoteNow().ok());
  EXPECT_EQ(bench.model().spec()->optimizer().learning_rate(), 0.1);
}

TEST(TuneTest, AnErasureOfAPausedModelKeepsTheCandidateThatALaterRecordPromotes) {
  TunedBench bench(v1::Tune::PROPOSE);
  LearnTwoTasksOf("ann", &bench);
  ASSERT_EQ(Tune(&bench).winner(), 2);
  bench.model().SetPaused(true);
  ASSERT_TRUE(bench.PromoteNow().ok());
  ASSERT_TRUE(bench.UpdateNow(TunedSpec(v1::Tune::PROPOSE)).ok()) << "another tune";
  bench.script().best_rate = 0.1;
  bench.EraseNow("", "ann");
  bench.model().SetPaused(false);
  bench.Settle();
  EXPECT_EQ(bench.model().Describe().state(), v1::Model::SERVING);
  EXPECT_EQ(Tune(&bench).state(), TuneReport::RUNNING);
  LearnTwoTasks(&bench);
  bench.Settle();
  EXPECT_EQ(Tune(&bench).state(), TuneReport::DECIDED);
}

TEST(TuneTest, ALostCheckpointIsReplayedThroughTheDecision) {
  TunedBench bench(v1::Tune::PROMOTE);
  LearnTask(&bench, 1);
  bench.CheckpointNow("early");
  bench.BoundaryNow();
  LearnAndEndTask(&bench, 2);
  bench.Settle();
  bench.RollbackNow("early");
  LearnTask(&bench, 4);
  bench.Settle();
  const std::string bits = Bits(&bench);
  const auto checkpoints = *bench.model().ListCheckpoints();
  for (const v1::Checkpoint& checkpoint : checkpoints) {
    ASSERT_TRUE(bench.store().checkpoints().Delete(bench.uid(), checkpoint.id()).ok());
  }
  bench.Restart();
  EXPECT_EQ(Bits(&bench), bits);
}

TEST(TuneTest, CandidatesOfAPretrainedModelBeginWithItsWeightsWhichAreReadOnce) {
  ModelBench weighted(TunedSpec(v1::Tune::PROPOSE), "weights"), drawn(TunedSpec(v1::Tune::PROPOSE));
  EXPECT_EQ(weighted.store().weights_loads(), 1);
  const RestorableLearner stored = weighted.Stored(), without = drawn.Stored();
  ASSERT_EQ(stored.shadows.size(), 3u);
  for (size_t i = 0; i < 3; ++i) EXPECT_NE(Bits(stored.shadows[i]), Bits(without.shadows[i]));
}

TEST(TuneTest, AModelOfAnotherShapeIsReplayedFromItsWeightsWhenItsCheckpointsAreDamaged) {
  v1::ModelSpec spec = TunedSpec(v1::Tune::PROMOTE);
  spec.mutable_tune()->mutable_candidates(1)->mutable_spec()->mutable_mlp()->add_hidden(32);
  ModelBench bench(spec, "weights");
  bench.CheckpointNow();
  LearnThrough(&bench, [] {});
  bench.CheckpointNow();
  const std::string bits = Bits(&bench);
  const auto checkpoints = *bench.model().ListCheckpoints();
  for (const v1::Checkpoint& checkpoint : checkpoints) {
    bench.store().CorruptCheckpoint(bench.uid(), checkpoint.id());
  }
  bench.Restart();
  EXPECT_EQ(Bits(&bench), bits);
}

TEST(TuneTest, CandidatesThatDivergeOrFailAreDroppedAndSaidSo) {
  TunedBench bench(v1::Tune::PROMOTE);
  bench.script().skipping_rate = kBestRate;
  bench.script().failing_rate = 1.6;
  LearnTask(&bench, 1);
  bench.Settle();
  const TuneReport report = Tune(&bench);
  EXPECT_THAT(report.candidates(1).dropped(),
              HasSubstr("diverged: 8 batches in a row were skipped, the last: scripted skip"));
  EXPECT_EQ(report.candidates(1).skipped_batches(), 8);
  EXPECT_THAT(report.candidates(2).dropped(), HasSubstr("failed: scripted rate"));
  EXPECT_EQ(report.candidates(0).dropped(), "");
  bench.Restart();
  EXPECT_EQ(Tune(&bench).DebugString(), report.DebugString());
  bench.BoundaryNow();
  LearnAndEndTask(&bench, 2);
  bench.Settle();
  EXPECT_EQ(Tune(&bench).winner(), 1) << "the best of those left";
  EXPECT_EQ(bench.model().Describe().state(), v1::Model::SERVING);
}

TEST(TuneTest, WithAllCandidatesDroppedTheModelStaysAsItIs) {
  v1::ModelSpec spec = TunedSpec(v1::Tune::PROPOSE);
  spec.mutable_tune()->mutable_candidates()->RemoveLast();
  ModelBench bench(spec);
  bench.script().skipping_rate = kBestRate;
  bench.script().failing_rate = 0.1;
  LearnTwoTasks(&bench);
  bench.Settle();
  EXPECT_EQ(Tune(&bench).state(), TuneReport::KEPT);
  EXPECT_EQ(Tune(&bench).winner_name(), "own");
  EXPECT_FALSE(bench.model().spec()->has_tune()) << "it ends by itself";
  EXPECT_EQ(bench.Stored().shadows.size(), 0u);
}

TEST(TuneTest, ATiedTuneKeepsTheModelsOwnSettings) {
  ModelBench bench(TunedSpec(v1::Tune::PROMOTE));  // all learn alike without a best rate
  LearnTwoTasks(&bench);
  bench.Settle();
  EXPECT_EQ(Tune(&bench).state(), TuneReport::KEPT);
  EXPECT_EQ(bench.model().spec()->optimizer().learning_rate(), kOwnRate);
}

TEST(TuneTest, TheModelItselfLearnsAsWithoutCandidates) {
  ModelBench tuned(TunedSpec(v1::Tune::PROPOSE));
  v1::ModelSpec spec = MakeSpec();
  spec.mutable_optimizer()->set_learning_rate(kOwnRate);
  ModelBench plain(spec);
  LearnThrough(&tuned, [] {});
  LearnThrough(&plain, [] {});
  EXPECT_EQ(tuned.learner().digest(), plain.learner().digest());
}

TEST(TuneTest, AStreamWithoutTasksIsDecidedAfterSoManyExamples) {
  v1::ModelSpec spec = TunedSpec(v1::Tune::PROMOTE);
  spec.mutable_tune()->set_tasks(0);
  spec.mutable_tune()->set_examples(32);
  ModelBench bench(spec);
  bench.script().best_rate = kBestRate;
  bench.LearnNow(MakeExamples(60));
  bench.Settle();
  EXPECT_EQ(Tune(&bench).examples_seen(), 33) << "the batch of 3 that reaches 32 is whole";
  EXPECT_EQ(Tune(&bench).own().examples(), 33);
  EXPECT_EQ(Tune(&bench).state(), TuneReport::PROMOTED);
  EXPECT_EQ(bench.model().DurableSequence(), 61);
}

TEST(TuneTest, ATuneOfARunningModelBeginsWithCopiesOfIt) {
  v1::ModelSpec plain = MakeSpec();
  plain.mutable_optimizer()->set_learning_rate(kOwnRate);
  ModelBench bench(plain), twin(plain);
  for (ModelBench* each : {&bench, &twin}) {
    each->script().best_rate = kBestRate;
    LearnTask(each, 1);
    each->Settle();
  }
  v1::ModelSpec next = *bench.model().spec();
  *next.mutable_tune() = TunedSpec(v1::Tune::PROMOTE).tune();
  next.mutable_tune()->set_tasks(1);
  ASSERT_TRUE(bench.UpdateNow(next).ok());
  bench.Settle();
  EXPECT_EQ(Tune(&bench).id(), 1u);
  next.clear_tune();
  next.mutable_optimizer()->set_learning_rate(kBestRate);
  ASSERT_TRUE(twin.UpdateNow(next).ok());  // the twin takes the winning rate at the same record
  bench.Restart();
  for (ModelBench* each : {&bench, &twin}) {
    each->script().best_rate = kBestRate;
    LearnAndEndTask(each, 2);
    each->Settle();
  }
  EXPECT_EQ(Tune(&bench).state(), TuneReport::PROMOTED);
  ASSERT_TRUE(twin.UpdateNow(*twin.model().spec()).ok());
  EXPECT_EQ(Bits(bench.Stored()), Bits(twin.Stored()));
  // Exemplars of the promoted candidate are apart from those that checkpoints keep of the model.
  bench.Restart();
  EXPECT_EQ(Bits(bench.Stored()), Bits(twin.Stored()));
}

TEST(TuneTest, OneTuneAtATimeAndNoneThatHasEnded) {
  ModelBench bench(TunedSpec(v1::Tune::PROPOSE));
  const v1::ModelSpec tuned = *bench.model().spec();
  v1::ModelSpec next = tuned;
  next.mutable_tune()->set_tasks(5);
  EXPECT_TRUE(absl::IsFailedPrecondition(bench.UpdateNow(next).status()));
  next = tuned;
  next.mutable_optimizer()->set_learning_rate(0.07);
  EXPECT_TRUE(bench.UpdateNow(next).ok()) << "the model's own settings may change meanwhile";
  bench.Settle();
  EXPECT_EQ(Tune(&bench).state(), TuneReport::RUNNING);
  next.clear_tune();
  EXPECT_TRUE(bench.UpdateNow(next).ok());
  bench.Settle();
  EXPECT_EQ(Tune(&bench).state(), TuneReport::STOPPED);
  EXPECT_EQ(bench.Stored().shadows.size(), 0u);
  const absl::Status stale = bench.UpdateNow(tuned).status();
  EXPECT_TRUE(absl::IsFailedPrecondition(stale)) << "a client's old copy begins nothing";
  EXPECT_THAT(std::string(stale.message()), HasSubstr("has ended"));
  next = tuned;
  next.mutable_tune()->clear_id();
  ASSERT_TRUE(bench.UpdateNow(next).ok());
  bench.Settle();
  EXPECT_EQ(Tune(&bench).id(), 2u);
  EXPECT_EQ(Tune(&bench).state(), TuneReport::RUNNING);
}

TEST(TuneTest, ARunningModelTriesOnlyWhatMayChangeLive) {
  ModelBench bench;
  v1::ModelSpec next = *bench.model().spec();
  *next.mutable_tune() = TunedSpec(v1::Tune::PROPOSE).tune();
  next.mutable_tune()->mutable_candidates(2)->mutable_spec()->mutable_mlp()->add_hidden(32);
  const absl::Status refused = bench.UpdateNow(next).status();
  EXPECT_TRUE(absl::IsInvalidArgument(refused));
  EXPECT_THAT(std::string(refused.message()), HasSubstr("spec.tune.candidates[2]"));
}

TEST(TuneTest, AnOldVersionIsServedFromACheckpointWithCandidates) {
  ModelBench bench(TunedSpec(v1::Tune::PROMOTE));
  LearnThrough(&bench, [&] { bench.CheckpointNow(); });
  const auto checkpoints = *bench.model().ListCheckpoints();
  for (const v1::Checkpoint& checkpoint : checkpoints) {
    const auto served = bench.model().Version(checkpoint.applied_sequence());
    EXPECT_TRUE(served.ok()) << served.status();
  }
}

}  // namespace
}  // namespace engram::server
