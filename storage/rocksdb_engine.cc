#include "storage/rocksdb_engine.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "rocksdb/convenience.h"
#include "rocksdb/env.h"
#include "rocksdb/listener.h"
#include "storage/base/status_macros.h"

namespace engram::storage {
namespace {

constexpr size_t kRemoveBatchKeys = 4096;

}  // namespace

// RocksDB's own threads fail too, e.g. in a flush: a fatal error shows in Health at once and not
// only at the next write.
class RocksDbEngine::ErrorListener : public rocksdb::EventListener {
 public:
  explicit ErrorListener(RocksDbEngine* engine) : engine_(engine) {}

  void OnBackgroundError(rocksdb::BackgroundErrorReason /*reason*/,
                         rocksdb::Status* error) override {
    if (error->severity() >= rocksdb::Status::Severity::kFatalError) {
      engine_->Fail(engine_->Convert(*error)).IgnoreError();
    }
  }

 private:
  RocksDbEngine* const engine_;
};

absl::StatusOr<std::unique_ptr<RocksDbEngine>> RocksDbEngine::Open(const std::string& folder,
                                                                   const StoreOptions& options,
                                                                   const StoreHooks& hooks) {
  ENGRAM_ASSIGN_OR_RETURN(const bool created, HasStoreFormat(folder));
  if (!created) ENGRAM_RETURN_IF_ERROR(HighWater::Create(folder));
  std::unique_ptr<RocksDbEngine> engine(new RocksDbEngine(folder, options.sync));
  absl::StatusOr<std::unique_ptr<HighWater>> high_water = HighWater::Open(folder);
  absl::Status opened = high_water.status();
  if (opened.ok()) {
    engine->high_water_ = *std::move(high_water);
    engine->witnessed_ = engine->high_water_->value();
    opened = engine->OpenDatabase(hooks, created);
  }
  if (!opened.ok()) {
    return absl::Status(opened.code(),
                        absl::StrCat("refusing to open the store: ", opened.message()));
  }
  if (!created) ENGRAM_RETURN_IF_ERROR(WriteStoreFormat(folder));
  return engine;
}

absl::Status RocksDbEngine::OpenDatabase(const StoreHooks& hooks, bool created) {
  rocksdb::DBOptions options = MakeDbOptions();
  // A store that was complete once is never silently begun anew.
  options.create_if_missing = !created;
  options.create_missing_column_families = !created;
  if (hooks.file_system != nullptr) {
    env_ = rocksdb::NewCompositeEnv(hooks.file_system);
    options.env = env_.get();
  }
  if (created) ENGRAM_RETURN_IF_ERROR(CheckHighWater(options));
  options.listeners.push_back(std::make_shared<ErrorListener>(this));
  rocksdb::DB* db = nullptr;
  const rocksdb::Status opened =
      rocksdb::DB::Open(options, DatabaseFolder(), MakeColumnFamilies(), &handles_, &db);
  db_.reset(db);
  return Convert(opened);
}

absl::Status RocksDbEngine::CheckHighWater(const rocksdb::DBOptions& options) const {
  rocksdb::DB* opened = nullptr;
  std::vector<rocksdb::ColumnFamilyHandle*> handles;
  const rocksdb::Status status = rocksdb::DB::OpenForReadOnly(
      options, DatabaseFolder(), MakeColumnFamilies(), &handles, &opened);
  if (!status.ok()) {
    const absl::Status reason = Convert(status);
    // Files that are not there any more are loss, not a missing thing that somebody asked for.
    const bool gone = absl::IsNotFound(reason) || status.IsPathNotFound();
    return gone ? absl::DataLossError(reason.message()) : reason;
  }
  const std::unique_ptr<rocksdb::DB> db(opened);
  const uint64_t found = db->GetLatestSequenceNumber();
  for (rocksdb::ColumnFamilyHandle* handle : handles) db->DestroyColumnFamilyHandle(handle);
  if (found >= high_water_->value()) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat("the database ends at write ", found, ", write ",
                                          high_water_->value(),
                                          " was durable; nothing was modified"));
}

RocksDbEngine::~RocksDbEngine() {
  if (db_ == nullptr) return;
  if (WitnessIsBehind()) AdvanceHighWater();
  for (rocksdb::ColumnFamilyHandle* handle : handles_) db_->DestroyColumnFamilyHandle(handle);
  db_->Close().PermitUncheckedError();
}

bool RocksDbEngine::WitnessIsBehind() const {
  return sync_ && !failed_.load(std::memory_order_acquire) &&
         db_->GetLatestSequenceNumber() > witnessed_.load();
}

void RocksDbEngine::Witness() {
  const auto now = std::chrono::steady_clock::now();
  if (now - witnessed_at_ < kWitnessPeriod || !WitnessIsBehind()) return;
  witnessed_at_ = now;
  AdvanceHighWater();
}

// An empty synced write makes durable whatever was written before it, also what others wrote
// without a sync of their own.
void RocksDbEngine::AdvanceHighWater() {
  const uint64_t reached = db_->GetLatestSequenceNumber();
  rocksdb::WriteBatch nothing;
  if (!Write(&nothing, Durability::kSynced).ok()) return;
  const absl::Status advanced = high_water_->Advance(reached);
  if (!advanced.ok()) {
    Fail(advanced).IgnoreError();
    return;
  }
  witnessed_.store(reached);
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
  base::MutexLock lock(&mutex_);
  if (failure_.ok()) {
    failure_ = absl::FailedPreconditionError(
        absl::StrCat("storage is read-only: ", reason.message(), "; restart required"));
    failed_.store(true, std::memory_order_release);
  }
  return failure_;
}

absl::Status RocksDbEngine::Health() const {
  if (!failed_.load(std::memory_order_acquire)) return absl::OkStatus();
  base::MutexLock lock(&mutex_);
  return failure_;
}

absl::Status RocksDbEngine::Write(rocksdb::WriteBatch* batch, Durability durability) {
  ENGRAM_RETURN_IF_ERROR(Health());
  rocksdb::WriteOptions options;
  options.sync = sync_ && durability == Durability::kSynced;
  options.protection_bytes_per_key = 8;
  const rocksdb::Status written = db_->Write(options, batch);
  return written.ok() ? absl::OkStatus() : Fail(Convert(written));
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
