// Copies of a store in use, what they hold, and what is refused when one is made or restored.

#include "storage/backup/backup_root.h"

#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <set>
#include <thread>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "storage/sha256.h"
#include "storage/write_gate.h"
#include "tests/testing/storage/faulty_file_system.h"
#include "tests/unit/storage/store_fixture.h"

namespace engram::storage {
namespace {

using engram::testing::FaultyFileSystem;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

namespace fs = std::filesystem;

class BackupTest : public StoreTest {
 protected:
  void SetUp() override {
    root_path_ = folder_.path() + "/backups";
    OpenRoot();
  }
  void OpenRoot() {
    root_.reset();
    auto root = BackupRoot::Open(root_path_, options_.folder);
    ASSERT_TRUE(root.ok()) << root.status();
    root_ = *std::move(root);
  }
  void MakeModel() {
    Open();
    const auto row =
        store_->catalog().Create("digits", "spec", {"weights", Sha256Hex("weights")});
    ASSERT_TRUE(row.ok()) << row.status();
    uid_ = row->uid;
    ASSERT_TRUE(log().Open(uid_).ok());
  }
  absl::Status Add(const std::string& payload) { return Append(log(), Records(uid_, {payload})); }
  CheckpointRow PutCheckpoint(Sequence applied, const std::string& tensors) {
    NewCheckpoint checkpoint;
    checkpoint.applied = applied;
    checkpoint.tensors = tensors;
    const auto row = store_->checkpoints().Put(uid_, checkpoint);
    EXPECT_TRUE(row.ok()) << row.status();
    return row.value_or(CheckpointRow());
  }
  absl::StatusOr<BackupManifest> BackUp(const std::string& name) {
    return store_->BackUp({root_path_, name, nullptr, {"losses", "audit", "absent"}});
  }
  // A whole backup named "a", of a model with two records and a checkpoint.
  BackupManifest MakeBackup() {
    MakeModel();
    EXPECT_TRUE(Add("one").ok());
    EXPECT_TRUE(Add("two").ok());
    PutCheckpoint(2, "tensors");
    const auto made = BackUp("a");
    EXPECT_TRUE(made.ok()) << made.status();
    return made.value_or(BackupManifest());
  }
  std::string Path(const std::string& name) const { return root_path_ + "/" + name; }
  std::string Target() const { return folder_.path() + "/restored"; }
  absl::Status Restore(const std::string& name) {
    return RestoreBackup(Path(name), Target(), nullptr).status();
  }
  // Opens the restored folder in the place of the store.
  void OpenRestored() {
    store_.reset();
    options_.folder = Target();
    Open();
    ASSERT_TRUE(log().Open(uid_).ok());
  }
  std::vector<std::string> Stored() {
    const auto records = log().Read(uid_, 1, 1 << 20, 1 << 30);
    EXPECT_TRUE(records.ok()) << records.status();
    std::vector<std::string> payloads;
    for (const LogRecord& record : records.value_or(std::vector<LogRecord>())) {
      payloads.push_back(record.payload);
    }
    return payloads;
  }
  std::vector<std::string> Entries() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(root_path_)) {
      names.push_back(entry.path().filename().string());
    }
    return names;
  }

  std::string root_path_;
  std::unique_ptr<BackupRoot> root_;
  ModelUid uid_ = 0;
};

TEST_F(BackupTest, HoldsEverythingUntilThenAndNothingAfter) {
  const BackupManifest manifest = MakeBackup();
  ASSERT_THAT(manifest.models, SizeIs(1));
  EXPECT_EQ(manifest.models[0].name, "digits");
  EXPECT_EQ(manifest.models[0].durable, 2u);
  ASSERT_TRUE(Add("three").ok());
  const auto verified = VerifyBackup(Path("a"), nullptr);
  ASSERT_TRUE(verified.ok()) << verified.status();
  EXPECT_EQ(verified->Bytes(), manifest.Bytes());
  ASSERT_TRUE(Restore("a").ok());
  OpenRestored();
  EXPECT_THAT(Stored(), ElementsAre("one", "two"));
  EXPECT_EQ(*store_->catalog().LoadWeights(uid_), "weights");
  const auto rows = store_->checkpoints().List(uid_);
  ASSERT_TRUE(rows.ok());
  ASSERT_THAT(*rows, SizeIs(1));
  EXPECT_EQ(*store_->checkpoints().Load(uid_, rows->front()), "tensors");
  EXPECT_TRUE(store_->Scrub().ok());
  // It is a store like any other.
  ASSERT_TRUE(Add("another three").ok());
  EXPECT_THAT(Stored(), ElementsAre("one", "two", "another three"));
}

TEST_F(BackupTest, TakesAlongWhatLiesBeside) {
  MakeModel();
  fs::create_directories(options_.folder + "/audit");
  WriteWholeFile(options_.folder + "/losses", "locked");
  WriteWholeFile(options_.folder + "/audit/actions.jsonl", "new\n");
  WriteWholeFile(options_.folder + "/audit/actions.1.jsonl", "old\n");
  WriteWholeFile(options_.folder + "/endpoints.json", "{}");
  fs::create_symlink(options_.folder + "/FORMAT", options_.folder + "/audit/link");
  ASSERT_TRUE(BackUp("a").ok());
  ASSERT_TRUE(VerifyBackup(Path("a"), nullptr).ok());
  ASSERT_TRUE(Restore("a").ok());
  EXPECT_EQ(ReadWholeFile(Target() + "/losses"), "locked");
  EXPECT_EQ(ReadWholeFile(Target() + "/audit/actions.jsonl"), "new\n");
  EXPECT_EQ(ReadWholeFile(Target() + "/audit/actions.1.jsonl"), "old\n");
  EXPECT_FALSE(fs::exists(Target() + "/audit/link"));
  EXPECT_FALSE(fs::exists(Target() + "/endpoints.json"));
  OpenRestored();
}

// Files that are put aside, one after the other, as an audit log's are, only all the while.
TEST_F(BackupTest, WhatIsPutAsideMeanwhileIsInTheCopyOnceOrNoCopyIsMade) {
  MakeModel();
  const std::string folder = options_.folder + "/audit";
  fs::create_directories(folder);
  WriteWholeFile(folder + "/0", "0");
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    for (int newest = 0; !stop; ++newest) {
      for (int age = std::min(newest, 5); age >= 0; --age) {
        fs::rename(absl::StrCat(folder, "/", age), absl::StrCat(folder, "/", age + 1));
      }
      WriteWholeFile(folder + "/0", absl::StrCat(newest + 1));
    }
  });
  auto back_up = [this, made = 0]() mutable {
    const std::string name = absl::StrCat("a", made++);
    const absl::Status status = BackUp(name).status();
    if (!status.ok()) return status;
    std::set<std::string> contents;
    size_t files = 0;
    for (const auto& file : fs::directory_iterator(Path(name) + "/store/audit")) {
      contents.insert(ReadWholeFile(file.path().string()));
      ++files;
    }
    EXPECT_EQ(contents.size(), files) << "one of them twice";
    return status;
  };
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  absl::Status refused;
  while (refused.ok() && std::chrono::steady_clock::now() < deadline) refused = back_up();
  stop = true;
  writer.join();
  EXPECT_EQ(refused.code(), absl::StatusCode::kUnavailable) << refused;
  EXPECT_THAT(std::string(refused.message()), HasSubstr("audit: its files changed"));
  EXPECT_TRUE(back_up().ok());
}

TEST_F(BackupTest, KeepsTheFormatOfTheStore) {
  MakeModel();
  ASSERT_TRUE(BackUp("before").ok());
  ASSERT_TRUE(store_->RequireFormat(3).ok());
  ASSERT_TRUE(BackUp("after").ok());
  EXPECT_EQ(ReadWholeFile(Path("before") + "/store/FORMAT"), "engram-store 2\n");
  EXPECT_EQ(ReadWholeFile(Path("after") + "/store/FORMAT"), "engram-store 3\n");
}

TEST_F(BackupTest, TakesNoTextLogAndNoLock) {
  for (const BackedUpFile& file : MakeBackup().files) {
    EXPECT_FALSE(absl::StartsWith(file.path, "db/LO")) << file.path;
    EXPECT_FALSE(absl::StrContains(file.path, "LOCK")) << file.path;
  }
}

TEST_F(BackupTest, SharesNoFileWithTheStore) {
  for (const BackedUpFile& file : MakeBackup().files) {
    EXPECT_EQ(fs::hard_link_count(Path("a/store/") + file.path), 1u) << file.path;
  }
  EXPECT_FALSE(fs::exists(options_.folder + "/backup-staging"));
}

// What is acked before a backup is in it; every checkpoint that it lists, it has.
TEST_F(BackupTest, IsConsistentWhileOthersWriteAndDelete) {
  MakeModel();
  std::atomic<uint64_t> acked{0};
  std::atomic<bool> stop{false};
  std::thread writer([&] {
    while (!stop && Add("payload").ok()) ++acked;
  });
  std::thread keeper([&] {
    for (Sequence at = 1; !stop; ++at) {
      const CheckpointRow row = PutCheckpoint(at, absl::StrCat("tensors ", at));
      if (at % 3 != 0) EXPECT_TRUE(store_->checkpoints().Delete(uid_, row.id).ok());
      if (at % 150 == 0) EXPECT_TRUE(store_->checkpoints().RemoveAll(uid_).ok());
    }
  });
  std::vector<uint64_t> before;
  for (int i = 0; i < 4; ++i) {
    before.push_back(acked);
    const auto made = BackUp(absl::StrCat("b", i));
    EXPECT_TRUE(made.ok()) << made.status();
  }
  stop = true;
  writer.join();
  keeper.join();
  const std::string made_in = options_.folder;
  for (int i = 0; i < 4; ++i) {
    ASSERT_TRUE(Restore(absl::StrCat("b", i)).ok());
    OpenRestored();
    EXPECT_GE(Stored().size(), before[i]);
    EXPECT_TRUE(store_->Scrub().ok());
    store_.reset();
    fs::remove_all(Target());
    options_.folder = made_in;
  }
}

TEST_F(BackupTest, EveryDamagedFileIsRefusedByName) {
  const BackupManifest manifest = MakeBackup();
  ASSERT_GE(manifest.files.size(), 6u);
  for (const BackedUpFile& file : manifest.files) {
    if (file.bytes == 0) continue;
    const std::string path = Path("a/store/") + file.path;
    const std::string whole = ReadWholeFile(path);
    std::string flipped = whole;
    flipped[whole.size() / 2] = static_cast<char>(flipped[whole.size() / 2] ^ 1);
    for (const std::string& damaged : {flipped, whole + "x", whole.substr(1), std::string()}) {
      WriteWholeFile(path, damaged);
      const absl::Status verified = VerifyBackup(Path("a"), nullptr).status();
      for (const absl::Status& refused : {verified, Restore("a")}) {
        EXPECT_EQ(refused.code(), absl::StatusCode::kDataLoss) << refused;
        EXPECT_THAT(std::string(refused.message()), HasSubstr(file.path));
      }
    }
    fs::remove(path);
    EXPECT_THAT(std::string(Restore("a").message()), HasSubstr(file.path));
    fs::create_symlink("/etc/hostname", path);
    EXPECT_EQ(Restore("a").code(), absl::StatusCode::kFailedPrecondition);
    fs::remove(path);
    WriteWholeFile(path, whole);
    EXPECT_FALSE(fs::exists(Target()));
  }
  EXPECT_TRUE(Restore("a").ok());
}

TEST_F(BackupTest, EveryFlippedByteOfTheManifestIsRefused) {
  MakeBackup();
  const std::string path = Path("a/manifest");
  const std::string whole = ReadWholeFile(path);
  for (size_t at = 0; at < whole.size(); ++at) {
    FlipBit(path, at);
    EXPECT_FALSE(VerifyBackup(Path("a"), nullptr).ok()) << at;
    WriteWholeFile(path, whole.substr(0, at));
    EXPECT_FALSE(VerifyBackup(Path("a"), nullptr).ok()) << at;
    WriteWholeFile(path, whole);
  }
  EXPECT_TRUE(VerifyBackup(Path("a"), nullptr).ok());
}

TEST(BackupManifestTest, APathThatLeavesTheBackupIsRefused) {
  for (const char* path : {"../x", "/etc/passwd", "db/../../x", "db//x", "", "a/b/c/d/e", "a b"}) {
    BackupManifest manifest;
    manifest.name = "a";
    manifest.files.push_back({path, 1, Sha256Hex("x")});
    EXPECT_EQ(ParseManifest(EncodeManifest(manifest)).status().code(), absl::StatusCode::kDataLoss)
        << path;
  }
}

TEST(BackupManifestTest, ANewerFormatIsRefusedAsSuch) {
  BackupManifest manifest;
  manifest.name = "a";
  std::string text = EncodeManifest(manifest);
  text = absl::StrReplaceAll(text.substr(0, text.rfind("end ")),
                             {{"engram-backup 1", "engram-backup 2"}});
  text = absl::StrCat(text, "end ", Sha256Hex(text), "\n");
  const absl::Status refused = ParseManifest(text).status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("format 2, newer than the supported 1"));
}

TEST(BackupManifestTest, NamesAreOneVisibleFolder) {
  for (const char* name : {"a", "nightly-1", "20260101T000000Z", "_x.y"}) {
    EXPECT_TRUE(IsBackupName(name)) << name;
  }
  for (const std::string& name :
       {std::string(), std::string(".a"), std::string(".."), std::string("a/b"),
        std::string("a\0b", 3), std::string(65, 'a'), std::string("a b")}) {
    EXPECT_FALSE(IsBackupName(name)) << name;
  }
}

TEST_F(BackupTest, ATargetThatHoldsSomethingIsRefused) {
  MakeBackup();
  fs::create_directory(Target());
  WriteWholeFile(Target() + "/x", "mine");
  const absl::Status refused = Restore("a");
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("not empty"));
  EXPECT_EQ(ReadWholeFile(Target() + "/x"), "mine");
  fs::remove(Target() + "/x");
  EXPECT_TRUE(Restore("a").ok());
  EXPECT_EQ(fs::status(Target()).permissions(), fs::perms::owner_all);
  fs::remove_all(Target());
  fs::create_directory_symlink(root_path_, Target());
  EXPECT_EQ(Restore("a").code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(BackupTest, WhatAKilledRestoreLeftIsReplaced) {
  MakeBackup();
  fs::create_directories(Target() + ".restoring/db");
  WriteWholeFile(Target() + ".restoring/db/CURRENT", "half");
  ASSERT_TRUE(Restore("a").ok());
  EXPECT_FALSE(fs::exists(Target() + ".restoring"));
  OpenRestored();
  EXPECT_THAT(Stored(), ElementsAre("one", "two"));
}

TEST_F(BackupTest, WhatAKilledBackupLeftIsNoBackupAndGoes) {
  MakeBackup();
  fs::copy(Path("a"), Path(".making-b"), fs::copy_options::recursive);
  fs::remove(Path(".making-b/manifest"));
  const absl::Status refused = Restore(".making-b");
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("no whole backup"));
  EXPECT_THAT(*root_->List(), SizeIs(1));
  fs::create_directories(options_.folder + "/backup-staging/db");
  OpenRoot();
  store_.reset();
  Open();
  EXPECT_THAT(Entries(), ElementsAre("a"));
  EXPECT_FALSE(fs::exists(options_.folder + "/backup-staging"));
}

TEST_F(BackupTest, RemovedBackupsAreGoneAndTheListIsOldestFirst) {
  MakeBackup();
  now_ms_ += 10;
  ASSERT_TRUE(BackUp("0").ok());
  const auto list = root_->List();
  ASSERT_TRUE(list.ok());
  ASSERT_THAT(*list, SizeIs(2));
  EXPECT_EQ((*list)[0].name, "a");
  ASSERT_TRUE(root_->Remove("a").ok());
  EXPECT_THAT(Entries(), ElementsAre("0"));
}

TEST_F(BackupTest, DamagedStateIsNamedAndNotBackedUp) {
  MakeModel();
  const CheckpointRow row = PutCheckpoint(0, "some tensors");
  const std::string path = absl::StrCat("checkpoints/", uid_, "/", row.file);
  FlipBit(options_.folder + "/" + path, 3);
  const absl::Status refused = BackUp("a").status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(refused.message()), HasSubstr(path));
  EXPECT_THAT(Entries(), IsEmpty());
  ASSERT_TRUE(store_->checkpoints().Delete(uid_, row.id).ok());
  EXPECT_TRUE(BackUp("a").ok());
}

TEST_F(BackupTest, RoomIsAskedForFirst) {
  std::atomic<int64_t> free_bytes{int64_t{1} << 60};
  hooks_.disk_space = [&free_bytes]() -> absl::StatusOr<DiskSpace> {
    return DiskSpace{free_bytes.load(), int64_t{1} << 61};
  };
  options_.disk_reserve_bytes = int64_t{1} << 50;  // more than the disk of the backups has
  MakeModel();
  const absl::Status refused = BackUp("a").status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kResourceExhausted);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("MiB are free on its disk"));
  EXPECT_THAT(Entries(), IsEmpty());
  // A full disk of the store: not even a flush.
  free_bytes = 0;
  while (store_->Statistics().disk_free_bytes != 0) std::this_thread::yield();
  EXPECT_THAT(std::string(BackUp("a").status().message()), HasSubstr("below reserve"));
  EXPECT_THAT(Entries(), IsEmpty());
}

TEST_F(BackupTest, CanBeStoppedAndLeavesNothing) {
  MakeModel();
  ASSERT_TRUE(Add("one").ok());
  int asked = 0;
  const absl::Status stopped =
      store_->BackUp({root_path_, "a", [&asked] { return ++asked == 5; }, {}}).status();
  EXPECT_EQ(stopped.code(), absl::StatusCode::kCancelled) << stopped;
  EXPECT_THAT(Entries(), IsEmpty());
  EXPECT_FALSE(fs::exists(options_.folder + "/backup-staging"));
  EXPECT_TRUE(Add("two").ok());
}

TEST_F(BackupTest, AReadOnlyStoreIsNotBackedUp) {
  const auto files = std::make_shared<FaultyFileSystem>();
  hooks_.file_system = files;
  MakeModel();
  ASSERT_TRUE(Add("one").ok());
  files->FailNth(FaultyFileSystem::Operation::kSync, ".log", 1,
                 rocksdb::IOStatus::IOError("injected"));
  ASSERT_FALSE(Add("two").ok());
  const absl::Status refused = BackUp("a").status();
  EXPECT_EQ(refused.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(refused.message()), HasSubstr("read-only"));
}

class BackupRootTest : public ::testing::Test {
 protected:
  absl::Status Try(const std::string& path) {
    return BackupRoot::Open(path, folder_.path() + "/data").status();
  }
  ScratchFolder folder_;
};

TEST_F(BackupRootTest, RefusesPlacesThatCannotHoldBackups) {
  fs::create_directory(folder_.path() + "/data");
  for (const std::string& path :
       {std::string("backups"), std::string(""), folder_.path() + "/data",
        folder_.path() + "/data/backups", folder_.path(), folder_.path() + "/data/../data/b"}) {
    EXPECT_EQ(Try(path).code(), absl::StatusCode::kInvalidArgument) << path << Try(path);
  }
  const std::string path = folder_.path() + "/backups";
  EXPECT_TRUE(Try(path + "/").ok());
  ASSERT_EQ(::chmod(path.c_str(), 0770), 0);
  EXPECT_EQ(Try(path).code(), absl::StatusCode::kFailedPrecondition);
  ASSERT_EQ(::chmod(path.c_str(), 0700), 0);
  fs::create_directory_symlink(path, folder_.path() + "/link");
  EXPECT_EQ(Try(folder_.path() + "/link").code(), absl::StatusCode::kFailedPrecondition);
  WriteWholeFile(folder_.path() + "/file", "x");
  EXPECT_EQ(Try(folder_.path() + "/file").code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(BackupRootTest, IsOneServersAlone) {
  const std::string path = folder_.path() + "/backups";
  auto first = BackupRoot::Open(path, folder_.path() + "/data");
  ASSERT_TRUE(first.ok()) << first.status();
  EXPECT_THAT(std::string(Try(path).message()), HasSubstr("another server"));
  first->reset();
  EXPECT_TRUE(Try(path).ok());
}

TEST(WriteGateTest, ClosedWaitsForThoseInsideAndHoldsUpTheNext) {
  WriteGate gate;
  std::atomic<bool> closed{false};
  std::atomic<bool> entered{false};
  auto inside = std::make_unique<WriteGate::Passage>(&gate);
  std::promise<void> release;
  std::promise<void> is_closed;
  std::thread closer([&] {
    const WriteGate::Closed shut(&gate);
    closed = true;
    is_closed.set_value();
    release.get_future().wait();
    EXPECT_FALSE(entered);
  });
  EXPECT_FALSE(closed);
  inside.reset();
  is_closed.get_future().wait();
  std::thread writer([&] {
    const WriteGate::Passage passage(&gate);
    entered = true;
  });
  release.set_value();
  closer.join();
  writer.join();
  EXPECT_TRUE(entered);
}

}  // namespace
}  // namespace engram::storage
