#include "storage/rocksdb_scrubber.h"

#include <algorithm>

#include "storage/base/status_macros.h"
#include "storage/base/thread_priority.h"

namespace engram::storage {
namespace {

constexpr int64_t kFullSpeed = 0;
constexpr int64_t kMillisecondsPerSecond = 1000;

}  // namespace

RocksDbScrubber::RocksDbScrubber(RocksDbEngine* engine, RocksDbCheckpointStore* checkpoints,
                                 RocksDbModelCatalog* catalog, const StoreOptions& options)
    : engine_(engine), checkpoints_(checkpoints), catalog_(catalog), options_(options) {}

RocksDbScrubber::~RocksDbScrubber() {
  {
    base::MutexLock lock(&mutex_);
    stopping_ = true;
    wake_.NotifyAll();
  }
  if (thread_.joinable()) thread_.join();
}

void RocksDbScrubber::Start(bool at_once) {
  if (options_.scrub_period.count() <= 0 && !at_once) return;
  thread_ = std::thread([this, at_once] {
    (void)base::LowerThreadPriority(base::ThreadPriority::kTrain);
    Loop(at_once);
  });
}

// What a pass finds is in Health and in the counts.
void RocksDbScrubber::Loop(bool at_once) {
  const std::chrono::milliseconds period = options_.scrub_period;
  if (at_once) {
    base::MutexLock pass(&pass_mutex_);
    Pass(options_.scrub_bytes_per_second).IgnoreError();
  }
  while (period.count() > 0 && SleepFor(period)) {
    base::MutexLock pass(&pass_mutex_);
    Pass(options_.scrub_bytes_per_second).IgnoreError();
  }
}

absl::Status RocksDbScrubber::Scrub() {
  base::MutexLock pass(&pass_mutex_);
  return Pass(kFullSpeed);
}

absl::Status RocksDbScrubber::Pass(int64_t bytes_per_second) {
  absl::Status tables = Note(engine_->VerifyTables([this, bytes_per_second](int64_t bytes) {
    return Pace(bytes, bytes_per_second);
  }));
  if (absl::IsDataLoss(tables)) engine_->Condemn(tables);
  const absl::Status tensors = VerifyTensors(bytes_per_second);
  base::MutexLock lock(&mutex_);
  if (!stopping_) ++passes_;
  tables.Update(tensors);
  return tables;
}

absl::Status RocksDbScrubber::VerifyTensors(int64_t bytes_per_second) {
  absl::Status first;
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<ModelRow> models, catalog_->List());
  for (const ModelRow& model : models) {
    if (model.weights.has_value()) {
      first.Update(Note(catalog_->VerifyWeights(model)));
      if (!Pace(model.weights->bytes, bytes_per_second)) return first;
    }
    ENGRAM_ASSIGN_OR_RETURN(const std::vector<CheckpointRow> rows, checkpoints_->List(model.uid));
    for (const CheckpointRow& row : rows) {
      first.Update(Note(checkpoints_->Verify(model.uid, row)));
      if (!Pace(row.bytes, bytes_per_second)) return first;
    }
  }
  return first;
}

absl::Status RocksDbScrubber::Note(const absl::Status& found) {
  if (absl::IsDataLoss(found)) {
    base::MutexLock lock(&mutex_);
    ++damaged_;
  }
  return found;
}

bool RocksDbScrubber::Pace(int64_t bytes, int64_t bytes_per_second) {
  {
    base::MutexLock lock(&mutex_);
    bytes_ += static_cast<uint64_t>(bytes);
    if (stopping_) return false;
  }
  if (bytes_per_second <= 0) return true;
  return SleepFor(std::chrono::milliseconds(bytes * kMillisecondsPerSecond / bytes_per_second));
}

bool RocksDbScrubber::SleepFor(std::chrono::milliseconds time) {
  const auto end = std::chrono::steady_clock::now() + time;
  base::MutexLock lock(&mutex_);
  while (!stopping_) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        end - std::chrono::steady_clock::now());
    if (left.count() <= 0) return true;
    wake_.WaitFor(&mutex_, left);
  }
  return false;
}

void RocksDbScrubber::AddTo(StoreStatistics* statistics) const {
  base::MutexLock lock(&mutex_);
  statistics->scrubs = passes_;
  statistics->scrubbed_bytes = bytes_;
  statistics->damaged_files = damaged_;
}

}  // namespace engram::storage
