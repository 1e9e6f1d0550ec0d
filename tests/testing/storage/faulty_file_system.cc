#include "tests/testing/storage/faulty_file_system.h"

#include <unistd.h>

#include <algorithm>
#include <utility>

#include "absl/strings/match.h"
#include "storage/base/check.h"

namespace engram::testing {

using rocksdb::IODebugContext;
using rocksdb::IOOptions;
using rocksdb::IOStatus;

namespace {

constexpr char kWalSuffix[] = ".log";

}  // namespace

class FaultyFileSystem::File : public rocksdb::FSWritableFileOwnerWrapper {
 public:
  File(FaultyFileSystem* owner, std::string name, std::unique_ptr<rocksdb::FSWritableFile>&& below)
      : FSWritableFileOwnerWrapper(std::move(below)), owner_(owner), name_(std::move(name)) {}

  using FSWritableFileOwnerWrapper::Append;
  IOStatus Append(const rocksdb::Slice& bytes, const IOOptions& options,
                  IODebugContext* debug) override {
    IOStatus status = owner_->Enter(Operation::kAppend, name_);
    if (status.ok()) status = target()->Append(bytes, options, debug);
    if (status.ok()) owner_->Appended(name_, bytes.size());
    return status;
  }
  IOStatus Append(const rocksdb::Slice& bytes, const IOOptions& options,
                  const rocksdb::DataVerificationInfo& /*verification*/,
                  IODebugContext* debug) override {
    return Append(bytes, options, debug);
  }
  IOStatus Sync(const IOOptions& options, IODebugContext* debug) override {
    IOStatus status = owner_->Enter(Operation::kSync, name_);
    if (status.ok()) status = target()->Sync(options, debug);
    if (status.ok()) owner_->Synced(name_);
    return status;
  }
  IOStatus Fsync(const IOOptions& options, IODebugContext* debug) override {
    return Sync(options, debug);
  }

 private:
  FaultyFileSystem* const owner_;
  const std::string name_;
};

FaultyFileSystem::FaultyFileSystem() : FileSystemWrapper(rocksdb::FileSystem::Default()) {}

void FaultyFileSystem::FailNth(Operation operation, std::string suffix, int n, IOStatus status) {
  base::MutexLock lock(&mutex_);
  fault_operation_ = operation;
  fault_suffix_ = std::move(suffix);
  fault_countdown_ = n;
  fault_status_ = std::move(status);
}

int64_t FaultyFileSystem::Count(Operation operation, const std::string& suffix) const {
  base::MutexLock lock(&mutex_);
  return std::count_if(seen_.begin(), seen_.end(), [&](const Seen& seen) {
    return seen.operation == operation && absl::EndsWith(seen.name, suffix);
  });
}

void FaultyFileSystem::BlockSyncs() {
  base::MutexLock lock(&mutex_);
  block_syncs_ = true;
}

void FaultyFileSystem::AwaitBlockedSync() {
  base::MutexLock lock(&mutex_);
  while (blocked_syncs_ == 0) changed_.Wait(&mutex_);
}

void FaultyFileSystem::ReleaseSyncs() {
  base::MutexLock lock(&mutex_);
  block_syncs_ = false;
  changed_.NotifyAll();
}

void FaultyFileSystem::CutPower() {
  base::MutexLock lock(&mutex_);
  power_cut_ = true;
}

void FaultyFileSystem::DropUnsynced(uint64_t torn_bytes) {
  base::MutexLock lock(&mutex_);
  ENGRAM_CHECK(power_cut_);
  for (const auto& [name, extent] : extents_) {
    if (!absl::EndsWith(name, kWalSuffix)) continue;
    const uint64_t left = std::min(extent.written, extent.synced + torn_bytes);
    ENGRAM_CHECK(::truncate(name.c_str(), static_cast<off_t>(left)) == 0);
  }
  extents_.clear();
  power_cut_ = false;
}

IOStatus FaultyFileSystem::NewWritableFile(const std::string& name,
                                           const rocksdb::FileOptions& options,
                                           std::unique_ptr<rocksdb::FSWritableFile>* result,
                                           IODebugContext* debug) {
  std::unique_ptr<rocksdb::FSWritableFile> below;
  IOStatus status = target()->NewWritableFile(name, options, &below, debug);
  if (!status.ok()) return status;
  result->reset(new File(this, name, std::move(below)));
  base::MutexLock lock(&mutex_);
  extents_[name] = Extent();
  return status;
}

IOStatus FaultyFileSystem::DeleteFile(const std::string& name, const IOOptions& options,
                                      IODebugContext* debug) {
  {
    base::MutexLock lock(&mutex_);
    extents_.erase(name);
  }
  return target()->DeleteFile(name, options, debug);
}

IOStatus FaultyFileSystem::Enter(Operation operation, const std::string& name) {
  base::MutexLock lock(&mutex_);
  seen_.push_back({operation, name});
  if (operation == Operation::kSync && absl::EndsWith(name, kWalSuffix) && block_syncs_) {
    ++blocked_syncs_;
    changed_.NotifyAll();
    while (block_syncs_) changed_.Wait(&mutex_);
    --blocked_syncs_;
  }
  const bool meant =
      fault_countdown_ > 0 && operation == fault_operation_ && absl::EndsWith(name, fault_suffix_);
  if (meant && --fault_countdown_ == 0) return fault_status_;
  return IOStatus::OK();
}

void FaultyFileSystem::Appended(const std::string& name, uint64_t bytes) {
  base::MutexLock lock(&mutex_);
  extents_[name].written += bytes;
}

void FaultyFileSystem::Synced(const std::string& name) {
  base::MutexLock lock(&mutex_);
  Extent& extent = extents_[name];
  if (!power_cut_) extent.synced = extent.written;
}

}  // namespace engram::testing
