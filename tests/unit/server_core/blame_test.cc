// Who taught a model what: what is counted, what is judged, and by what.
#include "server/blame.h"

#include <random>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/record_kind.h"
#include "server/spec_options.h"
#include "tests/testing/server/model_bench.h"

namespace engram::testing {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::Pair;

const std::function<bool()> kStays = [] { return false; };

std::vector<v1::Example> HonestOrLying(int count, bool lying) {
  std::vector<v1::Example> examples;
  for (int i = 0; i < count; ++i) {
    const int64_t label = 1 + i % 2;
    examples.push_back(MakeExample(lying ? 3 - label : label));
    *examples.back().mutable_features() = MakeExample(label).features();
  }
  return examples;
}

v1::BlameResponse Blame(ModelBench* bench, const v1::BlameRequest& request = {}) {
  const auto blame = bench->model().Blame(request, kStays);
  EXPECT_TRUE(blame.ok()) << blame.status();
  return blame.ok() ? *blame : v1::BlameResponse();
}

std::vector<std::pair<std::string, int64_t>> Counts(const v1::BlameResponse& blame) {
  std::vector<std::pair<std::string, int64_t>> counts;
  for (const auto& each : blame.producers()) counts.emplace_back(each.name(), each.examples());
  std::sort(counts.begin(), counts.end());
  return counts;
}

TEST(BlameTest, TheProducerWhoseLabelsDisagreeComesFirst) {
  ModelBench bench;
  bench.LearnNow(HonestOrLying(30, false));
  bench.LearnFrom("liar", HonestOrLying(10, true));
  bench.LearnFrom("quiet", HonestOrLying(20, false));
  bench.Settle();
  const v1::BlameResponse blame = Blame(&bench);
  EXPECT_EQ(blame.from_sequence(), 1u);
  EXPECT_EQ(blame.to_sequence(), 60u);
  ASSERT_EQ(blame.producers_size(), 3);
  const auto& liar = blame.producers(0);
  EXPECT_EQ(liar.name(), "liar");
  EXPECT_EQ(liar.examples(), 10);
  EXPECT_DOUBLE_EQ(liar.share(), 10.0 / 60);
  EXPECT_EQ(liar.first_sequence(), 31u);
  EXPECT_EQ(liar.last_sequence(), 40u);
  EXPECT_EQ(liar.judged(), 10);
  EXPECT_EQ(liar.accuracy(), 0);
  EXPECT_NEAR(liar.mean_label_score(), 0.1, 1e-6);
  EXPECT_EQ(blame.producers(1).name(), "p") << "equal accuracies: by name";
  EXPECT_EQ(blame.producers(1).accuracy(), 1);
  EXPECT_NEAR(blame.producers(1).mean_label_score(), 0.9, 1e-6);
  EXPECT_EQ(blame.producers(2).name(), "quiet");
}

TEST(BlameTest, OnlyWhatIsLearnedCounts) {
  ModelBench bench;
  bench.LearnNow(HonestOrLying(12, false));
  const std::string before = bench.CheckpointNow("before").id();
  bench.LearnFrom("undone", HonestOrLying(6, false));
  const std::string after = bench.CheckpointNow("after").id();
  bench.LearnFrom("undone", HonestOrLying(3, false));
  bench.RollbackNow(before);
  EXPECT_THAT(Counts(Blame(&bench)), ElementsAre(Pair("p", 12)));
  bench.LearnFrom("later", HonestOrLying(3, false));
  bench.Settle();
  EXPECT_THAT(Counts(Blame(&bench)), ElementsAre(Pair("later", 3), Pair("p", 12)));
  // To a branch that was left: its examples are learned once more, those after it are not.
  bench.RollbackNow(after);
  EXPECT_THAT(Counts(Blame(&bench)), ElementsAre(Pair("p", 12), Pair("undone", 6)));
  v1::BlameRequest late;
  late.set_from_sequence(16);
  EXPECT_THAT(Counts(Blame(&bench, late)), ElementsAre(Pair("undone", 3)));
  // In the log and not yet learned.
  bench.model().SetPaused(true);
  bench.LearnFrom("waits", HonestOrLying(3, false));
  bench.Settle();
  EXPECT_THAT(Counts(Blame(&bench)), ElementsAre(Pair("p", 12), Pair("undone", 6)));
}

TEST(BlameTest, HeldOutRowsAreNotTaught) {
  v1::ModelSpec spec = MakeSpec();
  spec.set_held_out_fraction(0.4);
  ModelBench bench(spec);
  bench.LearnFrom("keeper", {MakeHeldOut(1), MakeHeldOut(2)});
  bench.LearnNow(HonestOrLying(60, false));
  bench.Settle();
  const auto counts = Counts(Blame(&bench));
  ASSERT_EQ(counts.size(), 1u);
  EXPECT_EQ(counts[0].second, bench.model().Report().train_examples());
  EXPECT_LT(counts[0].second, 60);
}

TEST(BlameTest, RecordsWithoutAProducerShareARowWithoutAName) {
  ModelBench bench;
  storage::Submission format_1;
  format_1.model = bench.uid();
  for (const v1::Example& example : HonestOrLying(6, false)) {
    format_1.records.push_back(
        {static_cast<uint8_t>(server::RecordKind::kExample), example.SerializeAsString()});
  }
  ASSERT_TRUE(bench.store().log().Submit(format_1, [](const absl::Status&) {}).ok());
  bench.store().Commit();
  bench.Restart();
  bench.LearnNow(HonestOrLying(3, false));
  bench.Settle();
  EXPECT_THAT(Counts(Blame(&bench)), ElementsAre(Pair("", 6), Pair("p", 3)));
  // And nobody can be unlearned by it.
  EXPECT_EQ(bench.EraseProducerNow("nobody").data(), v1::EraseResponse::NOTHING_FOUND);
}

TEST(BlameTest, TheJudgedAreSpreadEvenlyOverAllThatWasSent) {
  ModelBench bench;
  bench.LearnNow(HonestOrLying(300, false));
  bench.LearnFrom("turned", HonestOrLying(50, false));
  bench.LearnFrom("turned", HonestOrLying(50, true));
  bench.LearnFrom("small", HonestOrLying(2, false));
  bench.Settle();
  v1::BlameRequest request;
  request.set_judged_max(10);
  const v1::BlameResponse blame = Blame(&bench, request);
  ASSERT_EQ(blame.producers_size(), 3);
  EXPECT_EQ(blame.producers(0).name(), "turned");
  EXPECT_EQ(blame.producers(0).judged(), 10);
  EXPECT_EQ(blame.producers(0).accuracy(), 0.5);
  EXPECT_EQ(blame.producers(1).judged(), 10);
  EXPECT_EQ(blame.producers(2).name(), "small");
  EXPECT_EQ(blame.producers(2).judged(), 2);
  EXPECT_EQ(Blame(&bench, request).SerializeAsString(), blame.SerializeAsString());
  EXPECT_EQ(Blame(&bench).producers(1).judged(), 200) << "without a wish";
}

TEST(BlameTest, SinceIsToTheMillisecondOfTheCommit) {
  ModelBench bench;
  bench.LearnFrom("early", HonestOrLying(3, false));
  bench.Settle();
  bench.clock().Advance(absl::Seconds(5));
  const int64_t then = absl::ToUnixMillis(bench.clock().Anchored());
  bench.LearnFrom("late", HonestOrLying(3, false));
  bench.Settle();
  bench.clock().Advance(absl::Seconds(5));
  v1::BlameRequest request;
  request.set_since_ms(then);
  const v1::BlameResponse blame = Blame(&bench, request);
  EXPECT_THAT(Counts(blame), ElementsAre(Pair("late", 3)));
  EXPECT_EQ(blame.from_sequence(), 4u);
  request.set_since_ms(then + 1);
  EXPECT_EQ(Blame(&bench, request).producers_size(), 0);
  EXPECT_EQ(Blame(&bench, request).from_sequence(), 7u);
  request.set_since_ms(1);
  EXPECT_EQ(Blame(&bench, request).producers_size(), 2);
}

TEST(BlameTest, ProducersBeyondAThousandShareTheLastRow) {
  ModelBench bench;
  for (int i = 0; i < 1005; ++i) {
    const int count = i < 5 ? 1 : i == 1004 ? 4 : 2;  // whole batches in all
    bench.LearnFrom(absl::StrCat("producer-", 1000 + i), HonestOrLying(count, i == 7));
  }
  bench.Settle();
  const v1::BlameResponse blame = Blame(&bench);
  ASSERT_EQ(blame.producers_size(), 1001);
  EXPECT_EQ(blame.producers(0).name(), "producer-1007");
  const auto& others = blame.producers(1000);
  EXPECT_EQ(others.name(), "...");
  EXPECT_EQ(others.examples(), 5);
  EXPECT_EQ(others.judged(), 5);
  EXPECT_EQ(others.first_sequence(), 1u);
  EXPECT_EQ(others.last_sequence(), 5u);
}

TEST(BlameTest, AnErasedProducerIsNoLongerListed) {
  ModelBench bench;
  bench.LearnNow(HonestOrLying(30, false));
  bench.LearnFrom("liar", HonestOrLying(10, true));
  bench.Settle();
  EXPECT_EQ(Blame(&bench).producers(0).name(), "liar");
  bench.EraseProducerNow("liar");
  EXPECT_THAT(Counts(Blame(&bench)), ElementsAre(Pair("p", 30)));
}

TEST(BlameTest, RefusesWhatItCannotAnswerAndStopsForNobody) {
  ModelBench bench;
  bench.LearnNow(HonestOrLying(6, false));
  bench.Settle();
  const auto refusal = [&](const v1::BlameRequest& request) {
    return bench.model().Blame(request, kStays).status();
  };
  v1::BlameRequest request;
  request.set_judged_max(1001);
  EXPECT_THAT(refusal(request).message(), HasSubstr("judged_max: must be in [0, 1000], got 1001"));
  request.set_judged_max(-1);
  EXPECT_TRUE(absl::IsInvalidArgument(refusal(request)));
  request.clear_judged_max();
  request.set_since_ms(-1);
  EXPECT_THAT(refusal(request).message(), HasSubstr("since_ms"));
  request.clear_since_ms();
  request.set_from_sequence(5'000'000'000);
  EXPECT_TRUE(absl::IsOutOfRange(refusal(request)));
  const auto left = bench.model().Blame({}, [] { return true; });
  EXPECT_TRUE(absl::IsCancelled(left.status()));
}

// Notes the tasks that it is asked for, and has no output in one of them.
class TaskSnapshot : public strategies::Snapshot {
 public:
  TaskSnapshot(uint64_t version, std::vector<int32_t>* asked, int32_t headless)
      : version_(version), asked_(asked), headless_(headless) {}
  uint64_t version() const override { return version_; }
  int64_t class_count() const override { return 2; }
  absl::Status Predict(absl::Span<const float>, int64_t rows, absl::Span<const int32_t> tasks,
                       std::vector<float>* scores) const override {
    for (const int32_t task : tasks) {
      if (task == headless_) return absl::NotFoundError("no head");
    }
    asked_->insert(asked_->end(), tasks.begin(), tasks.end());
    scores->assign(static_cast<size_t>(rows * 2), 0.5f);
    return absl::OkStatus();
  }

 private:
  const uint64_t version_;
  std::vector<int32_t>* const asked_;
  const int32_t headless_;
};

// The columns that the examples from `from` on are judged in.
std::vector<int32_t> JudgedColumns(ModelBench* bench, uint64_t from, int32_t headless = 99) {
  server::ModelContext context;
  context.uid = bench->uid();
  context.store = &bench->store();
  const v1::ModelSpec spec = *bench->model().spec();
  std::vector<int32_t> asked;
  server::BlameSubject subject;
  subject.context = &context;
  subject.spec = &spec;
  subject.served = bench->model().Live();
  subject.served.snapshot =
      std::make_shared<TaskSnapshot>(subject.served.version(), &asked, headless);
  v1::BlameRequest request;
  request.set_from_sequence(from);
  const auto blame = server::BlameProducers(subject, request, kStays);
  EXPECT_TRUE(blame.ok()) << blame.status();
  int64_t judged = 0;
  for (const auto& each : blame->producers()) judged += each.judged();
  EXPECT_EQ(judged, static_cast<int64_t>(asked.size()));
  return asked;
}

TEST(BlameTest, AnExampleIsJudgedInTheTaskOfItsTime) {
  ModelBench bench;
  bench.LearnNow(MakeExamples(2, 1));  // task-1
  bench.BoundaryNow("b");
  bench.LearnNow(MakeExamples(2, 1));
  bench.BoundaryNow("c");
  bench.LearnNow(MakeExamples(2, 1));
  bench.LearnNow({MakeExample(1, "c")});
  bench.Settle();
  EXPECT_THAT(JudgedColumns(&bench, 1), ElementsAre(0, 0, 1, 1, 2, 2, 2));
  EXPECT_THAT(JudgedColumns(&bench, 5), ElementsAre(1, 2, 2, 2)) << "after the first boundary";
  EXPECT_THAT(JudgedColumns(&bench, 7), ElementsAre(2, 2, 2)) << "after the last";
  EXPECT_THAT(JudgedColumns(&bench, 1, /*headless=*/1), ElementsAre(0, 0, 2, 2, 2));
}

TEST(LineTest, IsWhatIsNotUndone) {
  std::mt19937_64 random(11);
  for (int round = 0; round < 200; ++round) {
    server::Rewinds rewinds;
    uint64_t record = 0;
    const int count = static_cast<int>(random() % 6);
    for (int i = 0; i < count; ++i) {
      record += 2 + random() % 8;
      auto* rewind = rewinds.Add();
      rewind->set_record(record);
      rewind->set_restored(random() % record);
    }
    const auto line = server::LineTo(rewinds, record + 5);
    for (uint64_t sequence = 1; sequence <= record + 5; ++sequence) {
      const bool stands = std::any_of(line.begin(), line.end(), [&](const auto& stretch) {
        return stretch.first <= sequence && sequence <= stretch.last;
      });
      EXPECT_EQ(stands, server::UndoneBy(rewinds, sequence) == 0) << round << " " << sequence;
    }
  }
}

}  // namespace
}  // namespace engram::testing
