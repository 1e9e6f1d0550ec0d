// The store as a whole: its folder, its lock, and what outlives a restart.

#include <sys/stat.h>
#include <unistd.h>

#include <atomic>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "rocksdb/db.h"
#include "rocksdb/file_system.h"
#include "storage/rocksdb_options.h"
#include "storage/sha256.h"
#include "tests/testing/storage/fake_store.h"
#include "tests/unit/storage/store_fixture.h"

namespace engram::storage {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::SizeIs;

class OpenTest : public StoreTest {
 protected:
  absl::Status TryOpen() { return RocksDbStore::Open(options_, hooks_).status(); }
};

TEST_F(OpenTest, MakesItsFolderForTheOwnerAlone) {
  options_.folder = folder_.path() + "/a/b/store/";
  Open();
  struct stat found {};
  ASSERT_EQ(::stat(options_.folder.c_str(), &found), 0);
  EXPECT_EQ(found.st_mode & 0777u, 0700u);
}

// What a server that ends soon after each start leaves: tables at level 0 that overlap, so that a
// compaction must rewrite them.
void AddTables(const std::string& db_folder, int tables) {
  std::vector<rocksdb::ColumnFamilyDescriptor> families = MakeColumnFamilies();
  for (auto& family : families) family.options.disable_auto_compactions = true;
  rocksdb::DB* db = nullptr;
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  ASSERT_TRUE(rocksdb::DB::Open(MakeDbOptions(), db_folder, families, &handles, &db).ok());
  for (int i = 0; i < tables; ++i) {
    const std::string number = std::to_string(i);
    EXPECT_TRUE(db->Put({}, "~a" + number, "").ok() && db->Put({}, "~b" + number, "").ok());
    EXPECT_TRUE(db->Flush({}).ok());
  }
  for (rocksdb::ColumnFamilyHandle* handle : handles) db->DestroyColumnFamilyHandle(handle);
  delete db;
}

// A disk on which a compaction takes longer than an opening that does not wait for it.
class SlowTables : public rocksdb::FileSystemWrapper {
 public:
  SlowTables() : FileSystemWrapper(rocksdb::FileSystem::Default()) {}
  const char* Name() const override { return "SlowTables"; }
  rocksdb::IOStatus NewWritableFile(const std::string& name, const rocksdb::FileOptions& options,
                                    std::unique_ptr<rocksdb::FSWritableFile>* result,
                                    rocksdb::IODebugContext* debug) override {
    if (absl::EndsWith(name, ".sst")) {
      absl::SleepFor(absl::Milliseconds(300));
      compacting_ = true;
    }
    return target()->NewWritableFile(name, options, result, debug);
  }
  bool compacting() const { return compacting_; }

 private:
  std::atomic<bool> compacting_{false};
};

TEST_F(OpenTest, AwaitsTheCompactionWithoutWhichNothingCouldBeWritten) {
  Open();
  store_.reset();
  const int stop = MakeColumnFamilies()[0].options.level0_stop_writes_trigger;
  AddTables(db_folder(), stop + 4);
  const auto disk = std::make_shared<SlowTables>();
  hooks_.file_system = disk;
  Open();
  EXPECT_TRUE(disk->compacting());
}

TEST_F(OpenTest, RefusesASymlinkEvenWithASlash) {
  std::filesystem::create_directory(folder_.path() + "/real");
  std::filesystem::create_directory_symlink(folder_.path() + "/real", folder_.path() + "/link");
  options_.folder = folder_.path() + "/link/";
  EXPECT_EQ(TryOpen().code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(TryOpen().message()), HasSubstr("symbolic link"));
}

TEST_F(OpenTest, RefusesAFolderThatOthersMayWrite) {
  for (const mode_t mode : {0770, 0707, 0777}) {
    std::filesystem::create_directory(options_.folder);
    ASSERT_EQ(::chmod(options_.folder.c_str(), mode), 0);
    EXPECT_EQ(TryOpen().code(), absl::StatusCode::kFailedPrecondition) << mode;
    std::filesystem::remove(options_.folder);
  }
}

TEST_F(OpenTest, RefusesAFileInPlaceOfTheFolder) {
  WriteWholeFile(options_.folder, "x");
  EXPECT_EQ(TryOpen().code(), absl::StatusCode::kFailedPrecondition);
}

TEST_F(OpenTest, ASecondOpenerIsRefusedAndNamesTheProcess) {
  Open();
  const absl::Status second = TryOpen();
  EXPECT_EQ(second.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(second.message()), HasSubstr(absl::StrCat("process ", ::getpid())));
  store_.reset();
  EXPECT_TRUE(TryOpen().ok());
}

TEST_F(OpenTest, ANewerFormatIsRefusedUntouched) {
  Open();
  store_.reset();
  WriteWholeFile(options_.folder + "/FORMAT", "engram-store 4\n");
  const absl::Status newer = TryOpen();
  EXPECT_EQ(newer.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_THAT(std::string(newer.message()), HasSubstr("format 4, newer than the supported 3"));
  WriteWholeFile(options_.folder + "/FORMAT", "garbage");
  EXPECT_EQ(TryOpen().code(), absl::StatusCode::kDataLoss);
}

TEST_F(OpenTest, TheFormatIsRaisedWhenItIsRequiredAndStaysThere) {
  const std::string file = options_.folder + "/FORMAT";
  Open();
  EXPECT_EQ(ReadWholeFile(file), "engram-store 2\n");
  ASSERT_TRUE(store_->RequireFormat(2).ok());
  EXPECT_EQ(ReadWholeFile(file), "engram-store 2\n");
  ASSERT_TRUE(store_->RequireFormat(3).ok());
  EXPECT_EQ(ReadWholeFile(file), "engram-store 3\n");
  store_.reset();
  Open();
  EXPECT_EQ(ReadWholeFile(file), "engram-store 3\n");
  std::filesystem::remove(file);
  ASSERT_TRUE(store_->RequireFormat(3).ok());
  EXPECT_FALSE(std::filesystem::exists(file)) << "known, so not written again";
}

TEST_F(OpenTest, AStoreIsNeverSilentlyBegunAnew) {
  OpenWithModel();
  ASSERT_TRUE(Append(log(), Records(kModel, {"a"})).ok());
  store_.reset();
  std::filesystem::rename(db_folder() + "/CURRENT", folder_.path() + "/CURRENT");
  EXPECT_EQ(TryOpen().code(), absl::StatusCode::kDataLoss);
  std::filesystem::rename(folder_.path() + "/CURRENT", db_folder() + "/CURRENT");
  std::filesystem::rename(db_folder(), folder_.path() + "/moved");
  EXPECT_FALSE(TryOpen().ok());
  std::filesystem::remove_all(db_folder());
  std::filesystem::rename(folder_.path() + "/moved", db_folder());
  OpenWithModel();
  EXPECT_THAT(Payloads(), ElementsAre("a"));
}

TEST_F(OpenTest, AnInterruptedCreationIsFinished) {
  Open();
  store_.reset();
  std::filesystem::remove(options_.folder + "/FORMAT");
  EXPECT_TRUE(TryOpen().ok());
}

TEST_F(OpenTest, NamesItsEngine) {
  Open();
  EXPECT_THAT(store_->EngineVersion(), HasSubstr("RocksDB 7."));
}

TEST_F(StoreTest, EverythingOutlivesARestart) {
  Open();
  const auto kept = store_->catalog().Create("kept", "spec", {});
  const auto removed = store_->catalog().Create("removed", "", {});
  ASSERT_TRUE(kept.ok() && removed.ok());
  ASSERT_TRUE(store_->catalog().PauseFor(kept->uid, "it fell").ok());
  ASSERT_TRUE(store_->catalog().PauseFor(removed->uid, "it fell").ok());
  ASSERT_TRUE(store_->catalog().Remove(removed->uid).ok());
  ASSERT_TRUE(store_->catalog().PutReportRow(kept->uid, 5, "row").ok());
  ASSERT_TRUE(store_->episodic().Put(kept->uid, {{{0, 1, 0}, "exemplar"}}).ok());
  ASSERT_TRUE(store_->held_out().Put(kept->uid, {{"t", 2, "held"}}).ok());
  ImportanceRow importance;
  importance.boundary = 5;
  importance.strategy = "ewc";
  importance.tensors = std::string(3 << 20, 'f') + "end";
  ASSERT_TRUE(store_->importance().Put(kept->uid, importance, 10 << 20).ok());
  store_.reset();
  Open();
  const auto models = store_->catalog().List();
  ASSERT_THAT(*models, SizeIs(1));
  EXPECT_EQ((*models)[0].name, "kept");
  EXPECT_EQ((*models)[0].spec, "spec");
  EXPECT_TRUE((*models)[0].paused);
  EXPECT_EQ((*models)[0].pause_reason, "it fell");
  EXPECT_EQ((*models)[0].create_time_ms, 1000000);
  EXPECT_THAT(*store_->catalog().Orphans(), ElementsAre(removed->uid));
  EXPECT_GT(store_->catalog().Create("next", "", {})->uid, removed->uid);
  EXPECT_THAT(*store_->catalog().ReportRows(kept->uid), SizeIs(1));
  EXPECT_THAT(*store_->episodic().Read(kept->uid, {{0, 1, 0}}), ElementsAre("exemplar"));
  EXPECT_EQ(store_->importance().Read(kept->uid, 5, 0)->tensors, importance.tensors);
  ASSERT_TRUE(store_->catalog().SetPaused(kept->uid, false).ok());
  ASSERT_TRUE(store_->catalog().SetPaused(kept->uid, true).ok());
  store_.reset();
  Open();
  EXPECT_EQ((*store_->catalog().List())[0].pause_reason, "") << "of a pause that has ended";
}

TEST_F(StoreTest, WeightsOutliveARestartAndGoWithTheirModel) {
  Open();
  const std::string bytes = std::string("\0weights", 8) + std::string(3 << 20, 'w');
  const auto model = store_->catalog().Create("m", "spec", {bytes, Sha256Hex(bytes)});
  ASSERT_TRUE(model.ok()) << model.status();
  ASSERT_TRUE(model->weights.has_value());
  EXPECT_EQ(model->weights->bytes, static_cast<int64_t>(bytes.size()));
  EXPECT_EQ(model->weights->sha256, Sha256Hex(bytes));
  const auto other = store_->catalog().Create("other", "spec", {});
  EXPECT_FALSE(other->weights.has_value());
  ASSERT_TRUE(store_->catalog().SetPaused(model->uid, true).ok());
  store_.reset();
  Open();
  EXPECT_EQ(*store_->catalog().LoadWeights(model->uid), bytes);
  EXPECT_EQ(*store_->catalog().LoadWeights(other->uid), "");
  const std::string folder = absl::StrCat(options_.folder, "/weights");
  ASSERT_TRUE(store_->catalog().Remove(model->uid).ok());
  EXPECT_TRUE(std::filesystem::is_empty(folder));
  EXPECT_EQ(store_->catalog().LoadWeights(model->uid).status().code(),
            absl::StatusCode::kNotFound);
}

TEST_F(StoreTest, WeightsWithoutARowAreSweptAndOthersStay) {
  Open();
  const auto model = store_->catalog().Create("m", "spec", {"weights", Sha256Hex("weights")});
  ASSERT_TRUE(model.ok());
  store_.reset();
  const std::string folder = absl::StrCat(options_.folder, "/weights/");
  const std::string mine = absl::StrCat(folder, model->uid, "/");
  std::filesystem::create_directory(folder + "77");
  const std::string orphan = "01ARYZ6S41TSV4RRFFQ69G5FAV.safetensors";
  const std::string left[] = {folder + "77/" + orphan, mine + orphan, mine + orphan + ".part"};
  for (const std::string& path : left) WriteWholeFile(path, "left by a crash");
  Open();
  EXPECT_FALSE(std::filesystem::exists(folder + "77"));
  EXPECT_FALSE(std::filesystem::exists(mine + orphan));
  EXPECT_FALSE(std::filesystem::exists(mine + orphan + ".part"));
  EXPECT_EQ(*store_->catalog().LoadWeights(model->uid), "weights");
}

TEST_F(StoreTest, EveryDamagedByteOfWeightsIsDataLoss) {
  Open();
  const auto model = store_->catalog().Create("m", "spec", {"weights", Sha256Hex("weights")});
  const std::string path =
      absl::StrCat(options_.folder, "/weights/", model->uid, "/", model->weights->file);
  const auto load = [&] { return store_->catalog().LoadWeights(model->uid).status(); };
  for (size_t i = 0; i < 7; ++i) {
    FlipBit(path, i);
    EXPECT_EQ(load().code(), absl::StatusCode::kDataLoss) << i;
    FlipBit(path, i);
  }
  WriteWholeFile(path, "weight");
  EXPECT_EQ(load().code(), absl::StatusCode::kDataLoss);
  EXPECT_THAT(std::string(load().message()), HasSubstr("expected 7 bytes"));
  std::filesystem::remove(path);
  EXPECT_THAT(std::string(load().message()), HasSubstr("missing"));
  const auto other = store_->catalog().Create("other", "spec", {"weights", Sha256Hex("others")});
  EXPECT_EQ(store_->catalog().LoadWeights(other->uid).status().code(),
            absl::StatusCode::kDataLoss);
}

TEST_F(StoreTest, ProducerRowsAreOneWriteWithTheirRecords) {
  OpenWithModel();
  const std::string early_high_water = ReadWholeFile(options_.folder + "/HIGHWATER");
  for (uint64_t sequence = 1; sequence <= 40; ++sequence) {
    Submission submission = Records(kModel, {"a", "b", "c"});
    submission.mark = ProducerMark{"p", 4, sequence, sequence};
    ASSERT_TRUE(Append(log(), submission).ok());
  }
  store_.reset();
  const std::vector<std::string> logs = FilesEndingWith(db_folder(), ".log");
  ASSERT_THAT(logs, SizeIs(1));
  // Wherever the write-ahead log is cut, records and producer agree.
  const std::string whole = ReadWholeFile(logs[0]);
  const std::string copy = folder_.path() + "/cut";
  for (size_t size = 100; size < whole.size(); size += whole.size() / 25) {
    std::filesystem::remove_all(copy);
    std::filesystem::copy(options_.folder, copy, std::filesystem::copy_options::recursive);
    std::filesystem::permissions(copy, std::filesystem::perms::owner_all);
    WriteWholeFile(FilesEndingWith(copy + "/db", ".log")[0], whole.substr(0, size));
    WriteWholeFile(copy + "/HIGHWATER", early_high_water);
    StoreOptions options = options_;
    options.folder = copy;
    auto opened = RocksDbStore::Open(options, hooks_);
    ASSERT_TRUE(opened.ok()) << opened.status();
    SampleLog& cut_log = (*opened)->log();
    ASSERT_TRUE(cut_log.Open(kModel).ok());
    const auto producers = cut_log.Producers(kModel);
    ASSERT_TRUE(producers.ok());
    const uint64_t messages = producers->empty() ? 0 : (*producers)[0].last_sequence;
    EXPECT_EQ(cut_log.DurableSequence(kModel), messages * 3) << size;
    if (messages == 0) continue;
    const auto last = cut_log.FindMessage(kModel, "p", messages);
    ASSERT_TRUE(last.ok() && last->has_value());
    EXPECT_EQ((*last)->first, messages * 3 - 2);
  }
}

TEST_F(StoreTest, ARingOf1024MessagesIsKeptPerProducer) {
  OpenWithModel();
  constexpr uint64_t kMessages = SampleLog::kProducerWindow + 76;
  for (uint64_t sequence = 1; sequence <= kMessages; ++sequence) {
    Submission submission;
    submission.model = kModel;
    submission.records.push_back({1, "x"});
    submission.mark = ProducerMark{"p", 1, sequence, sequence};
    ASSERT_TRUE(log().Submit(std::move(submission), nullptr).ok());
  }
  Reopen();
  EXPECT_FALSE(log().FindMessage(kModel, "p", 76)->has_value());
  for (const uint64_t sequence : {uint64_t{77}, uint64_t{1024}, uint64_t{1025}, kMessages}) {
    const auto message = log().FindMessage(kModel, "p", sequence);
    ASSERT_TRUE(message.ok() && message->has_value()) << sequence;
    EXPECT_EQ((*message)->first, sequence);
  }
  EXPECT_EQ((*log().Producers(kModel))[0].last_sequence, kMessages);
}

TEST(DiskWatchTest, CountsWhatIsAboutToBeWritten) {
  DiskWatch disk(
      []() -> absl::StatusOr<DiskSpace> {
        return DiskSpace{100 << 20, 1 << 30};
      },
      50 << 20);
  EXPECT_TRUE(disk.Check(1 << 30).ok()) << "never measured";
  disk.Refresh();
  EXPECT_TRUE(disk.Check(50 << 20).ok());
  EXPECT_EQ(disk.Check(51 << 20).code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(disk.Space().free_bytes, 100 << 20);
}

TEST(DiskWatchTest, AFailedMeasureRefusesNothing) {
  DiskWatch disk([]() -> absl::StatusOr<DiskSpace> { return absl::UnavailableError("no"); }, 1);
  disk.Refresh();
  EXPECT_TRUE(disk.Check(0).ok());
}

TEST(DiskWatchTest, MeasuresARealFolder) {
  const auto space = MeasureFolder(::testing::TempDir())();
  ASSERT_TRUE(space.ok());
  EXPECT_GT(space->total_bytes, 0);
  EXPECT_FALSE(MeasureFolder("/nowhere/at/all")().ok());
}

TEST(ErrnoStatusTest, AFullDiskIsResourceExhausted) {
  EXPECT_EQ(ErrnoStatus(ENOSPC, "write").code(), absl::StatusCode::kResourceExhausted);
  EXPECT_EQ(ErrnoStatus(EIO, "write").code(), absl::StatusCode::kUnavailable);
}

// What only the fake can do.
class FakeStoreTest : public ::testing::Test {
 protected:
  static constexpr ModelUid kModel = 1;
  FakeStoreTest() : store_(ByHand()) { EXPECT_TRUE(store_.log().Open(kModel).ok()); }
  static testing::FakeStoreOptions ByHand() {
    testing::FakeStoreOptions options;
    options.commit = testing::CommitMode::kByHand;
    return options;
  }
  testing::FakeStore store_;
};

TEST_F(FakeStoreTest, NothingIsDurableBeforeCommit) {
  int acknowledged = 0;
  const auto count = [&acknowledged](const absl::Status& status) { acknowledged += status.ok(); };
  ASSERT_TRUE(store_.log().Submit(Records(kModel, {"a"}), count).ok());
  EXPECT_EQ(acknowledged, 0);
  EXPECT_EQ(store_.log().DurableSequence(kModel), 0u);
  EXPECT_EQ(store_.Commit(), 1u);
  EXPECT_EQ(acknowledged, 1);
  EXPECT_EQ(store_.log().DurableSequence(kModel), 1u);
}

TEST_F(FakeStoreTest, ACrashForgetsWhatWasNotCommitted) {
  ASSERT_TRUE(store_.log().Submit(Records(kModel, {"a"}), nullptr).ok());
  store_.Commit();
  bool called = false;
  ASSERT_TRUE(store_.log()
                  .Submit(Records(kModel, {"b"}), [&called](const absl::Status&) { called = true; })
                  .ok());
  store_.Crash();
  EXPECT_EQ(store_.log().Read(kModel, 1, 1, 1).status().code(), absl::StatusCode::kNotFound);
  ASSERT_TRUE(store_.log().Open(kModel).ok());
  EXPECT_EQ(store_.log().AssignedSequence(kModel), 1u);
  store_.Commit();
  EXPECT_FALSE(called);
}

TEST_F(FakeStoreTest, InjectedFailuresAnswerAsTheRealStore) {
  store_.RefuseWrites(absl::ResourceExhaustedError("free space 1 MiB below reserve 2 MiB"));
  EXPECT_EQ(store_.log().Submit(Records(kModel, {"a"}), nullptr).status().code(),
            absl::StatusCode::kResourceExhausted);
  store_.RefuseWrites(absl::OkStatus());
  absl::Status outcome;
  ASSERT_TRUE(store_.log()
                  .Submit(Records(kModel, {"a"}),
                          [&outcome](const absl::Status& status) { outcome = status; })
                  .ok());
  store_.FailCommits("injected");
  store_.Commit();
  EXPECT_EQ(outcome.code(), absl::StatusCode::kFailedPrecondition);
  EXPECT_EQ(store_.log().Health(), outcome);
  EXPECT_EQ(store_.log().Submit(Records(kModel, {"a"}), nullptr).status(), outcome);
  NewCheckpoint checkpoint;
  checkpoint.tensors = "t";
  const auto row = store_.checkpoints().Put(kModel, checkpoint);
  ASSERT_TRUE(row.ok());
  store_.CorruptCheckpoint(kModel, row->id);
  EXPECT_EQ(store_.checkpoints().Load(kModel, *row).status().code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace engram::storage
