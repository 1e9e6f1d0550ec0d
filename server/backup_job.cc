#include "server/backup_job.h"

#include "absl/strings/str_cat.h"
#include "absl/time/time.h"
#include "server/audit_log.h"
#include "server/call_gate.h"
#include "server/clock.h"
#include "server/errors.h"
#include "server/logging.h"
#include "server/loss_lock.h"
#include "storage/base/status_macros.h"

namespace engram::server {
namespace {

constexpr absl::string_view kBackupNameRule = "must match [A-Za-z0-9_-][A-Za-z0-9._-]{0,63}";

std::string NameAfter(absl::Time time) {
  return absl::FormatTime("%Y%m%dT%H%M%SZ", time, absl::UTCTimeZone());
}

v1::Backup Describe(const storage::BackupManifest& manifest) {
  v1::Backup backup;
  backup.set_name(manifest.name);
  backup.set_create_time_ms(manifest.create_time_ms);
  backup.set_bytes(manifest.Bytes());
  backup.set_files(static_cast<int64_t>(manifest.files.size()));
  for (const storage::BackedUpModel& each : manifest.models) {
    v1::Backup::Model* model = backup.add_models();
    model->set_name(each.name);
    model->set_durable_sequence(each.durable);
  }
  return backup;
}

// Storage says what; the details for clients are added here.
absl::Status Refusal(const absl::Status& status, const std::string& name) {
  if (absl::IsResourceExhausted(status)) {
    return OverLimit("backups.folder", status.message(), std::chrono::milliseconds(0));
  }
  if (absl::IsFailedPrecondition(status)) return WrongState("backup", name, status.message());
  if (absl::IsDataLoss(status)) {
    return WithReason(absl::StatusCode::kDataLoss, "CHECKSUM", status.message());
  }
  return status;
}

}  // namespace

absl::StatusOr<std::unique_ptr<BackupJob>> BackupJob::Make(const v1::ServerConfig& config,
                                                           const std::string& data_folder,
                                                           storage::Store* store) {
  if (!config.has_backups()) return nullptr;
  absl::StatusOr<std::unique_ptr<storage::BackupRoot>> root =
      storage::BackupRoot::Open(config.backups().folder(), data_folder);
  if (!root.ok()) {
    return absl::Status(root.status().code(),
                        absl::StrCat("backups.folder: ", root.status().message()));
  }
  std::unique_ptr<BackupJob> job(
      new BackupJob(*std::move(root), config.backups().kept(), store));
  ENGRAM_RETURN_IF_ERROR(job->CountKept());
  return job;
}

BackupJob::~BackupJob() {
  Stop();
  std::thread last;
  {
    base::MutexLock lock(&mutex_);
    last = std::move(thread_);
  }
  if (last.joinable()) last.join();
}

void BackupJob::Stop() { stopping_.store(true); }

absl::Status BackupJob::Begin(const std::string& name) {
  if (!storage::IsBackupName(name)) return BadField("name", kBackupNameRule);
  base::MutexLock lock(&mutex_);
  if (stopping_.load()) return CallGate::ShuttingDown();
  if (!making_.empty()) {
    return WrongState("backup", name, absl::StrCat("backup \"", making_,
                                                   "\" is being made; try again when it is done"));
  }
  if (root_->Has(name)) return AlreadyExists("backup", name);
  making_ = name;
  return absl::OkStatus();
}

void BackupJob::Create(std::string name, Done done) {
  if (name.empty()) name = NameAfter(SystemClock()->Now());
  const absl::Status begun = Begin(name);
  if (!begun.ok()) {
    done(begun);
    return;
  }
  base::MutexLock lock(&mutex_);
  if (thread_.joinable()) thread_.join();  // the last one's, which has nothing left to do
  thread_ = std::thread([this, name = std::move(name), done = std::move(done)] {
    Run(name, done);
  });
}

void BackupJob::Run(const std::string& name, const Done& done) {
  absl::StatusOr<v1::Backup> made = BackUp(name);
  if (!made.ok()) {
    Log(LogLevel::kError, "backup_failed", {{"backup", name}, {"reason", made.status()}});
    made = Refusal(made.status(), name);
  }
  {
    base::MutexLock lock(&mutex_);
    making_.clear();
    if (!made.ok()) ++counts_.failures;
  }
  done(made);
}

absl::StatusOr<v1::Backup> BackupJob::BackUp(const std::string& name) {
  const absl::Duration start = SteadyNow();
  storage::BackupRequest request;
  request.root = root_->path();
  request.name = name;
  request.cancelled = [this] { return stopping_.load(); };
  request.beside = {LossBook::kFile, AuditLog::kFolder};
  ENGRAM_ASSIGN_OR_RETURN(const storage::BackupManifest manifest, store_->BackUp(request));
  v1::Backup backup = Describe(manifest);
  backup.set_seconds(absl::ToDoubleSeconds(SteadyNow() - start));
  const auto removed = RemoveOldest();
  if (removed.ok()) {
    for (const std::string& old : *removed) backup.add_removed(old);
  } else {
    Log(LogLevel::kWarning, "old_backups_not_removed", {{"reason", removed.status()}});
  }
  ENGRAM_RETURN_IF_ERROR(CountKept());
  Log(LogLevel::kInfo, "backup_created",
      {{"backup", name},
       {"bytes", backup.bytes()},
       {"seconds", backup.seconds()},
       {"pause_seconds", manifest.pause_seconds}});
  base::MutexLock lock(&mutex_);
  counts_.last_seconds = backup.seconds();
  counts_.last_pause_seconds = manifest.pause_seconds;
  return backup;
}

absl::StatusOr<std::vector<std::string>> BackupJob::RemoveOldest() {
  ENGRAM_ASSIGN_OR_RETURN(const auto whole, root_->List());
  std::vector<std::string> removed;
  for (size_t i = 0; i + static_cast<size_t>(kept_) < whole.size(); ++i) {
    ENGRAM_RETURN_IF_ERROR(root_->Remove(whole[i].name));
    removed.push_back(whole[i].name);
  }
  return removed;
}

absl::Status BackupJob::CountKept() {
  ENGRAM_ASSIGN_OR_RETURN(const auto whole, root_->List());
  base::MutexLock lock(&mutex_);
  counts_.kept = static_cast<int64_t>(whole.size());
  counts_.newest_time_ms = whole.empty() ? 0 : whole.back().create_time_ms;
  counts_.newest_bytes = whole.empty() ? 0 : whole.back().Bytes();
  return absl::OkStatus();
}

BackupCounts BackupJob::Counts() const {
  base::MutexLock lock(&mutex_);
  return counts_;
}

}  // namespace engram::server
