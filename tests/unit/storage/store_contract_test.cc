// What storage/*.h promises, run on the RocksDB store and on the fake: a test that passes with the
// fake must not pass for a reason that the real store does not share.

#include <functional>

#include "absl/strings/str_cat.h"
#include "tests/testing/storage/fake_store.h"
#include "tests/unit/storage/store_fixture.h"

namespace engram::storage {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

enum class Kind { kRocksDb, kFakeInline, kFakeThread };

class StoreContractTest : public ::testing::TestWithParam<Kind> {
 protected:
  static constexpr ModelUid kModel = 3;

  StoreContractTest() {
    if (GetParam() == Kind::kRocksDb) {
      StoreOptions options;
      options.folder = folder_.path() + "/store";
      options.disk_reserve_bytes = 0;
      options.checkpoints_max = 4;
      options.now_ms = [this] { return now_ms_.load(); };
      auto opened = OpenStore(options);
      EXPECT_TRUE(opened.ok()) << opened.status();
      store_ = *std::move(opened);
    } else {
      testing::FakeStoreOptions options;
      options.checkpoints_max = 4;
      options.now_ms = [this] { return now_ms_.load(); };
      options.commit = GetParam() == Kind::kFakeInline ? testing::CommitMode::kInline
                                                       : testing::CommitMode::kThread;
      store_ = std::make_unique<testing::FakeStore>(options);
    }
    EXPECT_TRUE(log().Open(kModel).ok());
  }

  SampleLog& log() { return store_->log(); }

  absl::Status Send(const std::string& producer, uint64_t epoch, uint64_t sequence, int records) {
    Submission submission =
        Records(kModel, std::vector<std::string>(static_cast<size_t>(records), "payload"));
    submission.mark = ProducerMark{producer, epoch, sequence, sequence * 31};
    return Append(log(), std::move(submission));
  }

  ScratchFolder folder_;
  std::atomic<int64_t> now_ms_{1000000};
  std::unique_ptr<Store> store_;
};

TEST_P(StoreContractTest, SequencesBeginAtOneAndMessagesWithoutRecordsTakeNone) {
  EXPECT_EQ(log().DurableSequence(kModel), 0u);
  ASSERT_TRUE(Append(log(), Records(kModel, {"a", "b"})).ok());
  ASSERT_TRUE(Send("p", 1, 1, 0).ok());
  const auto first = log().Submit(Records(kModel, {"c"}), nullptr);
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(*first, 3u);
}

TEST_P(StoreContractTest, ACallbackMaySubmit) {
  std::promise<absl::Status> second;
  ASSERT_TRUE(log()
                  .Submit(Records(kModel, {"first"}),
                          [&](const absl::Status&) {
                            const auto nested = log().Submit(
                                Records(kModel, {"second"}),
                                [&second](const absl::Status& s) { second.set_value(s); });
                            if (!nested.ok()) second.set_value(nested.status());
                          })
                  .ok());
  EXPECT_TRUE(second.get_future().get().ok());
  EXPECT_EQ(log().DurableSequence(kModel), 2u);
}

TEST_P(StoreContractTest, OpenIsIdempotentAndKeepsWhatIsOnItsWay) {
  ASSERT_TRUE(Append(log(), Records(kModel, {"a"})).ok());
  ASSERT_TRUE(log().Open(kModel).ok());
  EXPECT_EQ(log().AssignedSequence(kModel), 1u);
}

TEST_P(StoreContractTest, AModelThatIsNotOpenIsNotFound) {
  EXPECT_EQ(log().Read(99, 1, 1, 1).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(log().Producers(99).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(log().FindMessage(99, "p", 1).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(log().RemoveProducer(99, "p").code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(log().DurableSequence(99), 0u);
  EXPECT_EQ(log().TrimMark(99), 0u);
  EXPECT_EQ(log().TrimCandidate(99, 5, 0, 0, 0), 0u);
}

TEST_P(StoreContractTest, ProducersKeepEpochAndLastSequence) {
  ASSERT_TRUE(Send("alpha", 1, 0, 0).ok());
  auto producers = log().Producers(kModel);
  ASSERT_TRUE(producers.ok());
  ASSERT_THAT(*producers, SizeIs(1));
  EXPECT_EQ((*producers)[0].epoch, 1u);
  EXPECT_EQ((*producers)[0].last_sequence, 0u);
  ASSERT_TRUE(Send("alpha", 1, 1, 2).ok());
  ASSERT_TRUE(Send("alpha", 1, 2, 3).ok());
  now_ms_ = 2000000;
  ASSERT_TRUE(Send("alpha", 2, 0, 0).ok());
  ASSERT_TRUE(Send("beta", 9, 1, 1).ok());
  producers = log().Producers(kModel);
  ASSERT_TRUE(producers.ok());
  ASSERT_THAT(*producers, SizeIs(2));
  EXPECT_EQ((*producers)[0].producer, "alpha");
  EXPECT_EQ((*producers)[0].epoch, 2u);
  EXPECT_EQ((*producers)[0].last_sequence, 2u) << "a hello does not touch it";
  EXPECT_EQ((*producers)[0].last_seen_ms, 2000000);
  EXPECT_EQ((*producers)[1].producer, "beta");
}

TEST_P(StoreContractTest, ARecordMayNameAProducerWithoutAMark) {
  Submission submission = Records(kModel, {"a", "b"});
  submission.records[0].producer = "alpha";
  ASSERT_TRUE(Append(log(), std::move(submission)).ok());
  const auto records = log().Read(kModel, 1, 2, 100);
  ASSERT_TRUE(records.ok());
  ASSERT_THAT(*records, SizeIs(2));
  EXPECT_EQ((*records)[0].producer, "alpha");
  EXPECT_EQ((*records)[1].producer, "");
  EXPECT_THAT(*log().Producers(kModel), SizeIs(0)) << "nothing to be idempotent about";
}

TEST_P(StoreContractTest, MessagesAreFoundByTheirSequence) {
  ASSERT_TRUE(Send("p", 1, 1, 2).ok());
  ASSERT_TRUE(Send("p", 1, 2, 0).ok());
  ASSERT_TRUE(Send("p", 1, 3, 1).ok());
  const auto first = log().FindMessage(kModel, "p", 1);
  ASSERT_TRUE(first.ok() && first->has_value());
  EXPECT_EQ((*first)->first, 1u);
  EXPECT_EQ((*first)->count, 2u);
  EXPECT_EQ((*first)->content_hash, 31u);
  const auto rejected = log().FindMessage(kModel, "p", 2);
  ASSERT_TRUE(rejected.ok() && rejected->has_value());
  EXPECT_EQ((*rejected)->first, 0u);
  EXPECT_EQ((*rejected)->count, 0u);
  EXPECT_EQ((*log().FindMessage(kModel, "p", 3))->first, 3u);
  EXPECT_FALSE(log().FindMessage(kModel, "p", 4)->has_value());
  EXPECT_FALSE(log().FindMessage(kModel, "q", 1)->has_value());
}

TEST_P(StoreContractTest, ARemovedProducerLeavesNothingAndOthersStay) {
  ASSERT_TRUE(Send("p", 1, 1, 1).ok());
  ASSERT_TRUE(Send("pp", 1, 1, 1).ok());
  ASSERT_TRUE(log().RemoveProducer(kModel, "p").ok());
  EXPECT_FALSE(log().FindMessage(kModel, "p", 1)->has_value());
  EXPECT_TRUE(log().FindMessage(kModel, "pp", 1)->has_value());
  EXPECT_THAT(*log().Producers(kModel), SizeIs(1));
}

NewCheckpoint Checkpoint(Sequence applied, std::string label = "") {
  NewCheckpoint checkpoint;
  checkpoint.applied = applied;
  checkpoint.label = std::move(label);
  checkpoint.tensors = absl::StrCat("tensors ", applied);
  checkpoint.stream_state = absl::StrCat("state ", applied);
  checkpoint.compute = "cpu";
  checkpoint.members = {{0, 5, 0}, {1, 2, 3}};
  return checkpoint;
}

TEST_P(StoreContractTest, CheckpointsAreListedNewestAppliedFirst) {
  CheckpointStore& checkpoints = store_->checkpoints();
  for (const Sequence applied : {20, 10, 30}) {
    ASSERT_TRUE(checkpoints.Put(kModel, Checkpoint(applied)).ok());
  }
  const auto rows = checkpoints.List(kModel);
  ASSERT_TRUE(rows.ok());
  ASSERT_THAT(*rows, SizeIs(3));
  EXPECT_EQ((*rows)[0].applied, 30u);
  EXPECT_EQ((*rows)[2].applied, 10u);
  EXPECT_THAT(*checkpoints.List(99), IsEmpty());
  EXPECT_EQ(*checkpoints.Load(kModel, (*rows)[1]), "tensors 20");
}

TEST_P(StoreContractTest, CheckpointsAreFoundByIdAndByLabel) {
  CheckpointStore& checkpoints = store_->checkpoints();
  const auto put = checkpoints.Put(kModel, Checkpoint(10, "best"));
  ASSERT_TRUE(put.ok());
  EXPECT_EQ(put->create_time_ms, 1000000);
  EXPECT_EQ(put->bytes, 10);
  EXPECT_EQ(put->members.size(), 2u);
  EXPECT_EQ(checkpoints.Find(kModel, "best")->id, put->id);
  EXPECT_EQ(checkpoints.Find(kModel, put->id)->label, "best");
  const absl::Status missing = checkpoints.Find(kModel, "worst").status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(std::string(missing.message()), HasSubstr(put->id));
  EXPECT_EQ(checkpoints.Find(kModel, "../../etc/passwd").status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(checkpoints.Find(kModel, "").status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_P(StoreContractTest, ALabelIsUniqueAndRowsAreLimited) {
  CheckpointStore& checkpoints = store_->checkpoints();
  ASSERT_TRUE(checkpoints.Put(kModel, Checkpoint(1, "a")).ok());
  EXPECT_EQ(checkpoints.Put(kModel, Checkpoint(2, "a")).status().code(),
            absl::StatusCode::kAlreadyExists);
  for (const Sequence applied : {2, 3, 4}) {
    ASSERT_TRUE(checkpoints.Put(kModel, Checkpoint(applied)).ok());
  }
  EXPECT_EQ(checkpoints.Put(kModel, Checkpoint(5)).status().code(),
            absl::StatusCode::kOutOfRange);
  ASSERT_TRUE(checkpoints.Delete(kModel, "a").ok());
  EXPECT_TRUE(checkpoints.Put(kModel, Checkpoint(5, "a")).ok());
}

TEST_P(StoreContractTest, AnAliasOutlivesItsSource) {
  CheckpointStore& checkpoints = store_->checkpoints();
  const auto source = checkpoints.Put(kModel, Checkpoint(10, "named"));
  ASSERT_TRUE(source.ok());
  const auto alias = checkpoints.PutAlias(kModel, source->id, 50, "after rollback");
  ASSERT_TRUE(alias.ok()) << alias.status();
  EXPECT_NE(alias->id, source->id);
  EXPECT_EQ(alias->applied, 50u);
  EXPECT_EQ(alias->label, "");
  EXPECT_TRUE(alias->automatic);
  EXPECT_EQ(alias->stream_state, "after rollback");
  EXPECT_EQ(alias->members, source->members);
  ASSERT_TRUE(checkpoints.Delete(kModel, source->id).ok());
  EXPECT_EQ(*checkpoints.Load(kModel, *alias), "tensors 10");
  ASSERT_TRUE(checkpoints.Delete(kModel, alias->id).ok());
  EXPECT_FALSE(checkpoints.Load(kModel, *alias).ok());
  EXPECT_EQ(checkpoints.PutAlias(kModel, source->id, 60, "").status().code(),
            absl::StatusCode::kNotFound);
}

TEST_P(StoreContractTest, RemoveAllLeavesOtherModelsAlone) {
  CheckpointStore& checkpoints = store_->checkpoints();
  ASSERT_TRUE(checkpoints.Put(kModel, Checkpoint(1)).ok());
  ASSERT_TRUE(checkpoints.Put(4, Checkpoint(2)).ok());
  ASSERT_TRUE(checkpoints.RemoveAll(kModel).ok());
  EXPECT_THAT(*checkpoints.List(kModel), IsEmpty());
  EXPECT_THAT(*checkpoints.List(4), SizeIs(1));
}

TEST_P(StoreContractTest, ExemplarsComeBackInTheOrderAsked) {
  EpisodicStore& episodic = store_->episodic();
  ASSERT_TRUE(episodic.Put(kModel, {{{0, 1, 0}, "a"}, {{0, 2, 0}, ""}, {{1, 1, 7}, "c"}}).ok());
  ASSERT_TRUE(episodic.Put(4, {{{0, 1, 0}, "other model"}}).ok());
  const auto payloads = episodic.Read(kModel, {{1, 1, 7}, {0, 1, 0}, {0, 2, 0}, {0, 1, 0}});
  ASSERT_TRUE(payloads.ok());
  EXPECT_THAT(*payloads, ElementsAre("c", "a", "", "a"));
  const absl::Status missing = episodic.Read(kModel, {{0, 1, 0}, {0, 3, 9}}).status();
  EXPECT_EQ(missing.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(missing.message()), HasSubstr("sequence 3, revision 9"));
}

TEST_P(StoreContractTest, SweepKeepsWhatIsNamed) {
  EpisodicStore& episodic = store_->episodic();
  ASSERT_TRUE(episodic.Put(kModel, {{{0, 1, 0}, "a"}, {{0, 2, 0}, "b"}, {{1, 1, 0}, "c"}}).ok());
  ASSERT_TRUE(episodic.Put(4, {{{0, 2, 0}, "other model"}}).ok());
  const auto removed = episodic.Sweep(kModel, {{1, 1, 0}, {0, 1, 0}, {5, 5, 5}});
  ASSERT_TRUE(removed.ok());
  EXPECT_EQ(*removed, 1);
  EXPECT_THAT(*episodic.Keys(kModel), ElementsAre(ExemplarKey{0, 1, 0}, ExemplarKey{1, 1, 0}));
  EXPECT_THAT(*episodic.Keys(4), SizeIs(1));
  ASSERT_TRUE(episodic.RemoveAll(kModel).ok());
  EXPECT_THAT(*episodic.Keys(kModel), IsEmpty());
}

ImportanceRow Importance(Sequence boundary, uint32_t position, size_t bytes) {
  ImportanceRow row;
  row.boundary = boundary;
  row.position = position;
  row.strategy = "ewc";
  row.task = absl::StrCat("task ", boundary);
  row.estimator = "exact";
  row.label_mode = "model";
  row.examples = 100;
  row.tensors = std::string(bytes, static_cast<char>('a' + boundary % 26));
  return row;
}

TEST_P(StoreContractTest, ImportanceKeepsTheNewestWithinItsBytes) {
  ImportanceStore& importance = store_->importance();
  for (Sequence boundary = 1; boundary <= 5; ++boundary) {
    ASSERT_TRUE(importance.Put(kModel, Importance(boundary, 0, 100), 350).ok());
  }
  const auto rows = importance.List(kModel);
  ASSERT_TRUE(rows.ok());
  ASSERT_THAT(*rows, SizeIs(3));
  EXPECT_EQ((*rows)[0].boundary, 3u);
  EXPECT_EQ((*rows)[0].bytes, 100);
  EXPECT_EQ((*rows)[0].tensors, "");
  EXPECT_EQ((*rows)[0].task, "task 3");
  EXPECT_EQ(importance.Read(kModel, 4, 0)->tensors, std::string(100, 'e'));
  EXPECT_EQ(importance.Read(kModel, 1, 0).status().code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(importance.Put(kModel, Importance(9, 0, 400), 350).code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(*importance.List(kModel), SizeIs(3));
}

TEST_P(StoreContractTest, AReplayedImportanceReplacesItself) {
  ImportanceStore& importance = store_->importance();
  ASSERT_TRUE(importance.Put(kModel, Importance(1, 0, 300), 1000).ok());
  ASSERT_TRUE(importance.Put(kModel, Importance(1, 1, 300), 1000).ok());
  ASSERT_TRUE(importance.Put(kModel, Importance(1, 0, 200), 1000).ok());
  EXPECT_THAT(*importance.List(kModel), SizeIs(2));
  EXPECT_EQ(importance.Read(kModel, 1, 0)->tensors.size(), 200u);
}

TEST_P(StoreContractTest, ARollbackRemovesItsRangeOfImportance) {
  ImportanceStore& importance = store_->importance();
  for (const Sequence boundary : {10, 20, 30}) {
    ASSERT_TRUE(importance.Put(kModel, Importance(boundary, 0, 10), 1000).ok());
  }
  ASSERT_TRUE(importance.RemoveRange(kModel, 10, 20).ok());
  const auto rows = importance.List(kModel);
  ASSERT_THAT(*rows, SizeIs(2));
  EXPECT_EQ((*rows)[0].boundary, 10u);
  EXPECT_EQ((*rows)[1].boundary, 30u);
  ASSERT_TRUE(importance.RemoveAll(kModel).ok());
  EXPECT_THAT(*importance.List(kModel), IsEmpty());
}

std::vector<std::string> HeldOut(const HeldOutStore& store, ModelUid model) {
  std::vector<std::string> rows;
  EXPECT_TRUE(store
                  .ForEach(model,
                           [&rows](HeldOutRow row) {
                             rows.push_back(
                                 absl::StrCat(row.task, "/", row.sequence, "/", row.payload));
                             return true;
                           })
                  .ok());
  return rows;
}

TEST_P(StoreContractTest, HeldOutRowsComeByTaskAndSequenceOnceEach) {
  HeldOutStore& held_out = store_->held_out();
  const std::vector<HeldOutRow> rows = {{"b", 1, "x"}, {"a", 300, "z"}, {"a", 20, "y"}};
  ASSERT_TRUE(held_out.Put(kModel, rows).ok());
  ASSERT_TRUE(held_out.Put(kModel, rows).ok());
  ASSERT_TRUE(held_out.Put(4, {{"other", 1, "w"}}).ok());
  EXPECT_THAT(HeldOut(held_out, kModel), ElementsAre("a/20/y", "a/300/z", "b/1/x"));
  ASSERT_TRUE(held_out.Delete(kModel, "a", 300).ok());
  EXPECT_THAT(HeldOut(held_out, kModel), ElementsAre("a/20/y", "b/1/x"));
  int visited = 0;
  ASSERT_TRUE(held_out.ForEach(kModel, [&visited](HeldOutRow) { return ++visited < 1; }).ok());
  EXPECT_EQ(visited, 1);
  ASSERT_TRUE(held_out.RemoveAll(kModel).ok());
  EXPECT_THAT(HeldOut(held_out, kModel), IsEmpty());
  EXPECT_THAT(HeldOut(held_out, 4), SizeIs(1));
}

TEST_P(StoreContractTest, AModelsUidIsNeverUsedAgain) {
  ModelCatalog& catalog = store_->catalog();
  const auto first = catalog.Create("digits", "spec", {});
  ASSERT_TRUE(first.ok());
  EXPECT_EQ(catalog.Create("digits", "", {}).status().code(), absl::StatusCode::kAlreadyExists);
  ASSERT_TRUE(catalog.SetPaused(first->uid, true).ok());
  EXPECT_TRUE((*catalog.List())[0].paused);
  EXPECT_EQ((*catalog.List())[0].spec, "spec");
  ASSERT_TRUE(catalog.PauseFor(first->uid, "why").ok());
  ASSERT_TRUE(catalog.SetPaused(first->uid, true).ok());
  EXPECT_EQ((*catalog.List())[0].pause_reason, "why") << "it was paused already";
  ASSERT_TRUE(catalog.SetPaused(first->uid, false).ok());
  EXPECT_EQ((*catalog.List())[0].pause_reason, "");
  EXPECT_FALSE((*catalog.List())[0].paused);
  ASSERT_TRUE(catalog.PauseFor(first->uid, "again").ok());
  ASSERT_TRUE(catalog.Remove(first->uid).ok());
  EXPECT_EQ(catalog.Remove(first->uid).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(catalog.SetPaused(first->uid, true).code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(catalog.PauseFor(first->uid, "").code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(*catalog.Orphans(), ElementsAre(first->uid));
  const auto second = catalog.Create("digits", "spec", {});
  ASSERT_TRUE(second.ok());
  EXPECT_GT(second->uid, first->uid);
  ASSERT_TRUE(catalog.ForgetOrphan(first->uid).ok());
  EXPECT_THAT(*catalog.Orphans(), IsEmpty());
}

TEST_P(StoreContractTest, ReportRowsComeInOrderOfTheirSequence) {
  ModelCatalog& catalog = store_->catalog();
  ASSERT_TRUE(catalog.PutReportRow(kModel, 300, "c").ok());
  ASSERT_TRUE(catalog.PutReportRow(kModel, 20, "b").ok());
  ASSERT_TRUE(catalog.PutReportRow(kModel, 300, "d").ok());
  ASSERT_TRUE(catalog.PutReportRow(4, 1, "other").ok());
  using Row = std::pair<Sequence, std::string>;
  EXPECT_THAT(*catalog.ReportRows(kModel), ElementsAre(Row(20, "b"), Row(300, "d")));
  ASSERT_TRUE(catalog.RemoveReportRows(kModel).ok());
  EXPECT_THAT(*catalog.ReportRows(kModel), IsEmpty());
  EXPECT_THAT(*catalog.ReportRows(4), SizeIs(1));
}

INSTANTIATE_TEST_SUITE_P(Stores, StoreContractTest,
                         ::testing::Values(Kind::kRocksDb, Kind::kFakeInline, Kind::kFakeThread),
                         [](const ::testing::TestParamInfo<Kind>& kind) -> std::string {
                           if (kind.param == Kind::kRocksDb) return "RocksDb";
                           return kind.param == Kind::kFakeInline ? "FakeInline" : "FakeThread";
                         });

}  // namespace
}  // namespace engram::storage
