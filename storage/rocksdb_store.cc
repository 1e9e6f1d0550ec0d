#include "storage/rocksdb_store.h"

#include <algorithm>
#include <chrono>
#include <utility>

#include "absl/strings/str_cat.h"
#include "rocksdb/version.h"
#include "storage/base/check.h"
#include "storage/base/status_macros.h"
#include "storage/rocksdb_backup.h"
#include "storage/rocksdb_inspection.h"

namespace engram::storage {
namespace {

int64_t SystemNowMs() {
  const auto since_epoch = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration_cast<std::chrono::milliseconds>(since_epoch).count();
}

absl::Status Refusal(const absl::Status& reason) {
  if (reason.ok()) return reason;
  return {reason.code(), absl::StrCat("refusing to open the store: ", reason.message())};
}

}  // namespace

absl::StatusOr<std::unique_ptr<Store>> RocksDbStore::Open(StoreOptions options,
                                                          const StoreHooks& hooks) {
  while (options.folder.size() > 1 && options.folder.back() == '/') options.folder.pop_back();
  if (options.now_ms == nullptr) options.now_ms = &SystemNowMs;
  ENGRAM_RETURN_IF_ERROR(PrepareFolder(options.folder));
  ENGRAM_ASSIGN_OR_RETURN(std::unique_ptr<FolderLock> lock, FolderLock::Take(options.folder));
  ENGRAM_ASSIGN_OR_RETURN(const int format, ReadStoreFormat(options.folder));
  if (format != 0) ENGRAM_RETURN_IF_ERROR(Refusal(InspectStore(options, hooks)));
  auto disk = std::make_unique<DiskWatch>(
      hooks.disk_space != nullptr ? hooks.disk_space : MeasureFolder(options.folder),
      options.disk_reserve_bytes);
  absl::StatusOr<std::unique_ptr<RocksDbEngine>> engine =
      RocksDbEngine::Open(options.folder, options, hooks, disk.get());
  ENGRAM_RETURN_IF_ERROR(Refusal(engine.status()));
  disk->Refresh();
  std::unique_ptr<RocksDbStore> store(
      new RocksDbStore(std::move(lock), std::move(disk), *std::move(engine), options, hooks));
  ENGRAM_RETURN_IF_ERROR(Refusal(store->catalog_.Recover()));
  ENGRAM_RETURN_IF_ERROR(store->catalog_.SweepWeights());
  ENGRAM_RETURN_IF_ERROR(store->checkpoints_.Prepare());
  ENGRAM_RETURN_IF_ERROR(SweepBackupStaging(options.folder));
  {
    base::MutexLock format_lock(&store->format_mutex_);
    store->format_ = std::max(format, kStoreFormatAtOpen);
  }
  store->scrubber_.Start(store->engine_->TableBytes() > options.verify_bytes_max);
  return std::unique_ptr<Store>(std::move(store));
}

RocksDbStore::RocksDbStore(std::unique_ptr<FolderLock> lock, std::unique_ptr<DiskWatch> disk,
                           std::unique_ptr<RocksDbEngine> engine, const StoreOptions& options,
                           const StoreHooks& hooks)
    : options_(options),
      hooks_(hooks),
      lock_(std::move(lock)),
      disk_(std::move(disk)),
      engine_(std::move(engine)),
      checkpoints_(engine_.get(), disk_.get(), options),
      episodic_(engine_.get()),
      importance_(engine_.get()),
      held_out_(engine_.get()),
      catalog_(engine_.get(), disk_.get(), options),
      log_(engine_.get(), disk_.get(), options),
      scrubber_(engine_.get(), &checkpoints_, &catalog_, options) {}

StoreStatistics RocksDbStore::Statistics() const {
  StoreStatistics statistics = log_.Statistics();
  disk_->Refresh();
  const DiskSpace space = disk_->Space();
  statistics.disk_free_bytes = space.free_bytes;
  statistics.disk_total_bytes = space.total_bytes;
  scrubber_.AddTo(&statistics);
  return statistics;
}

void RocksDbStore::ObserveCommits(std::function<void(double seconds)> observer) {
  log_.ObserveCommits(std::move(observer));
}

void RocksDbStore::ObserveHealth(std::function<void(const absl::Status& read_only)> observer) {
  engine_->ObserveHealth(std::move(observer));
}

absl::StatusOr<BackupManifest> RocksDbStore::BackUp(const BackupRequest& request) {
  base::MutexLock lock(&backup_mutex_);
  return BackUpStore(engine_.get(), disk_.get(), options_, hooks_, request);
}

absl::Status RocksDbStore::Scrub() { return scrubber_.Scrub(); }

absl::Status RocksDbStore::RequireFormat(int format) {
  ENGRAM_CHECK(format <= kStoreFormat);
  base::MutexLock lock(&format_mutex_);
  if (format <= format_) return absl::OkStatus();
  ENGRAM_RETURN_IF_ERROR(engine_->Health());
  ENGRAM_RETURN_IF_ERROR(WriteStoreFormat(options_.folder, format));
  format_ = format;
  return absl::OkStatus();
}

std::string RocksDbStore::EngineVersion() const {
  return absl::StrCat("RocksDB ", ROCKSDB_MAJOR, ".", ROCKSDB_MINOR, ".", ROCKSDB_PATCH);
}

absl::StatusOr<std::unique_ptr<Store>> OpenStore(const StoreOptions& options) {
  return RocksDbStore::Open(options, StoreHooks());
}

}  // namespace engram::storage
