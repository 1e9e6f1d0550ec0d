// Damage in tables and tensor files: found before the store opens, by a scrub, or by whoever reads.

#include <thread>

#include "storage/codec.h"
#include "storage/sha256.h"
#include "tests/testing/storage/faulty_file_system.h"
#include "tests/unit/storage/store_fixture.h"

namespace engram::storage {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

class DamageTest : public StoreTest {
 protected:
  // A model with 60 records in a table file and two checkpoints.
  DamageTest() {
    Open();
    uid_ = store_->catalog().Create("m", "spec", {"weights", Sha256Hex("weights")})->uid;
    EXPECT_TRUE(log().Open(uid_).ok());
    for (int i = 0; i < 60; ++i) {
      EXPECT_TRUE(Append(log(), Records(uid_, {std::string(500, 'x')})).ok());
    }
    older_ = PutCheckpoint(20);
    newer_ = PutCheckpoint(40);
    store_.reset();
    Open();  // replays the write-ahead log into tables
  }
  CheckpointRow PutCheckpoint(Sequence applied) {
    NewCheckpoint checkpoint;
    checkpoint.applied = applied;
    checkpoint.tensors = std::string(3000, 't');
    return *store_->checkpoints().Put(uid_, checkpoint);
  }
  std::string TensorFile(const CheckpointRow& row) const {
    return options_.folder + "/checkpoints/" + std::to_string(uid_) + "/" + row.file;
  }
  // The largest table holds the log.
  std::string LogTable() const {
    std::string largest;
    for (const std::string& path : FilesEndingWith(db_folder(), ".sst")) {
      const bool larger =
          largest.empty() || std::filesystem::file_size(path) > std::filesystem::file_size(largest);
      if (larger) largest = path;
    }
    return largest;
  }
  absl::Status TryOpen() { return RocksDbStore::Open(options_, hooks_).status(); }

  ModelUid uid_ = 0;
  CheckpointRow older_;
  CheckpointRow newer_;
};

TEST_F(DamageTest, EveryFlippedPartOfATableIsRefusedBeforeTheStoreOpens) {
  store_.reset();
  const std::string table = LogTable();
  const std::string whole = ReadWholeFile(table);
  // The last bytes are the footer, which has unused ones.
  for (size_t at = 7; at + 60 < whole.size(); at += whole.size() / 40) {
    FlipBit(table, at);
    const absl::Status refused = TryOpen();
    EXPECT_EQ(refused.code(), absl::StatusCode::kDataLoss) << "byte " << at << ": " << refused;
    EXPECT_THAT(std::string(refused.message()),
                AllOf(HasSubstr("refusing to open the store: "),
                      HasSubstr("; last good checkpoint: " + newer_.id + " of model \"m\" at "
                                "sequence 40; nothing was modified")));
    EXPECT_EQ(std::string(refused.message()).find(folder_.path()), std::string::npos);
    WriteWholeFile(table, whole);
  }
  EXPECT_TRUE(TryOpen().ok());
}

TEST_F(DamageTest, TheRefusalNamesTheNewestCheckpointThatIsWhole) {
  store_.reset();
  FlipBit(TensorFile(newer_), 5);
  FlipBit(LogTable(), 700);
  EXPECT_THAT(std::string(TryOpen().message()), HasSubstr(older_.id + " of model \"m\""));
}

TEST_F(DamageTest, AModelWhoseLogLacksRecordsIsRefusedUntouched) {
  store_.reset();
  {
    auto engine = RocksDbEngine::Open(options_.folder, options_, hooks_);
    ASSERT_TRUE(engine.ok());
    std::string key;
    AppendBig64(&key, uid_);
    AppendBig64(&key, 30);
    ASSERT_TRUE(
        (*engine)->Delete(ColumnFamily::kLog, key, RocksDbEngine::Durability::kSynced).ok());
  }
  const absl::Status refused = TryOpen();
  EXPECT_EQ(refused.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(refused.message()),
              AllOf(HasSubstr("record 30 is missing"), HasSubstr("nothing was modified")));
}

TEST_F(DamageTest, AScrubFindsADamagedTableAndTurnsTheStoreReadOnly) {
  EXPECT_TRUE(store_->Scrub().ok());
  std::vector<std::string> told;
  store_->ObserveHealth(
      [&told](const absl::Status& health) { told.emplace_back(health.message()); });
  EXPECT_THAT(told, IsEmpty());
  FlipBit(LogTable(), 700);
  const absl::Status found = store_->Scrub();
  EXPECT_EQ(found.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(found.message()), HasSubstr("table file "));
  ASSERT_EQ(told.size(), 1u);
  EXPECT_THAT(told[0], AllOf(HasSubstr("storage is read-only: table file "), HasSubstr(".sst")));
  EXPECT_EQ(store_->catalog().SetPaused(uid_, true).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(store_->Statistics().damaged_files, 1u);
  EXPECT_EQ(store_->Statistics().scrubs, 2u);
  EXPECT_EQ(store_->Scrub().code(), absl::StatusCode::kDataLoss);
  EXPECT_EQ(told.size(), 1u) << "told once";
  store_.reset();
  EXPECT_EQ(TryOpen().code(), absl::StatusCode::kDataLoss);
}

TEST_F(DamageTest, AScrubFindsADamagedTensorFileAndTheStoreGoesOn) {
  FlipBit(TensorFile(newer_), 1234);
  const absl::Status found = store_->Scrub();
  EXPECT_EQ(found.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(found.message()), HasSubstr("checkpoint " + newer_.id + ": sha256"));
  EXPECT_TRUE(log().Health().ok());
  FlipBit(TensorFile(newer_), 1234);
  EXPECT_TRUE(store_->Scrub().ok());
  const auto weights = FilesEndingWith(options_.folder + "/weights/" + std::to_string(uid_), "s");
  ASSERT_EQ(weights.size(), 1u);
  WriteWholeFile(weights[0], "weight");
  EXPECT_THAT(std::string(store_->Scrub().message()), HasSubstr("expected 7 bytes, found 6"));
}

TEST_F(DamageTest, AStoreTooLargeToReadFirstIsScrubbedRightAfterItOpens) {
  // Over the index's step, so that an open reads the log's beginning and end, not its middle.
  ASSERT_TRUE(log().Open(uid_).ok());
  for (int i = 0; i < 14; ++i) {
    ASSERT_TRUE(Append(log(), Records(uid_, {std::string(200000, 'x')})).ok());
  }
  store_.reset();
  Open();
  store_.reset();
  FlipBit(LogTable(), 600000);
  options_.verify_bytes_max = 0;
  options_.scrub_bytes_per_second = 1 << 30;
  Open();
  while (log().Health().ok()) std::this_thread::yield();
  EXPECT_THAT(std::string(log().Health().message()), HasSubstr("table file "));
}

TEST_F(DamageTest, TheScrubComesBackEveryPeriod) {
  store_.reset();
  options_.scrub_period = std::chrono::seconds(1);
  options_.scrub_bytes_per_second = 1 << 30;
  Open();
  while (store_->Statistics().scrubs == 0) std::this_thread::yield();
  EXPECT_GT(store_->Statistics().scrubbed_bytes, 30000u);
  EXPECT_EQ(store_->Statistics().damaged_files, 0u);
}

// A block of an open table that went bad: the reader is told, whoever it is.
TEST_F(DamageTest, AReadOfADamagedBlockIsDataLoss) {
  ASSERT_TRUE(store_->catalog().ReportRows(uid_).ok());
  store_.reset();
  options_.verify_bytes_max = 0;
  options_.scrub_bytes_per_second = 1;
  Open();
  FlipBit(LogTable(), 700);
  absl::Status read = log().Open(uid_);
  if (read.ok()) read = log().Read(uid_, 1, 100, 1 << 20).status();
  EXPECT_EQ(read.code(), absl::StatusCode::kDataLoss) << read;
}

class BackgroundErrorTest : public StoreTest {
 protected:
  BackgroundErrorTest() : files_(std::make_shared<testing::FaultyFileSystem>()) {
    hooks_.file_system = files_;
  }
  std::shared_ptr<testing::FaultyFileSystem> files_;
};

// 64 MiB fill a buffer of the log, and RocksDB's own thread writes it to a table.
TEST_F(BackgroundErrorTest, AFlushThatFailsTurnsTheStoreReadOnlyWithItsReason) {
  OpenWithModel();
  std::promise<std::string> told;
  store_->ObserveHealth([&told](const absl::Status& health) {
    told.set_value(std::string(health.message()));
  });
  files_->FailNth(testing::FaultyFileSystem::Operation::kAppend, ".sst", 1,
                  rocksdb::IOStatus::IOError("injected"));
  absl::Status appended;
  for (int i = 0; i < 40 && appended.ok(); ++i) {
    appended = Append(log(), Records(kModel, {std::string(2 << 20, 'x')}));
  }
  EXPECT_THAT(told.get_future().get(),
              AllOf(HasSubstr("storage is read-only: "), HasSubstr("injected")));
  EXPECT_EQ(Append(log(), Records(kModel, {"x"})).code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_TRUE(log().Read(kModel, 1, 3, 1 << 20).ok()) << "reads go on";
}

TEST_F(BackgroundErrorTest, WhoAsksLateIsToldAtOnce) {
  OpenWithModel();
  files_->FailNth(testing::FaultyFileSystem::Operation::kSync, ".log", 1,
                  rocksdb::IOStatus::IOError("injected"));
  EXPECT_FALSE(Append(log(), Records(kModel, {"x"})).ok());
  int told = 0;
  store_->ObserveHealth([&told](const absl::Status&) { ++told; });
  EXPECT_EQ(told, 1);
}

}  // namespace
}  // namespace engram::storage
