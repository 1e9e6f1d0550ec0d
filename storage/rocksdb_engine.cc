#include "storage/rocksdb_engine.h"

#include <algorithm>
#include <cstdarg>
#include <limits>
#include <thread>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/strip.h"
#include "rocksdb/convenience.h"
#include "rocksdb/env.h"
#include "rocksdb/listener.h"
#include "rocksdb/sst_file_reader.h"
#include "storage/base/failpoint.h"
#include "storage/base/status_macros.h"
#include "storage/rocksdb_text_log.h"
#include "storage/rocksdb_upgrade.h"

namespace engram::storage {
namespace {

constexpr size_t kRemoveBatchKeys = 4096;

// As long as an opening waits for the compaction that lets writes go on; a disk without room for it
// must not keep predictions away.
constexpr std::chrono::seconds kCatchUpMax{60};
constexpr std::chrono::milliseconds kCatchUpLook{2};

// RocksDB's own text log of an opening that leaves no trace.
class SilentLog : public rocksdb::Logger {
 public:
  using Logger::Logv;
  void Logv(const char* /*format*/, va_list /*arguments*/) override {}
};

}  // namespace

// RocksDB's own threads fail too, e.g. in a flush: an error that stops writes shows in Health at
// once and not only at the next write. Soft ones (a compaction without room) RocksDB mends itself,
// and a flush without room is made up for once there is some (GoOn).
class RocksDbEngine::ErrorListener : public rocksdb::EventListener {
 public:
  explicit ErrorListener(RocksDbEngine* engine) : engine_(engine) {}

  void OnBackgroundError(rocksdb::BackgroundErrorReason reason, rocksdb::Status* error) override {
    if (!Stops(*error)) return;
    if (IsFlush(reason) && error->IsNoSpace()) {
      ++engine_->flushes_owed_;
    } else {
      engine_->Fail(engine_->Convert(*error)).IgnoreError();
    }
  }
  // What this process has called read-only stays so, and a flush is made up for when we say.
  void OnErrorRecoveryBegin(rocksdb::BackgroundErrorReason /*reason*/, rocksdb::Status error,
                            bool* auto_recovery) override {
    if (Stops(error)) *auto_recovery = false;
  }

 private:
  // RocksDB calls a flush one without a log when no other log is alive; all that is written here is
  // in one.
  static bool IsFlush(rocksdb::BackgroundErrorReason reason) {
    return reason == rocksdb::BackgroundErrorReason::kFlush ||
           reason == rocksdb::BackgroundErrorReason::kFlushNoWAL;
  }
  static bool Stops(const rocksdb::Status& error) {
    return error.severity() >= rocksdb::Status::Severity::kHardError;
  }
  RocksDbEngine* const engine_;
};

absl::StatusOr<std::unique_ptr<RocksDbEngine>> RocksDbEngine::Open(const std::string& folder,
                                                                   const StoreOptions& options,
                                                                   const StoreHooks& hooks,
                                                                   DiskWatch* disk) {
  ENGRAM_ASSIGN_OR_RETURN(const int format, ReadStoreFormat(folder));
  const bool created = format != 0;
  std::unique_ptr<RocksDbEngine> engine(new RocksDbEngine(folder, options.sync));
  engine->disk_ = disk;
  ENGRAM_RETURN_IF_ERROR(engine->OpenWitness(created));
  ENGRAM_RETURN_IF_ERROR(engine->OpenDatabase(hooks, created));
  if (format == 1) ENGRAM_RETURN_IF_ERROR(UpgradeFromFormat1(engine.get()));
  ENGRAM_RETURN_IF_ERROR(ENGRAM_FAILPOINT_STATUS("open.before_format"));
  if (format < kStoreFormatAtOpen) {
    ENGRAM_RETURN_IF_ERROR(WriteStoreFormat(folder, kStoreFormatAtOpen));
  }
  engine->AwaitWrites();
  // What was recovered is in tables now, named by a new MANIFEST, before anything is served of it.
  if (options.sync) engine->AdvanceHighWater(engine->db_->GetLatestSequenceNumber());
  ENGRAM_RETURN_IF_ERROR(engine->Health());
  return engine;
}

// A store without FORMAT was never finished and holds nothing, or has lost it.
absl::Status RocksDbEngine::OpenWitness(bool created) {
  if (!created) {
    const absl::StatusOr<std::unique_ptr<HighWater>> left = HighWater::Open(folder_);
    if (left.ok() && (*left)->value() > 0) {
      return absl::DataLossError(absl::StrCat("the file FORMAT is missing, and write ",
                                              (*left)->value(), " was durable"));
    }
    ENGRAM_RETURN_IF_ERROR(HighWater::Create(folder_));
  }
  ENGRAM_ASSIGN_OR_RETURN(high_water_, HighWater::Open(folder_));
  witnessed_ = high_water_->value();
  return absl::OkStatus();
}

rocksdb::DBOptions RocksDbEngine::UseFileSystem(const StoreHooks& hooks) {
  rocksdb::DBOptions options = MakeDbOptions();
  if (hooks.file_system != nullptr) {
    env_ = rocksdb::NewCompositeEnv(hooks.file_system);
    options.env = env_.get();
  }
  return options;
}

absl::Status RocksDbEngine::OpenDatabase(const StoreHooks& hooks, bool created) {
  rocksdb::DBOptions options = UseFileSystem(hooks);
  // A store that was complete once is never silently begun anew.
  options.create_if_missing = !created;
  options.create_missing_column_families = !created;
  options.listeners.push_back(std::make_shared<ErrorListener>(this));
  options.info_log = OpenTextLog(DatabaseFolder());
  space_.reset(rocksdb::NewSstFileManager(options.env));
  options.sst_file_manager = space_;
  rocksdb::DB* db = nullptr;
  const rocksdb::Status opened =
      rocksdb::DB::Open(options, DatabaseFolder(), MakeColumnFamilies(), &handles_, &db);
  db_.reset(db);
  if (opened.ok() && disk_ != nullptr) {
    disk_->ObserveMeasures([this](const DiskSpace& space) { LimitSpace(space); });
  }
  return Convert(opened);
}

// Each life of a server leaves tables at level 0, and from so many on RocksDB lets no write pass
// until a compaction has taken them. Lives that end before it does would never write again.
void RocksDbEngine::AwaitWrites() const {
  const auto deadline = std::chrono::steady_clock::now() + kCatchUpMax;
  while (Health().ok() && std::chrono::steady_clock::now() < deadline) {
    uint64_t stopped = 0;
    db_->GetIntProperty(rocksdb::DB::Properties::kIsWriteStopped, &stopped);
    if (stopped == 0) return;
    std::this_thread::sleep_for(kCatchUpLook);
  }
}

// A compaction runs only where the disk has room for it beside the reserve. The limit itself is out
// of reach: the watermark stops writes long before.
void RocksDbEngine::LimitSpace(const DiskSpace& space) const {
  const auto reserve = static_cast<uint64_t>(disk_->reserve_bytes());
  space_->SetCompactionBufferSize(2 * reserve);
  space_->SetMaxAllowedSpaceUsage(space_->GetTotalSize() +
                                  static_cast<uint64_t>(space.free_bytes) + reserve);
}

absl::StatusOr<std::unique_ptr<RocksDbEngine>> RocksDbEngine::OpenForReading(
    const std::string& folder, const StoreHooks& hooks, Reading reading) {
  std::unique_ptr<RocksDbEngine> engine(new RocksDbEngine(folder, true));
  engine->Fail(absl::FailedPreconditionError("opened for reading")).IgnoreError();
  rocksdb::DBOptions options = engine->UseFileSystem(hooks);
  options.info_log = std::make_shared<SilentLog>();
  options.paranoid_checks = reading == Reading::kStrict;
  rocksdb::DB* db = nullptr;
  const rocksdb::Status opened = rocksdb::DB::OpenForReadOnly(
      options, engine->DatabaseFolder(), MakeColumnFamilies(), &engine->handles_, &db);
  engine->db_.reset(db);
  if (opened.ok()) return engine;
  const absl::Status reason = engine->Convert(opened);
  // Files that are not there any more are loss, not a missing thing that somebody asked for.
  const bool gone = absl::IsNotFound(reason) || opened.IsPathNotFound();
  return gone ? absl::DataLossError(reason.message()) : reason;
}

OpenedEvidence RocksDbEngine::Evidence() const {
  OpenedEvidence evidence;
  evidence.db_folder = DatabaseFolder();
  evidence.last_write = db_->GetLatestSequenceNumber();
  db_->GetIntProperty(rocksdb::DB::Properties::kMinLogNumberToKeep, &evidence.oldest_wal);
  return evidence;
}

RocksDbEngine::~RocksDbEngine() {
  if (db_ == nullptr) return;
  const uint64_t reached = db_->GetLatestSequenceNumber();
  const bool synced = sync_ && SyncWrites().ok();
  for (rocksdb::ColumnFamilyHandle* handle : handles_) db_->DestroyColumnFamilyHandle(handle);
  db_->Close().PermitUncheckedError();
  // Last: RocksDB's own threads have written their part of the MANIFEST.
  if (synced) AdvanceHighWater(reached);
}

bool RocksDbEngine::WitnessIsBehind() const {
  return sync_ && !failed_.load(std::memory_order_acquire) &&
         db_->GetLatestSequenceNumber() > witnessed_.load();
}

void RocksDbEngine::Witness() {
  const auto now = std::chrono::steady_clock::now();
  if (now - witnessed_at_ < kWitnessPeriod || !WitnessIsBehind()) return;
  witnessed_at_ = now;
  const uint64_t reached = db_->GetLatestSequenceNumber();
  if (SyncWrites().ok()) AdvanceHighWater(reached);
}

// An empty synced write makes durable whatever was written before it, also what others wrote
// without a sync of their own.
absl::Status RocksDbEngine::SyncWrites() {
  rocksdb::WriteBatch nothing;
  return Write(&nothing, Durability::kSynced);
}

void RocksDbEngine::AdvanceHighWater(uint64_t reached) {
  ENGRAM_FAILPOINT("witness.before_write");
  absl::StatusOr<ManifestMark> manifest = MarkManifest(DatabaseFolder(), high_water_->manifest());
  const absl::Status advanced =
      manifest.ok() ? high_water_->Advance(reached, *manifest) : manifest.status();
  if (!advanced.ok()) {
    Fail(advanced).IgnoreError();
    return;
  }
  witnessed_.store(reached);
  ENGRAM_FAILPOINT("witness.after_write");
}

absl::Status RocksDbEngine::Convert(const rocksdb::Status& status) const {
  if (status.ok()) return absl::OkStatus();
  const std::string message = absl::StrReplaceAll(status.ToString(), {{folder_ + "/", ""}});
  if (status.IsCorruption()) return absl::DataLossError(message);
  if (status.IsNotFound()) return absl::NotFoundError(message);
  if (status.IsNoSpace()) return absl::ResourceExhaustedError(message);
  if (status.IsInvalidArgument()) {
    // RocksDB's word for files that do not fit together, e.g. a missing column family.
    return absl::DataLossError(message);
  }
  return absl::UnavailableError(message);
}

absl::Status RocksDbEngine::Fail(const absl::Status& reason) {
  std::function<void(const absl::Status&)> observer;
  absl::Status failure;
  {
    base::MutexLock lock(&mutex_);
    if (!failure_.ok()) return failure_;
    failure_ = absl::FailedPreconditionError(
        absl::StrCat("storage is read-only: ", reason.message(), "; restart required"));
    failed_.store(true, std::memory_order_release);
    failure = failure_;
    observer = observer_;
  }
  if (observer != nullptr) observer(failure);
  return failure;
}

void RocksDbEngine::ObserveHealth(std::function<void(const absl::Status&)> observer) {
  absl::Status failure;
  {
    base::MutexLock lock(&mutex_);
    observer_ = observer;
    failure = failure_;
  }
  if (!failure.ok()) observer(failure);
}

absl::Status RocksDbEngine::Health() const {
  if (!failed_.load(std::memory_order_acquire)) return absl::OkStatus();
  base::MutexLock lock(&mutex_);
  return failure_;
}

absl::Status RocksDbEngine::AskForRoom(const rocksdb::WriteBatch& batch) const {
  if (disk_ == nullptr) return absl::OkStatus();
  disk_->Refresh();
  return batch.HasPut() ? disk_->CheckOwnWrite() : disk_->CheckRelease();
}

absl::Status RocksDbEngine::GoOn() {
  if (flushes_owed_ == flushes_made_up_) return absl::OkStatus();
  base::MutexLock lock(&going_on_);
  const uint64_t owed = flushes_owed_;
  if (owed == flushes_made_up_) return absl::OkStatus();
  if (disk_ != nullptr) {
    disk_->Refresh();
    ENGRAM_RETURN_IF_ERROR(disk_->Check(0));
  }
  const rocksdb::Status resumed = db_->Resume();
  if (!resumed.ok()) return resumed.IsNoSpace() ? Convert(resumed) : Fail(Convert(resumed));
  flushes_made_up_ = owed;
  return absl::OkStatus();
}

absl::Status RocksDbEngine::Write(rocksdb::WriteBatch* batch, Durability durability, Room room) {
  const uint64_t owed = flushes_owed_;
  ENGRAM_RETURN_IF_ERROR(Health());
  ENGRAM_RETURN_IF_ERROR(GoOn());
  if (room == Room::kAsk) ENGRAM_RETURN_IF_ERROR(AskForRoom(*batch));
  rocksdb::WriteOptions options;
  options.sync = sync_ && durability == Durability::kSynced && !ENGRAM_BUG("bug.sync_skipped");
  options.protection_bytes_per_key = 8;
  const WriteGate::Passage passage(&gate_);
  const rocksdb::Status written = db_->Write(options, batch);
  if (written.ok()) return absl::OkStatus();
  // After a flush without room RocksDB stands still and takes nothing. Its log has met no error
  // then: that would show in Health.
  if (written.IsNoSpace() && flushes_owed_ != owed && Health().ok()) return Convert(written);
  return Fail(Convert(written));
}

absl::Status RocksDbEngine::Put(ColumnFamily family, absl::string_view key, absl::string_view value,
                                Durability durability) {
  rocksdb::WriteBatch batch;
  batch.Put(handle_of(family), ToSlice(key), ToSlice(value));
  return Write(&batch, durability);
}

absl::Status RocksDbEngine::Delete(ColumnFamily family, absl::string_view key,
                                   Durability durability) {
  rocksdb::WriteBatch batch;
  batch.Delete(handle_of(family), ToSlice(key));
  return Write(&batch, durability);
}

absl::StatusOr<absl::optional<std::string>> RocksDbEngine::Get(ColumnFamily family,
                                                               absl::string_view key) const {
  std::string value;
  const rocksdb::Status read =
      db_->Get(rocksdb::ReadOptions(), handle_of(family), ToSlice(key), &value);
  if (read.IsNotFound()) return absl::optional<std::string>();
  if (!read.ok()) return Convert(read);
  return absl::optional<std::string>(std::move(value));
}

std::vector<absl::StatusOr<std::string>> RocksDbEngine::MultiGet(
    ColumnFamily family, const std::vector<std::string>& keys) const {
  const std::vector<rocksdb::Slice> slices(keys.begin(), keys.end());
  std::vector<rocksdb::PinnableSlice> values(keys.size());
  std::vector<rocksdb::Status> statuses(keys.size());
  db_->MultiGet(rocksdb::ReadOptions(), handle_of(family), keys.size(), slices.data(),
                values.data(), statuses.data());
  std::vector<absl::StatusOr<std::string>> results;
  results.reserve(keys.size());
  for (size_t i = 0; i < keys.size(); ++i) {
    if (statuses[i].ok()) {
      results.emplace_back(values[i].ToString());
    } else {
      results.emplace_back(Convert(statuses[i]));
    }
  }
  return results;
}

absl::Status RocksDbEngine::Scan(ColumnFamily family, absl::string_view begin,
                                 absl::string_view end, Visit visit) const {
  const rocksdb::Slice upper = ToSlice(end);
  rocksdb::ReadOptions options;
  options.iterate_upper_bound = &upper;
  const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(options, handle_of(family)));
  for (it->Seek(ToSlice(begin)); it->Valid(); it->Next()) {
    if (!visit(ToView(it->key()), ToView(it->value()))) break;
  }
  return Convert(it->status());
}

absl::StatusOr<absl::optional<std::string>> RocksDbEngine::LastKey(ColumnFamily family,
                                                                   absl::string_view begin,
                                                                   absl::string_view end) const {
  const rocksdb::Slice lower = ToSlice(begin);
  const rocksdb::Slice upper = ToSlice(end);
  rocksdb::ReadOptions options;
  options.iterate_lower_bound = &lower;
  options.iterate_upper_bound = &upper;
  const std::unique_ptr<rocksdb::Iterator> it(db_->NewIterator(options, handle_of(family)));
  it->SeekToLast();
  if (!it->Valid()) {
    if (!it->status().ok()) return Convert(it->status());
    return absl::optional<std::string>();
  }
  return absl::optional<std::string>(it->key().ToString());
}

// RocksDB syncs its log here, and meets none of the races that later versions fixed: nobody writes.
absl::Status RocksDbEngine::TakeMoment(absl::FunctionRef<absl::Status()> then, Moment* moment) {
  rocksdb::LiveFilesStorageInfoOptions options;
  options.wal_size_for_flush = std::numeric_limits<uint64_t>::max();  // never
  const WriteGate::Closed closed(&gate_);
  const auto began = std::chrono::steady_clock::now();
  moment->last_write = db_->GetLatestSequenceNumber();
  ENGRAM_RETURN_IF_ERROR(Convert(db_->GetLiveFilesStorageInfo(options, &moment->files)));
  ENGRAM_RETURN_IF_ERROR(then());
  moment->pause = std::chrono::steady_clock::now() - began;
  return absl::OkStatus();
}

// Flushed first, so that little is left in the log.
absl::Status RocksDbEngine::Snapshot(absl::FunctionRef<absl::Status()> then,
                                     absl::FunctionRef<absl::Status(const Moment&)> look) {
  ENGRAM_RETURN_IF_ERROR(Health());
  ENGRAM_RETURN_IF_ERROR(Convert(db_->Flush(rocksdb::FlushOptions(), handles_)));
  ENGRAM_RETURN_IF_ERROR(Convert(db_->DisableFileDeletions()));
  Moment moment;
  absl::Status done = TakeMoment(then, &moment);
  if (done.ok()) done = look(moment);
  const absl::Status enabled = Convert(db_->EnableFileDeletions(/*force=*/false));
  return done.ok() ? enabled : done;
}

int64_t RocksDbEngine::TableBytes() const {
  std::vector<rocksdb::LiveFileMetaData> files;
  db_->GetLiveFilesMetaData(&files);
  int64_t bytes = 0;
  for (const rocksdb::LiveFileMetaData& file : files) bytes += static_cast<int64_t>(file.size);
  return bytes;
}

absl::Status RocksDbEngine::VerifyTable(const std::string& path) const {
  rocksdb::Options options;
  if (env_ != nullptr) options.env = env_.get();
  rocksdb::SstFileReader reader(options);
  rocksdb::Status read = reader.Open(path);
  if (read.ok()) read = reader.VerifyChecksum();
  return Convert(read);
}

// File by file, so that the tour can pause, and a file that a compaction takes away is passed over.
absl::Status RocksDbEngine::VerifyTables(Pace pace) const {
  std::vector<rocksdb::LiveFileMetaData> files;
  db_->GetLiveFilesMetaData(&files);
  for (const rocksdb::LiveFileMetaData& file : files) {
    const absl::Status whole = VerifyTable(absl::StrCat(DatabaseFolder(), file.name));
    if (absl::IsUnavailable(whole)) return whole;
    if (!whole.ok()) {
      std::vector<rocksdb::LiveFileMetaData> now;
      db_->GetLiveFilesMetaData(&now);
      const bool lives = std::any_of(
          now.begin(), now.end(), [&file](const auto& other) { return other.name == file.name; });
      if (!lives) continue;
      return absl::DataLossError(absl::StrCat("table file ", absl::StripPrefix(file.name, "/"),
                                              ": ", whole.message()));
    }
    if (!pace(static_cast<int64_t>(file.size))) break;
  }
  return absl::OkStatus();
}

absl::StatusOr<int64_t> RocksDbEngine::RemoveRange(ColumnFamily family, absl::string_view begin,
                                                   absl::string_view end,
                                                   absl::string_view keys_from,
                                                   Durability durability) {
  ENGRAM_RETURN_IF_ERROR(Health());
  const rocksdb::Slice first = ToSlice(begin);
  const rocksdb::Slice last = ToSlice(end);
  ENGRAM_RETURN_IF_ERROR(
      Convert(rocksdb::DeleteFilesInRange(db_.get(), handle_of(family), &first, &last, false)));
  int64_t removed = 0;
  rocksdb::WriteBatch batch;
  absl::Status written;
  absl::Status scanned =
      Scan(family, keys_from, end, [&](absl::string_view key, absl::string_view /*value*/) {
        batch.Delete(handle_of(family), ToSlice(key));
        ++removed;
        if (batch.Count() < kRemoveBatchKeys) return true;
        written = Write(&batch, Durability::kWithTheNext);
        batch.Clear();
        return written.ok();
      });
  ENGRAM_RETURN_IF_ERROR(written);
  ENGRAM_RETURN_IF_ERROR(scanned);
  ENGRAM_RETURN_IF_ERROR(Write(&batch, durability));
  return removed;
}

}  // namespace engram::storage
