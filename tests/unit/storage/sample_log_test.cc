#include <atomic>
#include <set>
#include <thread>

#include "absl/strings/str_cat.h"
#include "tests/testing/storage/faulty_file_system.h"
#include "tests/unit/storage/store_fixture.h"

namespace engram::storage {
namespace {

using engram::testing::FaultyFileSystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class SampleLogTest : public StoreTest {
 protected:
  void AppendNumbered(int from, int to, size_t bytes = 0) {
    for (int i = from; i <= to; ++i) {
      std::string payload = absl::StrCat(i);
      payload.resize(std::max(payload.size(), bytes), '.');
      ASSERT_TRUE(Append(log(), Records(kModel, {payload})).ok());
    }
  }
};

// With a file system below that a test steers.
class SampleLogFaultTest : public SampleLogTest {
 protected:
  SampleLogFaultTest() : disk_(std::make_shared<FaultyFileSystem>()) { hooks_.file_system = disk_; }
  void CutPower() {
    high_water_ = ReadWholeFile(options_.folder + "/HIGHWATER");
    disk_->CutPower();
  }
  // Closes the store and leaves what a disk would hold if power had gone at CutPower.
  void DropUnsynced(uint64_t torn_bytes = 0) {
    store_.reset();
    disk_->DropUnsynced(torn_bytes);
    WriteWholeFile(options_.folder + "/HIGHWATER", high_water_);
  }
  std::string high_water_;
  std::shared_ptr<FaultyFileSystem> disk_;
};

TEST_F(SampleLogTest, AppendIsDurableAfterReopen) {
  OpenWithModel();
  ASSERT_TRUE(Append(log(), Records(kModel, {"a", "b"})).ok());
  ASSERT_TRUE(Append(log(), Records(kModel, {"c"})).ok());
  Reopen();
  EXPECT_EQ(log().DurableSequence(kModel), 3u);
  EXPECT_EQ(log().AssignedSequence(kModel), 3u);
  EXPECT_THAT(Payloads(), ElementsAre("a", "b", "c"));
  ASSERT_TRUE(Append(log(), Records(kModel, {"d"})).ok());
  EXPECT_THAT(Payloads(4), ElementsAre("d"));
}

TEST_F(SampleLogTest, KindAndEmptyPayloadComeBack) {
  OpenWithModel();
  Submission submission;
  submission.model = kModel;
  submission.records = {{100, ""}, {1, std::string("\0\xff", 2)}};
  ASSERT_TRUE(Append(log(), submission).ok());
  Reopen();
  const auto records = log().Read(kModel, 1, 10, 100);
  ASSERT_TRUE(records.ok());
  ASSERT_EQ(records->size(), 2u);
  EXPECT_EQ((*records)[0].kind, 100);
  EXPECT_EQ((*records)[0].payload, "");
  EXPECT_EQ((*records)[1].payload, std::string("\0\xff", 2));
}

TEST_F(SampleLogTest, EightThreadsGetAGapFreeOrderThatReadKeeps) {
  OpenWithModel();
  constexpr int kThreads = 8;
  constexpr int kSubmits = 200;
  std::atomic<int> acknowledged{0};
  std::atomic<bool> failed{false};
  std::vector<std::vector<Sequence>> firsts(kThreads);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < kSubmits; ++i) {
        const auto first = log().Submit(
            Records(kModel, {absl::StrCat(t, ":", i, ":a"), absl::StrCat(t, ":", i, ":b")}),
            [&](const absl::Status& status) { status.ok() ? ++acknowledged : failed = true; });
        if (!first.ok()) failed = true;
        firsts[t].push_back(first.value_or(0));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  store_.reset();  // drains
  EXPECT_EQ(acknowledged, kThreads * kSubmits);
  EXPECT_FALSE(failed);
  OpenWithModel();
  const std::vector<std::string> payloads = Payloads();
  ASSERT_EQ(payloads.size(), static_cast<size_t>(kThreads * kSubmits * 2));
  for (int t = 0; t < kThreads; ++t) {
    for (int i = 0; i < kSubmits; ++i) {
      EXPECT_EQ(payloads[firsts[t][i] - 1], absl::StrCat(t, ":", i, ":a"));
      EXPECT_EQ(payloads[firsts[t][i]], absl::StrCat(t, ":", i, ":b"));
    }
  }
}

TEST_F(SampleLogFaultTest, WhatQueuesDuringASyncIsOneCommit) {
  OpenWithModel();
  constexpr int kSubmits = 100;
  disk_->BlockSyncs();
  std::vector<Sequence> order;  // the committer's own until the log is drained
  const auto submit = [&](int i) {
    const auto first = log().Submit(Records(kModel, {absl::StrCat(i)}),
                                    [&order, i](const absl::Status&) { order.push_back(i); });
    ASSERT_TRUE(first.ok());
  };
  submit(1);
  disk_->AwaitBlockedSync();
  for (int i = 2; i <= kSubmits; ++i) submit(i);
  EXPECT_EQ(log().AssignedSequence(kModel), static_cast<Sequence>(kSubmits));
  EXPECT_EQ(log().DurableSequence(kModel), 0u) << "nothing is durable before its sync";
  EXPECT_THAT(Payloads(), IsEmpty());
  const int64_t syncs = disk_->Count(FaultyFileSystem::Operation::kSync, ".log");
  disk_->ReleaseSyncs();
  ASSERT_TRUE(Append(log(), Records(kModel, {"last"})).ok());
  EXPECT_EQ(store_->Statistics().committed_records, static_cast<uint64_t>(kSubmits + 1));
  EXPECT_LE(store_->Statistics().commits, 3u);
  EXPECT_LE(disk_->Count(FaultyFileSystem::Operation::kSync, ".log"), syncs + 2);
  store_.reset();
  ASSERT_EQ(order.size(), static_cast<size_t>(kSubmits));
  EXPECT_TRUE(std::is_sorted(order.begin(), order.end()));
}

TEST_F(SampleLogFaultTest, ACommitIsBoundedByItsBytes) {
  options_.commit_bytes_max = 4096;
  OpenWithModel();
  disk_->BlockSyncs();
  std::atomic<int> acknowledged{0};
  const auto count = [&acknowledged](const absl::Status& status) { acknowledged += status.ok(); };
  ASSERT_TRUE(log().Submit(Records(kModel, {"first"}), count).ok());
  disk_->AwaitBlockedSync();
  for (int i = 0; i < 10; ++i) {
    ASSERT_TRUE(log().Submit(Records(kModel, {std::string(2000, 'x')}), count).ok());
  }
  disk_->ReleaseSyncs();
  ASSERT_TRUE(Append(log(), Records(kModel, {std::string(9000, 'y')})).ok());
  EXPECT_GE(store_->Statistics().commits, 6u);
  EXPECT_EQ(acknowledged, 11);
}

TEST_F(SampleLogFaultTest, AFullQueueRefusesAndStoresNothing) {
  options_.queue_bytes_max = 10000;
  OpenWithModel();
  disk_->BlockSyncs();
  ASSERT_TRUE(log().Submit(Records(kModel, {std::string(9000, 'x')}), nullptr).ok());
  disk_->AwaitBlockedSync();
  const auto refused = log().Submit(Records(kModel, {std::string(2000, 'y')}), nullptr);
  EXPECT_EQ(refused.status().code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(log().AssignedSequence(kModel), 1u);
  disk_->ReleaseSyncs();
  ASSERT_TRUE(Append(log(), Records(kModel, {"small"})).ok());
  EXPECT_EQ(log().DurableSequence(kModel), 2u);
  EXPECT_EQ(store_->Statistics().queued_bytes, 0);
}

TEST_F(SampleLogFaultTest, AFailedSyncIsNeverAcknowledgedAndSticks) {
  OpenWithModel();
  AppendNumbered(1, 3);
  disk_->FailNth(FaultyFileSystem::Operation::kSync, ".log", 1,
                 rocksdb::IOStatus::IOError("injected"));
  const absl::Status failed = Append(log(), Records(kModel, {"lost?"}));
  EXPECT_EQ(failed.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(failed.message()), HasSubstr("storage is read-only"));
  EXPECT_THAT(std::string(failed.message()), HasSubstr("injected"));
  EXPECT_EQ(log().Health(), failed);
  // The disk is well again; the log must not trust it.
  EXPECT_EQ(Append(log(), Records(kModel, {"later"})), failed);
  EXPECT_EQ(store_->catalog().Create("name", "", {}).status(), failed);
  EXPECT_EQ(log().DurableSequence(kModel), 3u);
  EXPECT_THAT(Payloads(), ElementsAre("1", "2", "3"));
  Reopen();
  EXPECT_TRUE(log().Health().ok());
  const std::vector<std::string> payloads = Payloads();
  ASSERT_GE(payloads.size(), 3u) << "what was acknowledged is there";
  EXPECT_THAT(std::vector<std::string>(payloads.begin(), payloads.begin() + 3),
              ElementsAre("1", "2", "3"));
  EXPECT_TRUE(Append(log(), Records(kModel, {"again"})).ok());
}

TEST_F(SampleLogFaultTest, AFailureReachesEverySubmissionThatWaits) {
  OpenWithModel();
  disk_->BlockSyncs();
  std::atomic<int> refused{0};
  std::atomic<int> acknowledged{0};
  const auto count = [&](const absl::Status& status) { status.ok() ? ++acknowledged : ++refused; };
  ASSERT_TRUE(log().Submit(Records(kModel, {"1"}), count).ok());
  disk_->AwaitBlockedSync();
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(log().Submit(Records(kModel, {"x"}), count).ok());
  disk_->FailNth(FaultyFileSystem::Operation::kSync, ".log", 1,
                 rocksdb::IOStatus::IOError("injected"));
  disk_->ReleaseSyncs();
  store_.reset();
  EXPECT_EQ(acknowledged, 0);
  EXPECT_EQ(refused, 21);
}

// For every N: the N-th append or sync of the write-ahead log fails, and nothing acknowledged is
// lost.
TEST_F(SampleLogFaultTest, NoFaultAtAnyPointCausesAFalseAcknowledgement) {
  for (const auto operation :
       {FaultyFileSystem::Operation::kAppend, FaultyFileSystem::Operation::kSync}) {
    for (int n = 1; n <= 6; ++n) {
      options_.folder = absl::StrCat(folder_.path(), "/", static_cast<int>(operation), "-", n);
      OpenWithModel();
      disk_->FailNth(operation, ".log", n, rocksdb::IOStatus::IOError("injected"));
      std::vector<std::string> acknowledged;
      for (int i = 0; i < 8; ++i) {
        const std::string payload = absl::StrCat("record ", i);
        if (Append(log(), Records(kModel, {payload})).ok()) acknowledged.push_back(payload);
      }
      EXPECT_LT(acknowledged.size(), 8u);
      Reopen();
      const std::vector<std::string> stored = Payloads();
      ASSERT_GE(stored.size(), acknowledged.size());
      for (size_t i = 0; i < acknowledged.size(); ++i) EXPECT_EQ(stored[i], acknowledged[i]);
      store_.reset();
    }
  }
}

TEST_F(SampleLogFaultTest, AFullDiskBelowTheWatermarkMakesTheLogReadOnlyAndNotAbort) {
  OpenWithModel();
  AppendNumbered(1, 3);
  disk_->FailNth(FaultyFileSystem::Operation::kAppend, ".log", 1,
                 rocksdb::IOStatus::NoSpace("No space left on device"));
  const absl::Status failed = Append(log(), Records(kModel, {"lost?"}));
  EXPECT_EQ(failed.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(Append(log(), Records(kModel, {"later"})), failed);
  EXPECT_THAT(Payloads(), ElementsAre("1", "2", "3"));
  Reopen();
  EXPECT_GE(Payloads().size(), 3u);
}

TEST_F(SampleLogFaultTest, AcknowledgedRecordsSurviveAPowerLoss) {
  OpenWithModel();
  AppendNumbered(1, 20);
  CutPower();
  AppendNumbered(21, 25);
  DropUnsynced();
  OpenWithModel();
  const std::vector<std::string> payloads = Payloads();
  ASSERT_EQ(payloads.size(), 20u);
  EXPECT_EQ(payloads.back(), "20");
}

TEST_F(SampleLogFaultTest, ATornTailOfAPowerLossIsCutOff) {
  for (const uint64_t torn_bytes : {1, 8, 50, 200}) {
    options_.folder = absl::StrCat(folder_.path(), "/", torn_bytes);
    OpenWithModel();
    AppendNumbered(1, 10, 200);
    CutPower();
    AppendNumbered(11, 12, 200);
    DropUnsynced(torn_bytes);
    OpenWithModel();
    EXPECT_EQ(Payloads().size(), 10u) << torn_bytes;
    ASSERT_TRUE(Append(log(), Records(kModel, {"next"})).ok());
    EXPECT_EQ(Payloads().back(), "next");
    store_.reset();
  }
}

TEST_F(SampleLogFaultTest, WithoutSyncAPowerLossLosesRecords) {
  options_.sync = false;
  OpenWithModel();
  AppendNumbered(1, 20);
  CutPower();
  DropUnsynced();
  OpenWithModel();
  EXPECT_LT(Payloads().size(), 20u) << "the test above can see an unsynced write";
}

TEST_F(SampleLogTest, ReadStopsAtItsLimitsAndAtTheEnd) {
  OpenWithModel();
  AppendNumbered(1, 10, 100);
  EXPECT_EQ(log().Read(kModel, 1, 4, 1 << 20)->size(), 4u);
  EXPECT_EQ(log().Read(kModel, 1, 100, 250)->size(), 3u);
  EXPECT_EQ(log().Read(kModel, 1, 100, 0)->size(), 1u) << "at least one, to make progress";
  EXPECT_EQ(log().Read(kModel, 9, 100, 1 << 20)->size(), 2u);
  EXPECT_THAT(*log().Read(kModel, 11, 100, 1 << 20), IsEmpty());
  EXPECT_THAT(*log().Read(kModel, 1, 0, 1 << 20), IsEmpty());
}

TEST_F(SampleLogTest, ModelsHaveLogsOfTheirOwn) {
  OpenWithModel();
  ASSERT_TRUE(log().Open(8).ok());
  ASSERT_TRUE(Append(log(), Records(kModel, {"seven"})).ok());
  ASSERT_TRUE(Append(log(), Records(8, {"eight", "more"})).ok());
  EXPECT_EQ(log().DurableSequence(kModel), 1u);
  EXPECT_EQ(log().DurableSequence(8), 2u);
  EXPECT_THAT(Payloads(), ElementsAre("seven"));
  ASSERT_TRUE(log().Remove(8).ok());
  EXPECT_EQ(Append(log(), Records(8, {"x"})).code(), absl::StatusCode::kNotFound);
  EXPECT_THAT(Payloads(), ElementsAre("seven"));
  ASSERT_TRUE(log().Open(8).ok());
  EXPECT_EQ(log().DurableSequence(8), 0u) << "removed with everything";
}

TEST_F(SampleLogTest, BadSubmissionsAreRefused) {
  OpenWithModel();
  EXPECT_EQ(Append(log(), Records(kModel, {})).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Append(log(), Records(99, {"x"})).code(), absl::StatusCode::kNotFound);
  Submission no_kind = Records(kModel, {"x"});
  no_kind.records[0].kind = 0;
  EXPECT_EQ(Append(log(), no_kind).code(), absl::StatusCode::kInvalidArgument);
  Submission no_producer = Records(kModel, {"x"});
  no_producer.mark = ProducerMark();
  EXPECT_EQ(Append(log(), no_producer).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(log().AssignedSequence(kModel), 0u);
}

TEST_F(SampleLogTest, LowDiskRefusesAndRecoversByItself) {
  std::atomic<int64_t> free_bytes{1 << 30};
  hooks_.disk_space = [&free_bytes]() -> absl::StatusOr<DiskSpace> {
    return DiskSpace{free_bytes.load(), int64_t{1} << 40};
  };
  options_.disk_reserve_bytes = 128 << 20;
  free_bytes = 91 << 20;
  OpenWithModel();
  const absl::Status refused = Append(log(), Records(kModel, {"x"}));
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(refused.message(), "free space 91 MiB below reserve 128 MiB");
  NewCheckpoint checkpoint;
  checkpoint.tensors = "t";
  EXPECT_EQ(store_->checkpoints().Put(kModel, checkpoint).status().code(),
            absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(log().Health().ok()) << "not read-only";
  free_bytes = 1 << 30;
  absl::Status appended = refused;
  while (!appended.ok()) {
    std::this_thread::yield();
    appended = Append(log(), Records(kModel, {"x"}));
  }
  EXPECT_EQ(log().DurableSequence(kModel), 1u);
}

TEST_F(SampleLogTest, TheObserverSeesEveryCommit) {
  OpenWithModel();
  std::atomic<int> seen{0};
  store_->ObserveCommits([&seen](double seconds) { seen += seconds > 0 ? 1 : 0; });
  AppendNumbered(1, 5);
  const StoreStatistics statistics = store_->Statistics();
  EXPECT_EQ(statistics.commits, 5u);
  EXPECT_EQ(statistics.committed_records, 5u);
  EXPECT_EQ(statistics.committed_bytes, 5u);
  EXPECT_GT(statistics.disk_total_bytes, 0);
  store_.reset();
  EXPECT_EQ(seen, 5);
}

TEST_F(SampleLogTest, ADamagedLogIsRefusedAtOpen) {
  OpenWithModel();
  AppendNumbered(1, 50, 200);
  store_.reset();
  const std::vector<std::string> logs = FilesEndingWith(db_folder(), ".log");
  ASSERT_EQ(logs.size(), 1u);
  FlipBit(logs[0], 3000);
  const auto opened = RocksDbStore::Open(options_, hooks_);
  EXPECT_EQ(opened.status().code(), absl::StatusCode::kDataLoss) << opened.status();
  EXPECT_THAT(std::string(opened.status().message()), HasSubstr("refusing to open"));
  EXPECT_EQ(opened.status().message().find(folder_.path()), absl::string_view::npos)
      << "no path of the machine in a message";
}

// At a reopen the write-ahead log goes to a table file. One that is too large to be read whole
// before it opens shows its damage when it is read, and never as zeros.
TEST_F(SampleLogTest, ADamagedTableIsDataLossNamingTheRecord) {
  options_.verify_bytes_max = 0;
  options_.scrub_bytes_per_second = 1;
  OpenWithModel();
  AppendNumbered(1, 50, 200);
  Reopen();
  store_.reset();
  std::vector<std::string> tables = FilesEndingWith(db_folder(), ".sst");
  ASSERT_FALSE(tables.empty());
  const auto largest = std::max_element(
      tables.begin(), tables.end(), [](const std::string& a, const std::string& b) {
        return std::filesystem::file_size(a) < std::filesystem::file_size(b);
      });
  FlipBit(*largest, 3000);
  Open();
  const absl::Status opened = log().Open(kModel);
  EXPECT_EQ(opened.code(), absl::StatusCode::kDataLoss) << opened;
}

}  // namespace
}  // namespace engram::storage
