// What a disk can do to checkpoints: damage, leftovers, links.

#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "storage/checkpoint_id.h"
#include "storage/checkpoint_row.h"
#include "storage/codec.h"
#include "tests/testing/storage/faulty_file_system.h"
#include "tests/unit/storage/store_fixture.h"

namespace engram::storage {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using ::testing::SizeIs;

class CheckpointFileTest : public StoreTest {
 protected:
  CheckpointFileTest() { Open(); }

  CheckpointRow Put(Sequence applied, const std::string& tensors) {
    NewCheckpoint checkpoint;
    checkpoint.applied = applied;
    checkpoint.tensors = tensors;
    const auto row = store_->checkpoints().Put(kModel, checkpoint);
    EXPECT_TRUE(row.ok()) << row.status();
    return row.value_or(CheckpointRow());
  }
  std::string model_folder() const {
    return absl::StrCat(options_.folder, "/checkpoints/", kModel);
  }
  std::string PathOf(const CheckpointRow& row) const { return model_folder() + "/" + row.file; }
  absl::Status Load(const CheckpointRow& row) {
    return store_->checkpoints().Load(kModel, row).status();
  }
};

TEST_F(CheckpointFileTest, EveryFlippedByteIsDataLossNamingTheNewestValid) {
  const CheckpointRow older = Put(10, "older tensors");
  const CheckpointRow oldest = Put(5, "oldest tensors");
  const std::string tensors = "some tensors of the newest checkpoint";
  const CheckpointRow newest = Put(20, tensors);
  for (size_t offset = 0; offset < tensors.size(); ++offset) {
    FlipBit(PathOf(newest), offset);
    const absl::Status damaged = Load(newest);
    EXPECT_EQ(damaged.code(), absl::StatusCode::kDataLoss) << offset;
    EXPECT_THAT(std::string(damaged.message()), HasSubstr(newest.id));
    EXPECT_THAT(std::string(damaged.message()), HasSubstr(newest.sha256));
    EXPECT_THAT(std::string(damaged.message()), HasSubstr("newest valid: " + older.id));
    FlipBit(PathOf(newest), offset);
  }
  EXPECT_TRUE(Load(newest).ok());
  FlipBit(PathOf(newest), 0);
  FlipBit(PathOf(older), 0);
  EXPECT_THAT(std::string(Load(newest).message()), HasSubstr("newest valid: " + oldest.id));
}

TEST_F(CheckpointFileTest, EveryOtherLengthIsDataLoss) {
  const std::string tensors = "twenty tensors bytes";
  const CheckpointRow row = Put(1, tensors);
  for (const std::string& other : {std::string(), tensors.substr(0, 19), tensors + "!"}) {
    WriteWholeFile(PathOf(row), other);
    const absl::Status damaged = Load(row);
    EXPECT_EQ(damaged.code(), absl::StatusCode::kDataLoss);
    EXPECT_THAT(std::string(damaged.message()),
                HasSubstr(absl::StrCat("expected 20 bytes, found ", other.size())));
    EXPECT_THAT(std::string(damaged.message()), HasSubstr("newest valid: none"));
  }
  std::filesystem::remove(PathOf(row));
  EXPECT_EQ(Load(row).code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(Load(row).message()), HasSubstr("missing"));
}

TEST_F(CheckpointFileTest, ALinkInPlaceOfTheFileIsRefused) {
  const CheckpointRow row = Put(1, "tensors");
  std::filesystem::rename(PathOf(row), folder_.path() + "/elsewhere");
  std::filesystem::create_symlink(folder_.path() + "/elsewhere", PathOf(row));
  const absl::Status refused = Load(row);
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("not a regular file"));
}

TEST_F(CheckpointFileTest, AnythingThatIsNoFileIsRefused) {
  const CheckpointRow row = Put(1, "tensors");
  std::filesystem::remove(PathOf(row));
  std::filesystem::create_directory(PathOf(row));
  EXPECT_EQ(Load(row).code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(CheckpointFileTest, ARowCannotNameAPath) {
  CheckpointRow row = Put(1, "tensors");
  row.file = "../../FORMAT";
  EXPECT_EQ(Load(row).code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(CheckpointFileTest, LoadOfADeletedCheckpointIsNotFound) {
  const CheckpointRow row = Put(1, "tensors");
  ASSERT_TRUE(store_->checkpoints().Delete(kModel, row.id).ok());
  EXPECT_EQ(Load(row).code(), absl::StatusCode::kNotFound);
}

TEST_F(CheckpointFileTest, TheFileGoesWithItsLastRow) {
  const CheckpointRow source = Put(1, "tensors");
  const auto alias = store_->checkpoints().PutAlias(kModel, source.id, 9, "");
  ASSERT_TRUE(alias.ok());
  ASSERT_TRUE(store_->checkpoints().Delete(kModel, source.id).ok());
  EXPECT_TRUE(std::filesystem::exists(PathOf(source)));
  store_.reset();
  Open();
  EXPECT_TRUE(Load(*alias).ok()) << "the sweep at open keeps a shared file";
  ASSERT_TRUE(store_->checkpoints().Delete(kModel, alias->id).ok());
  EXPECT_FALSE(std::filesystem::exists(PathOf(source)));
}

TEST_F(CheckpointFileTest, FilesWithoutARowAreSweptAtOpenAndForeignOnesStay) {
  const CheckpointRow kept = Put(1, "tensors");
  store_.reset();
  CheckpointIds ids;
  const std::string orphan = model_folder() + "/" + CheckpointFileName(ids.Next(1));
  const std::string unfinished = PathOf(kept) + ".part";
  const std::string foreign = model_folder() + "/notes.txt";
  const std::string dead_folder = options_.folder + "/checkpoints/99";
  std::filesystem::create_directory(dead_folder);
  const std::string dead = dead_folder + "/" + CheckpointFileName(ids.Next(1));
  for (const std::string& path : {orphan, unfinished, foreign, dead}) WriteWholeFile(path, "x");
  Open();
  EXPECT_TRUE(Load(kept).ok());
  EXPECT_FALSE(std::filesystem::exists(orphan));
  EXPECT_FALSE(std::filesystem::exists(unfinished));
  EXPECT_FALSE(std::filesystem::exists(dead_folder));
  EXPECT_TRUE(std::filesystem::exists(foreign));
}

TEST_F(CheckpointFileTest, RemoveAllTakesFilesAndFolder) {
  Put(1, "a");
  Put(2, "b");
  ASSERT_TRUE(store_->checkpoints().RemoveAll(kModel).ok());
  EXPECT_FALSE(std::filesystem::exists(model_folder()));
}

TEST_F(CheckpointFileTest, BadLabelsAreRefused) {
  for (const std::string& label :
       {std::string("../x"), std::string("a\nb"), std::string(300, 'x'), std::string("..")}) {
    NewCheckpoint checkpoint;
    checkpoint.label = label;
    EXPECT_EQ(store_->checkpoints().Put(kModel, checkpoint).status().code(),
              absl::StatusCode::kInvalidArgument);
  }
}

TEST_F(CheckpointFileTest, AnUnwritableFolderLeavesNothingBehind) {
  WriteWholeFile(model_folder(), "a file where the folder should be");
  NewCheckpoint checkpoint;
  checkpoint.tensors = "t";
  EXPECT_FALSE(store_->checkpoints().Put(kModel, checkpoint).ok());
  EXPECT_THAT(*store_->checkpoints().List(kModel), IsEmpty());
}

TEST_F(CheckpointFileTest, ACheckpointWhoseRowFailsIsNotThereAndItsFileIsSwept) {
  auto disk = std::make_shared<testing::FaultyFileSystem>();
  hooks_.file_system = disk;
  store_.reset();
  Open();
  disk->FailNth(testing::FaultyFileSystem::Operation::kAppend, ".log", 1,
                rocksdb::IOStatus::IOError("injected"));
  NewCheckpoint checkpoint;
  checkpoint.tensors = "t";
  EXPECT_EQ(store_->checkpoints().Put(kModel, checkpoint).status().code(),
            absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(FilesEndingWith(model_folder(), ".safetensors"), SizeIs(1));
  store_.reset();
  Open();
  EXPECT_THAT(*store_->checkpoints().List(kModel), IsEmpty());
  EXPECT_FALSE(std::filesystem::exists(model_folder()));
}

// Writes below the store, to show what a reader makes of it.
class DamagedRowTest : public StoreTest {
 protected:
  void PutRaw(ColumnFamily family, const std::string& key, const std::string& value) {
    auto engine = RocksDbEngine::Open(options_.folder, options_, hooks_);
    ASSERT_TRUE(engine.ok()) << engine.status();
    ASSERT_TRUE((*engine)->Put(family, key, value, RocksDbEngine::Durability::kSynced).ok());
  }
  static std::string Key(std::initializer_list<uint64_t> numbers) {
    std::string key;
    for (const uint64_t number : numbers) AppendBig64(&key, number);
    return key;
  }
};

TEST_F(DamagedRowTest, ANewerCheckpointRowIsRefused) {
  Open();
  store_.reset();
  CheckpointRow row;
  row.format_version = CheckpointStore::kFormatVersion + 1;
  const std::string id = "01ARYZ6S41TSV4RRFFQ69G5FAV";
  const std::string key = Key({kModel}) + id;
  PutRaw(ColumnFamily::kCheckpoints, key, EncodeCheckpointRow(key, row));
  Open();
  EXPECT_EQ(store_->checkpoints().Find(kModel, id).status().code(),
            absl::StatusCode::kFailedPrecondition);
}

TEST_F(DamagedRowTest, ADamagedRowIsDataLossEverywhereAndNeverZeros) {
  Open();
  const ModelUid uid = store_->catalog().Create("m", "spec", {})->uid;
  ASSERT_TRUE(store_->episodic().Put(uid, {{{0, 1, 0}, "a"}}).ok());
  ASSERT_TRUE(store_->held_out().Put(uid, {{"t", 1, "a"}}).ok());
  ASSERT_TRUE(store_->catalog().PutReportRow(uid, 1, "a").ok());
  ImportanceRow importance;
  importance.boundary = 1;
  importance.tensors = "fisher";
  ASSERT_TRUE(store_->importance().Put(uid, importance, 100).ok());
  store_.reset();
  PutRaw(ColumnFamily::kEpisodic,
         Key({uid}) + std::string(4, '\0') + Key({1}) + std::string(4, '\0'), "zeros");
  PutRaw(ColumnFamily::kHeldOut, Key({uid}) + std::string("t\0\x01", 3) + Key({1}), "zeros");
  PutRaw(ColumnFamily::kMeta, "r" + Key({uid, 1}), "zeros");
  PutRaw(ColumnFamily::kImportance, "t" + Key({uid, 1}) + std::string(8, '\0'), "zeros");
  Open();
  const auto code = [](const absl::Status& status) { return status.code(); };
  EXPECT_EQ(code(store_->episodic().Read(uid, {{0, 1, 0}}).status()), absl::StatusCode::kDataLoss);
  EXPECT_EQ(code(store_->held_out().ForEach(uid, [](HeldOutRow) { return true; })),
            absl::StatusCode::kDataLoss);
  EXPECT_EQ(code(store_->catalog().ReportRows(uid).status()), absl::StatusCode::kDataLoss);
  EXPECT_EQ(code(store_->importance().Read(uid, 1, 0).status()), absl::StatusCode::kDataLoss);
}

TEST_F(DamagedRowTest, ADamagedCatalogIsRefusedAtOpen) {
  Open();
  const ModelUid uid = store_->catalog().Create("m", "spec", {})->uid;
  store_.reset();
  PutRaw(ColumnFamily::kMeta, "c" + Key({uid}), "zeros");
  EXPECT_EQ(RocksDbStore::Open(options_, hooks_).status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace engram::storage
