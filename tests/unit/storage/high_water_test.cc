// Loss that RocksDB opens without a word: the witness has to find it, and to leave the evidence
// alone.

#include "storage/high_water.h"

#include <map>

#include "absl/strings/str_cat.h"
#include "tests/unit/storage/store_fixture.h"

namespace engram::storage {
namespace {

using ::testing::HasSubstr;
using ::testing::SizeIs;

TEST(HighWaterTest, KeepsItsLastValue) {
  const ScratchFolder folder;
  ASSERT_TRUE(HighWater::Create(folder.path()).ok());
  for (const uint64_t value : {5, 6, 90}) {
    auto mark = HighWater::Open(folder.path());
    ASSERT_TRUE(mark.ok());
    ASSERT_TRUE((*mark)->Advance(value, ManifestMark()).ok());
    EXPECT_EQ((*mark)->value(), value);
    EXPECT_EQ((*HighWater::Open(folder.path()))->value(), value);
  }
}

TEST(HighWaterTest, ATornWriteFallsBackToTheValueBefore) {
  const ScratchFolder folder;
  const std::string path = folder.path() + "/HIGHWATER";
  ASSERT_TRUE(HighWater::Create(folder.path()).ok());
  auto mark = HighWater::Open(folder.path());
  ASSERT_TRUE(mark.ok());
  ASSERT_TRUE((*mark)->Advance(7, ManifestMark()).ok());
  const std::string before = ReadWholeFile(path);
  ASSERT_TRUE((*mark)->Advance(8, ManifestMark()).ok());
  const std::string after = ReadWholeFile(path);
  size_t changed = 0;
  while (before[changed] == after[changed]) ++changed;
  FlipBit(path, changed);
  EXPECT_EQ((*HighWater::Open(folder.path()))->value(), 7u);
}

TEST(HighWaterTest, TwoDamagedSlotsOrNoFileAreDataLoss) {
  const ScratchFolder folder;
  const std::string path = folder.path() + "/HIGHWATER";
  ASSERT_TRUE(HighWater::Create(folder.path()).ok());
  FlipBit(path, 0);
  EXPECT_TRUE(HighWater::Open(folder.path()).ok());
  FlipBit(path, 4096);
  EXPECT_EQ(HighWater::Open(folder.path()).status().code(), absl::StatusCode::kDataLoss);
  WriteWholeFile(path, "");
  EXPECT_EQ(HighWater::Open(folder.path()).status().code(), absl::StatusCode::kDataLoss);
  std::filesystem::remove(path);
  EXPECT_EQ(HighWater::Open(folder.path()).status().code(), absl::StatusCode::kDataLoss);
}

class SilentLossTest : public StoreTest {
 protected:
  SilentLossTest() {
    OpenWithModel();
    for (int i = 0; i < 30; ++i) {
      EXPECT_TRUE(Append(log(), Records(kModel, {std::string(500, 'x')})).ok());
    }
    store_.reset();
    wal_ = FilesEndingWith(db_folder(), ".log").at(0);
  }
  // Every file but the lock, which holds the number of the process that looked.
  std::map<std::string, std::string> Evidence() const {
    std::map<std::string, std::string> files;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(options_.folder)) {
      const std::string path = entry.path().string();
      const bool lock = entry.path().filename() == "LOCK";
      if (entry.is_regular_file() && !lock) files[path] = ReadWholeFile(path);
    }
    return files;
  }
  void ExpectRefusedUntouched() {
    const std::map<std::string, std::string> before = Evidence();
    const absl::Status refused = RocksDbStore::Open(options_, hooks_).status();
    EXPECT_EQ(refused.code(), absl::StatusCode::kDataLoss) << refused;
    EXPECT_THAT(std::string(refused.message()), HasSubstr("refusing to open the store"));
    EXPECT_THAT(std::string(refused.message()), HasSubstr("; last good checkpoint: "));
    EXPECT_THAT(std::string(refused.message()), HasSubstr("; nothing was modified"));
    EXPECT_TRUE(Evidence() == before) << "files of the store were changed";
  }
  std::string wal_;
};

TEST_F(SilentLossTest, ADeletedWriteAheadLogIsRefusedUntouched) {
  std::filesystem::rename(wal_, folder_.path() + "/wal");
  ExpectRefusedUntouched();
  std::filesystem::rename(folder_.path() + "/wal", wal_);
  OpenWithModel();
  EXPECT_THAT(Payloads(), SizeIs(30));
}

TEST_F(SilentLossTest, AnEmptiedWriteAheadLogIsRefusedUntouched) {
  std::filesystem::resize_file(wal_, 0);
  ExpectRefusedUntouched();
}

TEST_F(SilentLossTest, AnyCutOfTheWriteAheadLogIsRefusedUntouched) {
  // The last 19 bytes are the empty write before the witness: without them nothing is lost.
  const uint64_t size = std::filesystem::file_size(wal_);
  for (const uint64_t left : {size - 40, size - 600, size / 2, uint64_t{100}}) {
    std::filesystem::resize_file(wal_, left);
    ExpectRefusedUntouched();
  }
}

TEST_F(SilentLossTest, ALostManifestOrWitnessIsRefusedUntouched) {
  std::string manifest = ReadWholeFile(db_folder() + "/CURRENT");
  manifest.pop_back();  // a line feed
  for (const std::string& path :
       {db_folder() + "/CURRENT", db_folder() + "/" + manifest, options_.folder + "/HIGHWATER"}) {
    std::filesystem::rename(path, folder_.path() + "/away");
    ExpectRefusedUntouched();
    std::filesystem::rename(folder_.path() + "/away", path);
  }
  OpenWithModel();
  EXPECT_THAT(Payloads(), SizeIs(30));
}

// Without one byte of it, the last edit is gone: RocksDB takes the rest for the whole.
TEST_F(SilentLossTest, AnyCutOfTheManifestIsRefusedUntouched) {
  std::string name = ReadWholeFile(db_folder() + "/CURRENT");
  name.pop_back();  // a line feed
  const std::string manifest = db_folder() + "/" + name;
  const std::string whole = ReadWholeFile(manifest);
  for (const size_t cut : {size_t{1}, size_t{3}, whole.size() / 2, whole.size()}) {
    WriteWholeFile(manifest, whole.substr(0, whole.size() - cut));
    ExpectRefusedUntouched();
  }
  std::string zeros = whole;
  std::fill(zeros.end() - 40, zeros.end(), '\0');
  WriteWholeFile(manifest, zeros);
  ExpectRefusedUntouched();
  WriteWholeFile(manifest, whole);
  OpenWithModel();
  EXPECT_THAT(Payloads(), SizeIs(30));
}

TEST_F(SilentLossTest, ALostFormatFileDoesNotBeginTheWitnessAnew) {
  std::filesystem::remove(options_.folder + "/FORMAT");
  const std::map<std::string, std::string> before = Evidence();
  const absl::Status refused = RocksDbStore::Open(options_, hooks_).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("FORMAT is missing"));
  EXPECT_TRUE(Evidence() == before);
}

TEST_F(SilentLossTest, AWitnessFromBeforeThereWereMarksOfTheManifestOpens) {
  for (const off_t slot : {0, 4096}) {
    std::string bytes = ReadWholeFile(options_.folder + "/HIGHWATER");
    std::fill_n(bytes.begin() + slot + 20, 36, '\0');
    WriteWholeFile(options_.folder + "/HIGHWATER", bytes);
  }
  EXPECT_EQ((*HighWater::Open(options_.folder))->manifest().number, 0u);
  OpenWithModel();
  EXPECT_THAT(Payloads(), SizeIs(30));
  store_.reset();
  EXPECT_GT((*HighWater::Open(options_.folder))->manifest().number, 0u);
}

TEST_F(SilentLossTest, RowsWrittenWithoutASyncCountOnceTheStoreIsClosed) {
  OpenWithModel();
  ASSERT_TRUE(store_->held_out().Put(kModel, {{"task", 1, "row"}}).ok());
  store_.reset();
  OpenWithModel();
  int rows = 0;
  ASSERT_TRUE(store_->held_out().ForEach(kModel, [&rows](HeldOutRow) { return ++rows > 0; }).ok());
  EXPECT_EQ(rows, 1);
}

}  // namespace
}  // namespace engram::storage
