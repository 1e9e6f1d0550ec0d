// Erasing examples: what is left is what a replay of the log with its tombstones gives, from its
// start, in another store.

#include <random>

#include "absl/strings/str_cat.h"
#include "engram/internal/records.pb.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "server/record_kind.h"
#include "tests/testing/server/model_bench.h"

namespace engram::testing {
namespace {

using ::testing::AnyOf;
using ::testing::HasSubstr;
using server::RecordKind;
using v1::EraseResponse;

v1::Example Of(const std::string& subject, int64_t label, absl::string_view task = "") {
  v1::Example example = MakeExample(label, task);
  example.set_subject_id(subject);
  return example;
}

std::vector<storage::LogRecord> LogOf(ModelBench* bench) {
  const uint64_t from = bench->store().log().TrimMark(bench->uid()) + 1;
  return *bench->store().log().Read(bench->uid(), from, 1 << 20, 1 << 30);
}

// Learner, exemplars and stream.
std::string StateOf(ModelBench* bench) {
  const server::RestorableLearner stored = bench->Stored();
  std::string text = stored.saved.tensors;
  for (const auto& member : stored.payloads) {
    absl::StrAppend(&text, " ", member.key.sequence, "=", member.bytes);
  }
  for (const auto& shadow : stored.shadows) absl::StrAppend(&text, "|", shadow.saved.tensors);
  for (const v1::Label& label : bench->model().Live().view->labels) {
    absl::StrAppend(&text, " class ", label.number());
  }
  for (const std::string& task : bench->model().Live().view->tasks) {
    absl::StrAppend(&text, " task ", task);
  }
  const v1::Report report = bench->model().Report();
  return absl::StrCat(text, " version ", bench->model().Live().version(), " trained ",
                      report.train_examples(), " prequential ", report.prequential_examples(),
                      " hits ", report.prequential_hits());
}

// The log copied into an empty store: no checkpoint, no exemplar, no held-out row.
std::string StateOfReplay(ModelBench* from, const v1::ModelSpec& spec) {
  ModelBench into(spec);
  storage::Submission submission;
  submission.model = into.uid();
  for (const auto& record : LogOf(from)) {
    submission.records.push_back({record.kind, record.payload});
  }
  EXPECT_TRUE(into.store().log().Submit(submission, [](const absl::Status&) {}).ok());
  into.store().Commit();
  into.Restart();
  return StateOf(&into);
}

int CountKind(ModelBench* bench, RecordKind kind) {
  int count = 0;
  for (const auto& record : LogOf(bench)) count += record.kind == static_cast<uint8_t>(kind);
  return count;
}

// Whether anything stored still comes from these sequences.
bool Remembers(ModelBench* bench, const std::vector<uint64_t>& sequences) {
  const auto gone = [&](uint64_t sequence) {
    return std::find(sequences.begin(), sequences.end(), sequence) != sequences.end();
  };
  bool found = false;
  const auto keys = bench->store().episodic().Keys(bench->uid());
  for (const auto& key : *keys) {
    found |= gone(key.sequence);
  }
  EXPECT_TRUE(bench->store().held_out().ForEach(bench->uid(), [&](storage::HeldOutRow row) {
    found |= gone(row.sequence);
    return true;
  }).ok());
  const auto rows = bench->store().checkpoints().List(bench->uid());
  for (const auto& row : *rows) {
    for (const auto& member : row.members) found |= gone(member.sequence);
  }
  return found;
}

TEST(EraseTest, ASelectorThatWouldMatchEverythingIsRefused) {
  ModelBench bench;
  const auto refusal = [&](const v1::EraseRequest& request) {
    absl::Status status;
    bench.model().Erase(request, [&](const auto& answer) { status = answer.status(); });
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    return std::string(status.message());
  };
  v1::EraseRequest request;
  EXPECT_THAT(refusal(request), HasSubstr("selector: would match everything"));
  request.set_subject_id("");
  EXPECT_THAT(refusal(request), HasSubstr("selector: would match everything"));
  request.set_example_id(std::string(129, 'x'));
  EXPECT_THAT(refusal(request), HasSubstr("example_id: at most 128 bytes, got 129"));
  request.set_producer("");
  EXPECT_THAT(refusal(request), HasSubstr("selector: would match everything"));
  request.set_producer(std::string(129, 'x'));
  EXPECT_THAT(refusal(request), HasSubstr("producer: at most 128 bytes, got 129"));
}

TEST(EraseTest, AnUnknownSubjectGetsAReceiptOfNothing) {
  ModelBench bench;
  bench.LearnNow({Of("ann", 1), Of("bob", 2), Of("ann", 3)});
  bench.Settle();
  const uint64_t version = bench.model().Live().version();
  const EraseResponse receipt = bench.EraseNow("", "carol");
  EXPECT_EQ(receipt.data(), EraseResponse::NOTHING_FOUND);
  EXPECT_EQ(receipt.erased_examples(), 0);
  // A subject is not an id.
  EXPECT_EQ(bench.EraseNow("ann", "").data(), EraseResponse::NOTHING_FOUND);
  EXPECT_EQ(bench.model().Live().version(), version);
  EXPECT_EQ(CountKind(&bench, RecordKind::kErased), 0);
}

TEST(EraseTest, WhatIsLeftIsWhatAReplayWithoutTheExamplesGives) {
  ModelBench bench;
  for (int i = 0; i < 4; ++i) bench.LearnNow({Of("ann", 1), Of("bob", 2), Of("carol", 1)});
  bench.CheckpointNow("before");
  for (int i = 0; i < 5; ++i) bench.LearnNow({Of("bob", 2), Of("dan", 7), Of("ann", 3)});
  v1::Example held_out = MakeHeldOut(7);
  held_out.set_subject_id("dan");
  bench.LearnNow({held_out});
  bench.CheckpointNow("after");
  bench.BoundaryNow("next");
  bench.LearnNow({Of("ann", 1), Of("dan", 7)});
  bench.Settle();
  const uint64_t version = bench.model().Live().version();
  const auto before = LogOf(&bench);

  const EraseResponse receipt = bench.EraseNow("", "dan");
  EXPECT_EQ(receipt.data(), EraseResponse::DATA_REMOVED);
  EXPECT_EQ(receipt.weights(), EraseResponse::WEIGHTS_REBUILT);
  EXPECT_EQ(receipt.erased_examples(), 7);
  EXPECT_EQ(receipt.erased_held_out(), 1);
  EXPECT_EQ(receipt.first_sequence(), 14u);
  EXPECT_EQ(receipt.rebuilt_from(), 12u);
  EXPECT_EQ(receipt.remade_checkpoints(), 1);
  EXPECT_GE(bench.model().Live().version(), version);
  // Sequences and the rest of the log stand.
  const auto after = LogOf(&bench);
  ASSERT_GE(after.size(), before.size());
  std::vector<uint64_t> erased;
  for (size_t i = 0; i < before.size(); ++i) {
    if (after[i].kind == static_cast<uint8_t>(RecordKind::kErased)) {
      erased.push_back(after[i].sequence);
    } else {
      EXPECT_EQ(after[i].payload, before[i].payload) << i;
    }
  }
  EXPECT_EQ(erased.size(), 7u);
  EXPECT_FALSE(Remembers(&bench, erased));
  // A label is where it was, before and after what it keeps.
  EXPECT_TRUE(bench.model().GetCheckpoint("before").ok());
  EXPECT_TRUE(bench.model().GetCheckpoint("after").ok());
  // Nobody but dan had the 7.
  for (const v1::Label& label : bench.model().Live().view->labels) EXPECT_NE(label.number(), 7);
  const std::string state = StateOf(&bench);
  EXPECT_EQ(state, StateOfReplay(&bench, MakeSpec()));
  bench.Restart();
  EXPECT_EQ(StateOf(&bench), state);
  bench.LearnNow({Of("eve", 9), Of("eve", 9), Of("eve", 1)});
  bench.Settle();
  EXPECT_EQ(StateOf(&bench), StateOfReplay(&bench, MakeSpec()));
}

TEST(EraseTest, ARepeatGetsTheSameReceiptAndLaterExamplesANewOne) {
  ModelBench bench;
  bench.LearnNow({Of("ann", 1), Of("bob", 2), Of("ann", 3)});
  bench.Settle();
  const auto first = bench.Erase("", "ann");
  const auto beside = bench.Erase("", "ann");
  bench.Settle();
  ASSERT_TRUE(first->has_value() && (*first)->ok() && beside->has_value() && (*beside)->ok());
  EXPECT_EQ((**first)->erased_examples(), 2);
  EXPECT_EQ((**beside)->SerializeAsString(), (**first)->SerializeAsString());
  bench.Restart();
  EXPECT_EQ(bench.EraseNow("", "ann").SerializeAsString(), (**first)->SerializeAsString());
  bench.LearnNow({Of("ann", 4)});
  bench.Settle();
  EXPECT_EQ(bench.EraseNow("", "ann").erased_examples(), 1);
  EXPECT_EQ(bench.model().statistics().erasures.load(), 1u);
}

// The examples of one producer that are in the log.
std::vector<uint64_t> SentBy(ModelBench* bench, const std::string& producer) {
  std::vector<uint64_t> sequences;
  for (const auto& record : LogOf(bench)) {
    if (record.producer == producer) sequences.push_back(record.sequence);
  }
  return sequences;
}

TEST(EraseTest, WithoutAProducerIsWhatAReplayWithoutItGives) {
  ModelBench bench;
  v1::Example shared = Of("ann", 1);
  shared.set_id("one");
  for (int i = 0; i < 4; ++i) bench.LearnNow({shared, Of("bob", 2), Of("carol", 1)});
  bench.CheckpointNow("before");
  for (int i = 0; i < 5; ++i) {
    bench.LearnFrom("liar", {shared, Of("bob", 7)});
    bench.LearnNow({Of("bob", 2), Of("carol", 1)});
  }
  bench.LearnFrom("liar", {MakeHeldOut(7)});
  bench.CheckpointNow("after");
  bench.BoundaryNow("next");
  bench.LearnFrom("liar", {Of("ann", 3)});
  bench.LearnNow({shared, Of("bob", 2)});
  bench.Settle();
  const std::vector<uint64_t> lies = SentBy(&bench, "liar");
  ASSERT_EQ(lies.size(), 12u);
  const auto before = LogOf(&bench);

  // The name of a producer is no id and no subject, nor are their receipts one another's.
  EXPECT_EQ(bench.EraseNow("liar", "").data(), EraseResponse::NOTHING_FOUND);
  EXPECT_EQ(bench.EraseProducerNow("one").data(), EraseResponse::NOTHING_FOUND);
  const EraseResponse receipt = bench.EraseProducerNow("liar");
  EXPECT_EQ(receipt.data(), EraseResponse::DATA_REMOVED);
  EXPECT_EQ(receipt.weights(), EraseResponse::WEIGHTS_REBUILT);
  EXPECT_EQ(receipt.erased_examples(), 12);
  EXPECT_EQ(receipt.erased_held_out(), 1);
  EXPECT_EQ(receipt.rebuilt_from(), 12u);
  EXPECT_EQ(receipt.first_sequence(), lies.front());
  EXPECT_EQ(receipt.last_sequence(), lies.back());
  EXPECT_EQ(bench.EraseNow("", "liar").data(), EraseResponse::NOTHING_FOUND);
  // Every other record is as it was, the example with the same id among them.
  const auto after = LogOf(&bench);
  ASSERT_GE(after.size(), before.size());
  for (size_t i = 0; i < before.size(); ++i) {
    const bool erased = after[i].kind == static_cast<uint8_t>(RecordKind::kErased);
    EXPECT_EQ(erased, before[i].producer == "liar") << i;
    if (!erased) EXPECT_EQ(after[i].payload, before[i].payload) << i;
    if (!erased) EXPECT_EQ(after[i].producer, before[i].producer) << i;
  }
  EXPECT_FALSE(Remembers(&bench, lies));
  EXPECT_EQ(StateOf(&bench), StateOfReplay(&bench, MakeSpec()));
  bench.Restart();
  EXPECT_EQ(StateOf(&bench), StateOfReplay(&bench, MakeSpec()));
  EXPECT_EQ(bench.EraseNow("one", "").erased_examples(), 5) << "those of the others";
}

TEST(EraseTest, AnErasedProducerGoesOnWhereItWasAndARepeatGetsTheSameReceipt) {
  ModelBench bench;
  bench.LearnNow({Of("ann", 1), Of("bob", 2), Of("ann", 3)});
  bench.LearnFrom("liar", {Of("ann", 4), Of("bob", 4)});
  bench.Settle();
  const EraseResponse first = bench.EraseProducerNow("liar");
  EXPECT_EQ(first.erased_examples(), 2);
  EXPECT_EQ(bench.EraseProducerNow("liar").SerializeAsString(), first.SerializeAsString());
  bench.Restart();
  EXPECT_EQ(bench.EraseProducerNow("liar").SerializeAsString(), first.SerializeAsString());
  const auto next = bench.LearnFrom("liar", {Of("ann", 5)});
  bench.Settle();
  ASSERT_TRUE(next->has_value() && (*next)->ok()) << (*next)->status();
  EXPECT_FALSE((**next)->duplicate);
  EXPECT_EQ(bench.EraseProducerNow("liar").erased_examples(), 1);
}

TEST(EraseTest, OfATrimmedLogAProducerLosesWhatTheLogStillHolds) {
  v1::ModelSpec spec = MakeSpec();
  spec.set_keep_automatic_checkpoints(1);
  ModelBench bench(spec);
  bench.retention().set_log_seconds(1);
  bench.retention().set_log_bytes(0);
  bench.Restart(false);
  bench.LearnFrom("liar", {MakeHeldOut(2), Of("ann", 2)});
  for (int i = 0; i < 4; ++i) bench.LearnNow({Of("ann", 1), Of("bob", 2), Of("carol", 1)});
  bench.CheckpointNow("old");
  bench.clock().Advance(absl::Seconds(10));
  bench.LearnFrom("liar", {Of("ann", 2), Of("bob", 1)});
  bench.CheckpointNow("young");
  ASSERT_GT(bench.store().log().TrimMark(bench.uid()), 2u);
  const std::vector<uint64_t> lies = SentBy(&bench, "liar");
  ASSERT_EQ(lies.size(), 2u);
  const EraseResponse receipt = bench.EraseProducerNow("liar");
  EXPECT_EQ(receipt.erased_examples(), 2);
  EXPECT_FALSE(Remembers(&bench, lies));
  // A row says not who sent it: the held-out one stays.
  EXPECT_EQ(receipt.erased_held_out(), 0);
  EXPECT_TRUE(Remembers(&bench, {1}));
}

TEST(EraseTest, PredictionsAndLearningGoOnWhileItLearnsAgain) {
  ModelBench bench;
  for (int i = 0; i < 40; ++i) bench.LearnNow({Of("ann", 1), Of("bob", 2), Of("carol", 1)});
  bench.Settle();
  const auto before = bench.model().Live();
  const auto erased = bench.Erase("", "bob");
  bench.model().RunOnce();
  ASSERT_TRUE(bench.background().RunOne());
  EXPECT_FALSE(erased->has_value());
  EXPECT_EQ(bench.model().Live().snapshot, before.snapshot);
  EXPECT_TRUE(bench.model().Ready().ok());
  bench.LearnNow({Of("dan", 5), Of("dan", 5), Of("dan", 5)});
  bench.Settle();
  ASSERT_TRUE(erased->has_value() && (*erased)->ok());
  EXPECT_GT(bench.model().Live().version(), before.version());
  EXPECT_EQ(StateOf(&bench), StateOfReplay(&bench, MakeSpec()));
  // Admission forgot what it had counted of bob: a class that nobody has is no class.
  EXPECT_EQ(bench.model().Report().train_examples(), 83);
}

TEST(EraseTest, ItWaitsForARollbackAndARollbackForIt) {
  ModelBench bench;
  for (int i = 0; i < 4; ++i) bench.LearnNow({Of("ann", 1), Of("bob", 2), Of("carol", 1)});
  bench.CheckpointNow("a");
  for (int i = 0; i < 4; ++i) bench.LearnNow({Of("dan", 3), Of("bob", 2), Of("carol", 1)});
  bench.CheckpointNow("b");
  const auto first_back = bench.Rollback("a");
  const auto erased = bench.Erase("", "dan");
  const auto again = bench.Rollback("b");
  EXPECT_EQ((*again)->status().code(), absl::StatusCode::kAborted);  // one is under way
  bench.Settle();
  ASSERT_TRUE(first_back->has_value() && (*first_back)->ok());
  ASSERT_TRUE(erased->has_value() && (*erased)->ok()) << (*erased)->status();
  EXPECT_EQ(StateOf(&bench), StateOfReplay(&bench, MakeSpec()));
  const auto erasing = bench.Erase("", "bob");
  bench.model().RunOnce();
  const auto back = bench.Rollback("a");
  bench.Settle();
  ASSERT_TRUE(erasing->has_value() && (*erasing)->ok());
  ASSERT_TRUE(back->has_value());
  EXPECT_EQ(StateOf(&bench), StateOfReplay(&bench, MakeSpec()));
}

TEST(EraseTest, APausedModelStaysWhereItStood) {
  ModelBench bench;
  for (int i = 0; i < 4; ++i) bench.LearnNow({Of("ann", 1), Of("bob", 2), Of("carol", 1)});
  bench.Settle();
  bench.model().SetPaused(true);
  bench.LearnNow({Of("dan", 3), Of("bob", 2), Of("carol", 1)});
  bench.Settle();
  EXPECT_EQ(bench.model().Live().version(), 12u);
  bench.EraseNow("", "bob");
  EXPECT_EQ(bench.model().Live().version(), 12u);
  bench.model().SetPaused(false);
  bench.Settle();
  EXPECT_EQ(StateOf(&bench), StateOfReplay(&bench, MakeSpec()));
}

TEST(EraseTest, ATrimmedLogKeepsTheWeightsAndLosesTheData) {
  v1::ModelSpec spec = MakeSpec();
  spec.set_keep_automatic_checkpoints(1);
  ModelBench bench(spec);
  bench.retention().set_log_seconds(1);
  bench.retention().set_log_bytes(0);
  bench.Restart(false);
  v1::Example held_out = MakeHeldOut(2);
  held_out.set_subject_id("bob");
  for (int i = 0; i < 4; ++i) bench.LearnNow({Of("ann", 1), Of("bob", 2), Of("carol", 1)});
  bench.LearnNow({held_out});
  bench.CheckpointNow("old");
  bench.clock().Advance(absl::Seconds(10));
  bench.LearnNow({Of("ann", 1), Of("bob", 2), Of("carol", 1)});
  bench.CheckpointNow("young");
  ASSERT_GT(bench.store().log().TrimMark(bench.uid()), 10u);
  std::vector<uint64_t> bobs = *bench.store().log().FindNamed(
      bench.uid(), storage::RecordName::kSubject, "bob");
  ASSERT_TRUE(Remembers(&bench, bobs));
  ASSERT_FALSE(bobs.empty());

  const EraseResponse receipt = bench.EraseNow("", "bob");
  EXPECT_EQ(receipt.data(), EraseResponse::DATA_REMOVED);
  EXPECT_EQ(receipt.weights(), EraseResponse::WEIGHTS_NOT_REBUILT);
  EXPECT_EQ(receipt.erased_examples(), static_cast<int64_t>(bobs.size()));
  EXPECT_GT(receipt.erased_exemplars(), 0);
  EXPECT_FALSE(Remembers(&bench, bobs));
  EXPECT_FALSE(bench.model().GetCheckpoint("old").ok());
  EXPECT_FALSE(bench.model().GetCheckpoint("young").ok());
  const std::string state = StateOf(&bench);
  for (const uint64_t bob : bobs) EXPECT_EQ(state.find(absl::StrCat(" ", bob, "=")), state.npos);
  bench.Restart();
  EXPECT_EQ(StateOf(&bench), state);
  EXPECT_FALSE(Remembers(&bench, bobs));
}

// Everything that moves an erasure on, one step at a time.
bool Step(ModelBench* bench, int64_t which) {
  switch (which % 3) {
    case 0:
      bench->model().RunOnce();
      return true;
    case 1:
      return bench->background().RunOne();
    default:
      return bench->store().Commit() > 0;
  }
}

class KilledEraseTest : public ::testing::TestWithParam<int> {};

TEST_P(KilledEraseTest, KilledAtAnyStepItIsFinishedAtTheNextStart) {
  const bool trimmed = GetParam() == 1;
  const bool by_producer = GetParam() == 2;
  // Bob's examples go between those of others, from a producer of his own where that is erased.
  const auto learn = [&](ModelBench* bench, const v1::Example& before, const v1::Example& bobs,
                         const v1::Example& after) {
    if (!by_producer) return (void)bench->LearnNow({before, bobs, after});
    bench->LearnNow({before});
    bench->LearnFrom("bob", {bobs});
    bench->LearnNow({after});
  };
  v1::ModelSpec spec = MakeSpec();
  spec.set_checkpoint_every_examples(5);
  bool finished = false;
  for (int steps = 0; !finished; ++steps) {
    ASSERT_LT(steps, 100);
    SCOPED_TRACE(absl::StrCat(steps, " steps"));
    ModelBench bench(spec);
    if (trimmed) {
      bench.retention().set_log_seconds(1);
      bench.retention().set_log_bytes(0);
      bench.Restart(false);
    }
    for (int i = 0; i < 6; ++i) learn(&bench, Of("ann", 1), Of("bob", 2), Of("carol", 1));
    const v1::Checkpoint middle = bench.CheckpointNow("middle");
    bench.clock().Advance(absl::Seconds(10));
    for (int i = 0; i < 6; ++i) learn(&bench, Of("dan", 3), Of("bob", 2), Of("carol", 1));
    bench.RollbackNow(middle.id());
    for (int i = 0; i < 3; ++i) learn(&bench, Of("dan", 3), Of("bob", 2), Of("carol", 1));
    bench.CheckpointNow();
    const std::vector<uint64_t> bobs = *bench.store().log().FindNamed(
        bench.uid(), storage::RecordName::kSubject, "bob");
    if (by_producer) ASSERT_EQ(SentBy(&bench, "bob"), bobs);
    const auto erased = by_producer ? bench.EraseProducer("bob") : bench.Erase("", "bob");
    for (int i = 0; i < steps; ++i) Step(&bench, i);
    finished = erased->has_value();
    bench.Restart();
    const EraseResponse receipt =
        by_producer ? bench.EraseProducerNow("bob") : bench.EraseNow("", "bob");
    EXPECT_EQ(receipt.data(), EraseResponse::DATA_REMOVED);
    EXPECT_EQ(receipt.weights(), trimmed ? EraseResponse::WEIGHTS_NOT_REBUILT
                                         : EraseResponse::WEIGHTS_REBUILT);
    EXPECT_EQ(receipt.erased_examples(), static_cast<int64_t>(bobs.size()));
    EXPECT_FALSE(Remembers(&bench, bobs));
    EXPECT_FALSE(bench.store().catalog().FindErasure(bench.uid(), "").value().has_value());
    if (!trimmed) EXPECT_EQ(StateOf(&bench), StateOfReplay(&bench, spec));
    const std::string state = StateOf(&bench);
    bench.Restart();
    EXPECT_EQ(StateOf(&bench), state);
  }
}

INSTANTIATE_TEST_SUITE_P(Logs, KilledEraseTest, ::testing::Values(0, 1, 2));

// Anything that may happen to a model, erasures among it, killed at any moment.
class RandomEraseTest : public ::testing::TestWithParam<int> {
 protected:
  int Below(int limit) { return static_cast<int>(random_() % static_cast<uint64_t>(limit)); }
  std::string Subject() { return absl::StrCat("subject-", Below(5)); }

  void Learn(ModelBench* bench) {
    std::vector<v1::Example> examples;
    const int count = 1 + Below(5);
    for (int i = 0; i < count; ++i) {
      const int subject = Below(5);
      // Some classes are one subject's alone.
      const int64_t label = Below(3) == 0 ? 100 + subject : Below(4);
      examples.push_back(Below(5) == 0 ? MakeHeldOut(label) : MakeExample(label));
      examples.back().set_subject_id(absl::StrCat("subject-", subject));
    }
    bench->Learn(std::move(examples));
  }

  void RollBack(ModelBench* bench) {
    const auto checkpoints = *bench->model().ListCheckpoints();
    if (checkpoints.empty()) return;
    bench->Rollback(checkpoints[static_cast<size_t>(Below(static_cast<int>(checkpoints.size())))]
                        .id());
  }

  void Act(ModelBench* bench) {
    const int what = Below(30);
    if (what < 12) {
      Learn(bench);
    } else if (what == 12) {
      bench->Boundary();
    } else if (what < 17) {
      bench->clock().Advance(absl::Milliseconds(Below(80)));
      bench->model().RunOnce();
    } else if (what == 17) {
      bench->Checkpoint(Below(2) == 0 ? "" : absl::StrCat("label-", labels_++));
    } else if (what == 18) {
      RollBack(bench);
    } else if (what < 21) {
      bench->Erase("", Subject());
    } else {
      Step(bench, Below(3));
    }
  }

  std::mt19937_64 random_{static_cast<uint64_t>(GetParam())};
  int labels_ = 0;
};

TEST_P(RandomEraseTest, ItEndsAsAReplayOfTheLogWithItsTombstones) {
  v1::ModelSpec spec = MakeSpec();
  spec.set_seed(static_cast<uint64_t>(GetParam()));
  spec.set_max_batch_wait_ms(50);
  spec.set_held_out_fraction(0.1);
  spec.set_checkpoint_every_examples(17);
  ModelBench bench(spec);
  for (int round = 0; round < 8; ++round) {
    const int acts = 20 + Below(40);
    for (int i = 0; i < acts; ++i) Act(&bench);
    if (Below(3) == 0) bench.Settle();
    bench.Restart();
    const auto producers = *bench.store().log().Producers(bench.uid());
    bench.next_producer_sequence = producers.empty() ? 1 : producers[0].last_sequence + 1;
  }
  bench.clock().Advance(absl::Seconds(1));
  bench.Settle();
  const EraseResponse receipt = bench.EraseNow("", Subject());
  EXPECT_THAT(receipt.weights(),
              AnyOf(EraseResponse::WEIGHTS_REBUILT, EraseResponse::WEIGHTS_UNSPECIFIED));
  bench.clock().Advance(absl::Seconds(1));
  bench.Settle();
  EXPECT_EQ(StateOf(&bench), StateOfReplay(&bench, spec));
  std::vector<uint64_t> erased;
  for (const auto& record : LogOf(&bench)) {
    if (record.kind == static_cast<uint8_t>(RecordKind::kErased)) erased.push_back(record.sequence);
  }
  EXPECT_FALSE(Remembers(&bench, erased));
}

INSTANTIATE_TEST_SUITE_P(Seeds, RandomEraseTest, ::testing::Range(1, 33));

}  // namespace
}  // namespace engram::testing
