// A disk that others fill: no write may reach RocksDB without room, since a log write that meets a
// full disk ends the process.

#include <atomic>
#include <future>
#include <memory>
#include <thread>

#include "tests/testing/storage/faulty_file_system.h"
#include "tests/unit/storage/store_fixture.h"

namespace engram::storage {
namespace {

using engram::testing::FaultyFileSystem;
using ::testing::HasSubstr;

constexpr int64_t kReserve = 256 << 20;
constexpr auto kAnotherMeasure = 2 * DiskWatch::kMeasurePeriod;

class DiskRoomTest : public StoreTest {
 protected:
  DiskRoomTest() : files_(std::make_shared<FaultyFileSystem>()) {
    options_.disk_reserve_bytes = kReserve;
    hooks_.file_system = files_;
    hooks_.disk_space = [this]() -> absl::StatusOr<DiskSpace> {
      return DiskSpace{free_bytes_.load(), int64_t{1} << 40};
    };
  }
  // Returns once it is measured.
  void LeaveFree(int64_t bytes) {
    free_bytes_ = bytes;
    while (store_->Statistics().disk_free_bytes != bytes) std::this_thread::yield();
  }
  // "a" is on its way to the disk, "b" queued behind it: its answer.
  std::future<absl::Status> QueueBehindASync() {
    files_->BlockSyncs();
    EXPECT_TRUE(log().Submit(Records(kModel, {"a"}), nullptr).ok());
    files_->AwaitBlockedSync();
    const auto durable = std::make_shared<std::promise<absl::Status>>();
    const auto done = [durable](const absl::Status& status) { durable->set_value(status); };
    EXPECT_TRUE(log().Submit(Records(kModel, {"b"}), done).ok());
    return durable->get_future();
  }
  int64_t WalAppends() const { return files_->Count(FaultyFileSystem::Operation::kAppend, ".log"); }

  std::atomic<int64_t> free_bytes_{int64_t{1} << 30};
  std::shared_ptr<FaultyFileSystem> files_;
};

TEST_F(DiskRoomTest, TheFirstSubmitAfterAnIdleTimeSeesTheDiskAsItIs) {
  OpenWithModel();
  ASSERT_TRUE(Append(log(), Records(kModel, {"a"})).ok());
  // Real time: what is tested is that nobody has measured for a while.
  std::this_thread::sleep_for(RocksDbEngine::kWitnessPeriod + kAnotherMeasure);
  free_bytes_ = 0;
  const int64_t before = WalAppends();
  const absl::Status refused = Append(log(), Records(kModel, {"b"}));
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted) << refused;
  EXPECT_EQ(WalAppends(), before);
  EXPECT_TRUE(log().Health().ok());
}

TEST_F(DiskRoomTest, WhatIsOnItsWayWaitsForRoom) {
  OpenWithModel();
  std::future<absl::Status> answer = QueueBehindASync();
  LeaveFree(0);
  const int64_t before = WalAppends();
  files_->ReleaseSyncs();
  EXPECT_EQ(answer.wait_for(kAnotherMeasure), std::future_status::timeout);
  EXPECT_EQ(WalAppends(), before) << "nothing reached the log";
  EXPECT_EQ(log().DurableSequence(kModel), 1u);
  free_bytes_ = int64_t{1} << 30;
  EXPECT_TRUE(answer.get().ok());
  EXPECT_EQ(log().DurableSequence(kModel), 2u);
}

// The disk is full when RocksDB writes a full buffer to a table, and has room again later: what was
// acked is there, what came meanwhile was refused or waited, and nothing is read-only.
TEST_F(DiskRoomTest, AFlushWithoutRoomIsMadeUpForOnceThereIsSome) {
  OpenWithModel();
  files_->FailNth(FaultyFileSystem::Operation::kAppend, ".sst", 1,
                  rocksdb::IOStatus::NoSpace("No space left on device"));
  const std::string large(2 << 20, 'x');
  Sequence acked = 0;
  while (files_->Count(FaultyFileSystem::Operation::kAppend, ".sst") == 0) {
    ASSERT_TRUE(Append(log(), Records(kModel, {large})).ok());
    ++acked;
  }
  LeaveFree(0);
  EXPECT_EQ(Append(log(), Records(kModel, {"refused"})).code(),
            absl::StatusCode::kResourceExhausted);
  LeaveFree(int64_t{1} << 30);
  for (int i = 0; i < 40; ++i) {
    ASSERT_TRUE(Append(log(), Records(kModel, {large})).ok());
    ++acked;
  }
  EXPECT_TRUE(log().Health().ok()) << log().Health();
  store_.reset();
  Open();
  ASSERT_TRUE(log().Open(kModel).ok());
  EXPECT_EQ(log().DurableSequence(kModel), acked);
  EXPECT_TRUE(log().Read(kModel, 1, acked, size_t{1} << 30).ok());
}

TEST_F(DiskRoomTest, ALogThatClosesWithoutRoomAnswersWhatWaits) {
  OpenWithModel();
  std::future<absl::Status> answer = QueueBehindASync();
  LeaveFree(0);
  files_->ReleaseSyncs();
  store_.reset();
  EXPECT_EQ(answer.get().code(), absl::StatusCode::kResourceExhausted);
  free_bytes_ = int64_t{1} << 30;
  OpenWithModel();
  EXPECT_EQ(log().DurableSequence(kModel), 1u);
}

// A pause, a report row, an exemplar, an importance snapshot: nobody's log, the same file.
TEST_F(DiskRoomTest, EveryWriterStopsBeforeTheDiskIsFull) {
  Open();
  const ModelUid uid = store_->catalog().Create("m", "spec", {})->uid;
  const auto writes = [this, uid] {
    ImportanceRow importance;
    importance.tensors = "t";
    return std::vector<absl::Status>{store_->catalog().SetPaused(uid, true),
                                     store_->catalog().PutReportRow(uid, 1, "row"),
                                     store_->episodic().Put(uid, {{{0, 1, 0}, "a"}}),
                                     store_->importance().Put(uid, importance, 100),
                                     store_->held_out().Put(uid, {{"t", 1, "a"}})};
  };
  LeaveFree(kReserve / 2);
  for (const absl::Status& status : writes()) EXPECT_TRUE(status.ok()) << status;
  LeaveFree(kReserve / 4 - 1);
  for (const absl::Status& status : writes()) {
    EXPECT_EQ(status.code(), absl::StatusCode::kResourceExhausted) << status;
    EXPECT_THAT(std::string(status.message()), HasSubstr("below reserve 64 MiB"));
  }
  EXPECT_TRUE(store_->held_out().Delete(uid, "t", 1).ok()) << "what frees space goes on";
  LeaveFree(0);
  EXPECT_EQ(store_->held_out().Delete(uid, "t", 1).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_TRUE(log().Health().ok()) << "nothing of this sticks";
  LeaveFree(int64_t{1} << 30);
  for (const absl::Status& status : writes()) EXPECT_TRUE(status.ok()) << status;
}

TEST_F(DiskRoomTest, TheWitnessDoesNotWriteToAFullDisk) {
  OpenWithModel();
  ASSERT_TRUE(Append(log(), Records(kModel, {"a"})).ok());
  LeaveFree(0);
  const int64_t before = WalAppends();
  std::this_thread::sleep_for(RocksDbEngine::kWitnessPeriod + kAnotherMeasure);
  EXPECT_EQ(WalAppends(), before);
  EXPECT_TRUE(log().Health().ok());
}

}  // namespace
}  // namespace engram::storage
