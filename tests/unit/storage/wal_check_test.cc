// The reader of write-ahead logs, against the files that RocksDB itself writes.

#include "storage/wal_check.h"

#include "absl/strings/str_cat.h"
#include "tests/unit/storage/store_fixture.h"

namespace engram::storage {
namespace {

using ::testing::HasSubstr;

class WalCheckTest : public StoreTest {
 protected:
  // About 6 blocks of 32 KiB, records across their borders.
  WalCheckTest() {
    OpenWithModel();
    for (int i = 0; i < kRecords; ++i) {
      EXPECT_TRUE(Append(log(), Records(kModel, {std::string(900 + 7 * i, 'x')})).ok());
    }
    store_.reset();
    wal_ = FilesEndingWith(db_folder(), ".log").at(0);
    whole_ = ReadWholeFile(wal_);
  }
  absl::StatusOr<WalExtent> Read(const std::string& bytes) { return ReadWal("7.log", bytes); }
  std::string Zeroed(size_t from, size_t size) {
    std::string bytes = whole_;
    std::fill_n(bytes.begin() + static_cast<ptrdiff_t>(from), size, '\0');
    return bytes;
  }

  static constexpr int kRecords = 100;
  std::string wal_;
  std::string whole_;
};

TEST_F(WalCheckTest, ReadsEveryBatchOfAWholeFile) {
  const auto extent = Read(whole_);
  ASSERT_TRUE(extent.ok()) << extent.status();
  EXPECT_EQ(extent->first, 1u);
  EXPECT_EQ(extent->next, static_cast<uint64_t>(kRecords) + 1);
  EXPECT_EQ(extent->end, whole_.size());
  EXPECT_TRUE(CheckWriteAheadLogs(db_folder(), 0).ok());
}

TEST_F(WalCheckTest, ATornEndIsNoDamage) {
  const auto extent = Read(whole_);
  ASSERT_TRUE(extent.ok());
  for (const size_t cut : {size_t{1}, size_t{3}, size_t{18}, size_t{500}}) {
    const auto left = Read(whole_.substr(0, whole_.size() - cut));
    ASSERT_TRUE(left.ok()) << left.status();
    EXPECT_LE(left->next, extent->next);
  }
  EXPECT_EQ(Read("")->first, 0u);
  EXPECT_EQ(Read(whole_ + std::string(5000, '\0'))->next, extent->next) << "a preallocated end";
}

// RocksDB goes on in the next block as if nothing had been there.
TEST_F(WalCheckTest, ZerosBeforeAnotherBlockAreDamage) {
  const size_t last_block = (whole_.size() - 1) / 32768 * 32768;
  for (size_t at = 0; at < last_block; at += 2500) {
    for (const size_t size : {size_t{40}, size_t{2000}}) {
      if (at + size > last_block) continue;
      const auto read = Read(Zeroed(at, size));
      EXPECT_EQ(read.status().code(), absl::StatusCode::kDataLoss) << at << "+" << size;
    }
  }
  EXPECT_THAT(std::string(Read(Zeroed(32768, 32768)).status().message()),
              HasSubstr("write-ahead log 7.log, byte "));
}

// In the last block a bad checksum is RocksDB's to find, and an end that came too early is the
// witness's.
TEST_F(WalCheckTest, ZerosInTheLastBlockAreRefusedAtOpen) {
  const size_t last_block = (whole_.size() - 1) / 32768 * 32768;
  for (size_t at = last_block; at + 40 < whole_.size(); at += 1100) {
    WriteWholeFile(wal_, Zeroed(at, 40));
    const auto opened = RocksDbStore::Open(options_, hooks_);
    EXPECT_EQ(opened.status().code(), absl::StatusCode::kDataLoss) << at << opened.status();
  }
}

TEST_F(WalCheckTest, ABatchThatIsNotThereIsDamage) {
  // The same bytes without their second block: whole records, and some are missing.
  const auto read = Read(whole_.substr(0, 32768) + whole_.substr(65536));
  EXPECT_EQ(read.status().code(), absl::StatusCode::kDataLoss) << read.status();
}

TEST_F(WalCheckTest, ZeroedBlocksAreRefusedAtOpen) {
  WriteWholeFile(wal_, Zeroed(32768, 65536));
  const auto opened = RocksDbStore::Open(options_, hooks_);
  EXPECT_EQ(opened.status().code(), absl::StatusCode::kDataLoss) << opened.status();
  WriteWholeFile(wal_, whole_);
  OpenWithModel();
  EXPECT_EQ(Payloads().size(), static_cast<size_t>(kRecords));
}

}  // namespace
}  // namespace engram::storage
