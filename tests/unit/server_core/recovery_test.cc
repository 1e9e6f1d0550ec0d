// A model that was killed and one that never was hold the same bits.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "tests/testing/server/model_bench.h"

namespace engram::server {
namespace {

using ::testing::HasSubstr;
using testing::MakeExample;
using testing::MakeHeldOut;
using testing::MakeSpec;
using testing::ModelBench;

// What must be equal: the learner, what is served, the report, the counters.
std::string Fingerprint(ModelBench* bench) {
  v1::Report report = bench->model().Report();
  const Served live = bench->model().Live();
  std::string classes;
  for (const v1::Label& label : live.view->labels) absl::StrAppend(&classes, label.number(), " ");
  return absl::StrCat(bench->learner().digest(), " version ", live.version(), " classes ", classes,
                      report.DebugString());
}

// Only the learner and its stream: for logs replayed without the old report.
std::string LearnerFingerprint(ModelBench* bench) {
  const v1::Report report = bench->model().Report();
  return absl::StrCat(bench->learner().digest(), " version ", bench->model().Live().version(),
                      " trained ", report.train_examples(), " prequential ",
                      report.prequential_accuracy(), " of ", report.prequential_examples(),
                      " hits ", report.prequential_hits());
}

// One random thing a client or the clock may do.
void Act(ModelBench* bench, std::mt19937_64* random) {
  const int what = static_cast<int>((*random)() % 20);
  if (what < 12) {
    std::vector<v1::Example> examples;
    const int count = 1 + static_cast<int>((*random)() % 5);
    for (int i = 0; i < count; ++i) {
      const auto label = static_cast<int64_t>((*random)() % 6);
      examples.push_back((*random)() % 4 == 0 ? MakeHeldOut(label) : MakeExample(label));
    }
    bench->Learn(std::move(examples));
  } else if (what == 12) {
    bench->Boundary();
  } else if (what < 17) {
    bench->clock().Advance(absl::Milliseconds(static_cast<int64_t>((*random)() % 80)));
    bench->model().RunOnce();
  } else if (what == 17) {
    bench->Checkpoint();
    bench->model().RunOnce();
  } else {
    bench->store().Commit();
    bench->model().RunOnce();
    if ((*random)() % 2 == 0) bench->background().RunOne();
  }
}

v1::ModelSpec RandomSpec(uint64_t seed) {
  v1::ModelSpec spec = MakeSpec();
  spec.set_seed(seed);
  spec.set_max_batch_wait_ms(50);
  spec.set_held_out_fraction(0.1);
  spec.set_checkpoint_every_examples(17);
  return spec;
}

// Copies the durable log of one model into an empty store: no checkpoint, no report, no held-out
// row.
void ReplayWhole(ModelBench* from, ModelBench* into) {
  const auto records = from->store().log().Read(from->uid(), 1, 1 << 20, 1 << 30);
  ASSERT_TRUE(records.ok()) << records.status();
  storage::Submission submission;
  submission.model = into->uid();
  for (const auto& record : *records) submission.records.push_back({record.kind, record.payload});
  ASSERT_TRUE(into->store().log().Submit(submission, [](const absl::Status&) {}).ok());
  into->store().Commit();
  into->Restart();
}

class RandomRecoveryTest : public ::testing::TestWithParam<int> {};

TEST_P(RandomRecoveryTest, KilledAnywhereItEndsWithTheSameBitsAsAReplayOfItsLog) {
  const int seed = GetParam();
  std::mt19937_64 random(seed);
  ModelBench killed(RandomSpec(seed));
  for (int round = 0; round < 12; ++round) {
    const int acts = 10 + static_cast<int>(random() % 20);
    for (int i = 0; i < acts; ++i) Act(&killed, &random);
    killed.Restart();
    // A producer asks where it stands, and goes on from there.
    const auto producers = *killed.store().log().Producers(killed.uid());
    killed.next_producer_sequence = producers.empty() ? 1 : producers[0].last_sequence + 1;
  }
  killed.clock().Advance(absl::Seconds(1));
  killed.Settle();
  const std::string before = Fingerprint(&killed);
  killed.Restart();
  EXPECT_EQ(Fingerprint(&killed), before);

  EXPECT_GT(killed.model().Report().train_examples(), 20);

  ModelBench replayed(RandomSpec(seed));
  ReplayWhole(&killed, &replayed);
  EXPECT_EQ(LearnerFingerprint(&replayed), LearnerFingerprint(&killed));
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomRecoveryTest, ::testing::Range(1, 25));

TEST(RecoveryTest, PretrainedWeightsAreWhereEveryReplayBegins) {
  const auto act = [](ModelBench* bench) {
    for (int i = 0; i < 4; ++i) bench->LearnNow({MakeExample(i), MakeExample(1), MakeExample(2)});
    bench->Settle();
  };
  ModelBench weighted(MakeSpec(), "weights");
  ModelBench drawn;
  EXPECT_NE(weighted.learner().digest(), drawn.learner().digest());
  const uint64_t untrained = weighted.learner().digest();
  weighted.Restart();
  EXPECT_EQ(weighted.learner().digest(), untrained) << "from the file alone";
  act(&weighted);
  const std::string live = LearnerFingerprint(&weighted);
  weighted.Restart();
  EXPECT_EQ(LearnerFingerprint(&weighted), live) << "the whole log over the file";
  weighted.CheckpointNow("here");
  weighted.Restart();
  EXPECT_EQ(LearnerFingerprint(&weighted), live) << "a checkpoint over the file";
  ModelBench replayed(MakeSpec(), "weights");
  ReplayWhole(&weighted, &replayed);
  EXPECT_EQ(LearnerFingerprint(&replayed), live);
}

TEST(RecoveryTest, AfterACrashAtEveryRecordTheEndIsTheSame) {
  constexpr int kMessages = 14;
  auto act = [](ModelBench* bench, int i) {
    if (i % 5 == 4) {
      bench->BoundaryNow();
    } else {
      bench->LearnNow({MakeExample(i % 3), MakeHeldOut(i % 3), MakeExample(i % 4)});
    }
  };
  ModelBench whole;
  for (int i = 0; i < kMessages; ++i) act(&whole, i);
  whole.Settle();
  for (int crash = 0; crash < kMessages; ++crash) {
    for (bool settled : {false, true}) {
      ModelBench bench;
      for (int i = 0; i < kMessages; ++i) {
        act(&bench, i);
        if (i != crash) continue;
        if (settled) bench.Settle();
        bench.Restart();
      }
      bench.Settle();
      EXPECT_EQ(Fingerprint(&bench), Fingerprint(&whole)) << "crash after message " << crash;
    }
  }
}

TEST(RecoveryTest, EvaluatesABoundaryAgainOnlyIfItsRowIsMissing) {
  ModelBench bench;
  bench.LearnNow({MakeHeldOut(1), MakeExample(1), MakeExample(2)});
  bench.BoundaryNow();
  bench.Train();  // applied; its evaluation still waits in the background
  EXPECT_EQ(bench.model().Report().pending_evaluations(), 1);
  bench.LearnNow({MakeHeldOut(2, "task-1")});
  bench.Restart();
  const v1::Report report = bench.model().Report();
  ASSERT_EQ(report.rows_size(), 1);
  EXPECT_EQ(report.rows(0).cells(0).held_out_rows(), 1);  // of the rows that came before it
  bench.Restart();
  EXPECT_EQ(bench.model().Report().SerializeAsString(), report.SerializeAsString());
}

TEST(RecoveryTest, AnswersUnavailableUntilItServes) {
  ModelBench bench;
  bench.LearnNow(std::vector<v1::Example>(6, MakeExample(1)));
  bench.Reopen();
  EXPECT_EQ(bench.model().Live().snapshot, nullptr);
  EXPECT_EQ(bench.model().Describe().state(), v1::Model::RECOVERING);
  const absl::Status learn = (*bench.Learn({MakeExample(1)}))->status();
  EXPECT_TRUE(absl::IsUnavailable(learn));
  EXPECT_THAT(std::string(learn.message()), HasSubstr("recovering: 0/"));
  EXPECT_TRUE(learn.GetPayload("type.googleapis.com/google.rpc.RetryInfo"));
  EXPECT_TRUE(absl::IsUnavailable(bench.model().Ready()));
  bench.Settle();
  EXPECT_TRUE(bench.model().Ready().ok());
  EXPECT_EQ(bench.model().Describe().state(), v1::Model::SERVING);
  EXPECT_EQ(bench.model().statistics().recovery_replayed_examples, 6);
}

TEST(RecoveryTest, AModelClosedWhileItRecoversStaysClosed) {
  ModelBench bench;
  bench.LearnNow({MakeExample(1)});
  bench.Reopen();
  bool checkpoint_answered = false;
  bench.model().TakeFinalCheckpoint([&] { checkpoint_answered = true; });
  EXPECT_TRUE(checkpoint_answered);
  bench.model().Close(absl::UnavailableError("shutting down"));
  bench.Settle();
  EXPECT_TRUE(bench.model().Ready().ok());
  EXPECT_EQ((*bench.Learn({MakeExample(1)}))->status().message(), "shutting down");
}

TEST(RecoveryTest, StartsFromTheNewestCheckpoint) {
  ModelBench bench;
  bench.LearnNow(std::vector<v1::Example>(6, MakeExample(1)));
  bench.CheckpointNow();
  bench.LearnNow(std::vector<v1::Example>(3, MakeExample(2)));
  bench.Settle();
  const uint64_t digest = bench.learner().digest();
  bench.Restart();
  EXPECT_EQ(bench.learner().digest(), digest);
  EXPECT_EQ(bench.model().statistics().recovery_replayed_examples, 3);
  EXPECT_EQ(bench.script().restores, 1);
}

TEST(RecoveryTest, ADamagedCheckpointIsPassedOverForAnOlderOne) {
  ModelBench bench;
  bench.LearnNow(std::vector<v1::Example>(6, MakeExample(1)));
  bench.CheckpointNow();
  bench.LearnNow(std::vector<v1::Example>(3, MakeExample(2)));
  const std::string newest = bench.CheckpointNow().id();
  const uint64_t digest = bench.learner().digest();
  bench.store().CorruptCheckpoint(bench.uid(), newest);
  bench.Restart();
  EXPECT_EQ(bench.learner().digest(), digest);
  EXPECT_EQ(bench.model().statistics().recovery_replayed_examples, 3);
}

TEST(RecoveryTest, WithoutAnyValidCheckpointTheWholeLogIsReplayed) {
  ModelBench bench;
  bench.LearnNow(std::vector<v1::Example>(6, MakeExample(1)));
  const std::string only = bench.CheckpointNow().id();
  const uint64_t digest = bench.learner().digest();
  bench.store().CorruptCheckpoint(bench.uid(), only);
  bench.Restart();
  EXPECT_EQ(bench.learner().digest(), digest);
  EXPECT_EQ(bench.model().statistics().recovery_replayed_examples, 6);
}

TEST(RecoveryTest, NeverStartsFreshWhenTheLogIsTrimmedAndNoCheckpointIsValid) {
  ModelBench bench;
  bench.LearnNow(std::vector<v1::Example>(6, MakeExample(1)));
  const std::string only = bench.CheckpointNow().id();
  ASSERT_TRUE(bench.store().log().Trim(bench.uid(), 6).ok());
  bench.store().CorruptCheckpoint(bench.uid(), only);
  bench.Restart();
  EXPECT_EQ(bench.model().Describe().state(), v1::Model::FAILED);
  EXPECT_EQ(bench.model().Live().snapshot, nullptr);
  EXPECT_TRUE(absl::IsDataLoss(bench.model().Ready()));
  EXPECT_THAT(std::string(bench.model().Ready().message()),
              HasSubstr("no checkpoint is valid from which the log, which begins at 7"));
  EXPECT_TRUE(absl::IsDataLoss((*bench.Learn({MakeExample(1)}))->status()));
}

TEST(RecoveryTest, AConfigurationIsReplayed) {
  ModelBench bench;
  v1::ModelSpec next = *bench.model().spec();
  next.mutable_optimizer()->set_learning_rate(0.5);
  bench.model().Update(next, [](const absl::StatusOr<v1::UpdateModelResponse>&) {});
  bench.LearnNow(std::vector<v1::Example>(3, MakeExample(1)));
  bench.Settle();
  const uint64_t digest = bench.learner().digest();
  bench.Restart();
  EXPECT_EQ(bench.learner().digest(), digest);
  bench.CheckpointNow();
  bench.Restart();
  EXPECT_EQ(bench.model().spec()->optimizer().learning_rate(), 0.5);
  bench.LearnNow(std::vector<v1::Example>(3, MakeExample(1)));
  bench.Settle();
  const uint64_t from_checkpoint = bench.learner().digest();
  bench.Restart();
  EXPECT_EQ(bench.learner().digest(), from_checkpoint);
}

TEST(RecoveryTest, WaitingExamplesStillCountForAdmission) {
  v1::ModelSpec spec = MakeSpec();
  spec.set_max_classes(2);
  ModelBench bench(spec);
  bench.LearnNow({MakeExample(1), MakeExample(2)});  // less than a batch
  bench.Restart();
  EXPECT_EQ(bench.model().Live().version(), 0);
  const absl::Status third = bench.Rejection(testing::MakeMessage(2, {MakeExample(3)}));
  EXPECT_TRUE(absl::IsResourceExhausted(third));
  EXPECT_TRUE(bench.Rejection(testing::MakeBoundary(3)).ok());
}

}  // namespace
}  // namespace engram::server
