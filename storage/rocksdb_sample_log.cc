#include "storage/rocksdb_sample_log.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "storage/base/check.h"
#include "storage/base/failpoint.h"
#include "storage/base/status_macros.h"
#include "storage/base/thread_priority.h"
#include "storage/crc32c.h"
#include "storage/log_record.h"

namespace engram::storage {
namespace {

// What a queued record or submission costs beside its payload, for the queue's limit.
constexpr int64_t kQueuedOverheadBytes = 64;

absl::Status CheckProducer(const std::string& producer) {
  if (!producer.empty() && producer.size() <= kSenderBytesMax) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat("producer: expected 1 to ", kSenderBytesMax,
                                                 " bytes, got ", producer.size()));
}

absl::Status CheckForm(const Submission& submission) {
  if (submission.records.empty() && !submission.mark.has_value()) {
    return absl::InvalidArgumentError("a submission needs records or a producer mark");
  }
  for (const NewRecord& record : submission.records) {
    if (record.kind == 0 || record.kind > kRecordKindMax) {
      return absl::InvalidArgumentError(absl::StrCat("record kind: expected 1 to ", kRecordKindMax,
                                                     ", got ", record.kind));
    }
    if (!record.producer.empty()) ENGRAM_RETURN_IF_ERROR(CheckProducer(record.producer));
  }
  return submission.mark.has_value() ? CheckProducer(submission.mark->producer) : absl::OkStatus();
}

int64_t QueuedBytes(const Submission& submission) {
  int64_t bytes = kQueuedOverheadBytes;
  for (const NewRecord& record : submission.records) {
    bytes += static_cast<int64_t>(record.payload.size()) + kQueuedOverheadBytes;
  }
  return bytes;
}

NameDigests Digest(const NewRecord& record) {
  NameDigests names;
  if (!record.id.empty()) names.id = DigestOfName(record.id);
  if (!record.subject.empty()) names.subject = DigestOfName(record.subject);
  return names;
}

absl::Status Trimmed(ModelUid model, Sequence from, const LogPosition& mark) {
  return absl::OutOfRangeError(absl::StrCat("sequence ", from, " of model ", model,
                                            " is trimmed; the log begins at ", mark.sequence + 1));
}

// Gathers what one Read returns, and notices where the log is not what was stored.
class RecordCollector {
 public:
  RecordCollector(ModelUid model, Sequence from, size_t max_records, size_t max_bytes)
      : model_(model), next_(from), max_records_(max_records), max_bytes_(max_bytes) {}

  bool full() const {
    return records_.size() >= max_records_ || (!records_.empty() && bytes_ >= max_bytes_);
  }

  // False when the scan is to stop.
  bool Take(absl::string_view key, absl::string_view value) {
    if (SequenceOf(key) != next_) return false;
    const absl::optional<RecordView> record = ParseRecord(key, value);
    if (!record.has_value()) {
      damaged_ = true;
      return false;
    }
    records_.push_back(
        {next_, record->kind, std::string(record->payload), std::string(record->sender)});
    bytes_ += record->payload.size();
    ++next_;
    return !full();
  }

  absl::Status Judge(const absl::Status& scanned, Sequence durable) const {
    const std::string name = absl::StrCat("record ", next_, " of model ", model_);
    if (!scanned.ok()) return {scanned.code(), absl::StrCat(name, ": ", scanned.message())};
    if (damaged_) return absl::DataLossError(absl::StrCat(name, " fails its checksum"));
    if (full() || next_ > durable) return absl::OkStatus();
    return absl::DataLossError(absl::StrCat(name, " is missing; durable is ", durable));
  }

  std::vector<LogRecord> TakeRecords() { return std::move(records_); }

 private:
  const ModelUid model_;
  Sequence next_;
  const size_t max_records_;
  const size_t max_bytes_;
  size_t bytes_ = 0;
  bool damaged_ = false;
  std::vector<LogRecord> records_;
};

}  // namespace

RocksDbSampleLog::RocksDbSampleLog(RocksDbEngine* engine, DiskWatch* disk,
                                   const StoreOptions& options)
    : engine_(engine), disk_(disk), options_(options), batch_(engine) {
  ENGRAM_CHECK(options_.now_ms != nullptr);
  committer_ = std::thread([this] {
    // Where the kernel refuses, the committer competes with predictions; nothing else changes.
    (void)base::LowerThreadPriority(base::ThreadPriority::kCommit);
    CommitLoop();
  });
}

RocksDbSampleLog::~RocksDbSampleLog() {
  {
    base::MutexLock lock(&mutex_);
    stopping_ = true;
    work_.NotifyAll();
  }
  committer_.join();
}

const RocksDbSampleLog::ModelLog* RocksDbSampleLog::FindOpen(ModelUid model) const {
  const auto found = models_.find(model);
  return found == models_.end() || found->second.closing ? nullptr : &found->second;
}

absl::Status RocksDbSampleLog::NotOpen(ModelUid model) {
  return absl::NotFoundError(absl::StrCat("log of model ", model, " is not open"));
}

absl::Status RocksDbSampleLog::CheckOpen(ModelUid model) const {
  base::MutexLock lock(&mutex_);
  return FindOpen(model) == nullptr ? NotOpen(model) : absl::OkStatus();
}

absl::Status RocksDbSampleLog::CheckSubmit(const Submission& submission, int64_t bytes) const {
  if (stopping_) return absl::UnavailableError("the log is closing");
  if (FindOpen(submission.model) == nullptr) return NotOpen(submission.model);
  if (statistics_.queued_bytes + bytes > options_.queue_bytes_max) {
    return absl::ResourceExhaustedError(
        absl::StrCat("log queue of ", options_.queue_bytes_max >> 20,
                     " MiB is full: ", statistics_.queued_bytes, " bytes wait, ", bytes, " came"));
  }
  return absl::OkStatus();
}

absl::StatusOr<Sequence> RocksDbSampleLog::Submit(Submission submission, OnDurable on_durable) {
  ENGRAM_RETURN_IF_ERROR(CheckForm(submission));
  ENGRAM_RETURN_IF_ERROR(engine_->Health());
  disk_->Refresh();  // the committer may have slept since it last measured
  ENGRAM_RETURN_IF_ERROR(disk_->Check(0));
  PendingSubmission pending;
  pending.payload_crcs.reserve(submission.records.size());
  for (size_t i = 0; i < submission.records.size(); ++i) {
    const NewRecord& record = submission.records[i];
    pending.payload_crcs.push_back(Crc32c(record.payload));
    if (record.id.empty() && record.subject.empty()) continue;
    pending.names.emplace_back(i, Digest(record));
  }
  pending.bytes = QueuedBytes(submission);
  pending.on_durable = std::move(on_durable);

  base::MutexLock lock(&mutex_);
  ENGRAM_RETURN_IF_ERROR(CheckSubmit(submission, pending.bytes));
  ModelLog& log = models_.at(submission.model);
  const Sequence first = log.assigned + 1;
  log.assigned += submission.records.size();
  log.pending += 1;
  statistics_.queued_bytes += pending.bytes;
  pending.first = first;
  pending.submission = std::move(submission);
  queue_.push_back(std::move(pending));
  work_.NotifyOne();
  return first;
}

void RocksDbSampleLog::CommitLoop() {
  std::vector<PendingSubmission> taken;
  while (TakeQueued(&taken)) {
    disk_->Refresh();
    if (!taken.empty()) CommitOnceThereIsRoom(&taken);
    taken.clear();
    engine_->Witness();
  }
}

// False when all is done. Comes back empty-handed now and then while the disk is nearly full or
// HIGHWATER is behind, so that the committer sees to both without new submissions.
bool RocksDbSampleLog::TakeQueued(std::vector<PendingSubmission>* taken) {
  base::MutexLock lock(&mutex_);
  while (queue_.empty()) {
    if (stopping_) return false;
    if (disk_->Check(0).ok() && !engine_->WitnessIsBehind()) {
      work_.Wait(&mutex_);
    } else if (!work_.WaitFor(&mutex_, DiskWatch::kMeasurePeriod)) {
      return true;
    }
  }
  int64_t bytes = 0;
  while (!queue_.empty() &&
         (taken->empty() || bytes + queue_.front().bytes <= options_.commit_bytes_max)) {
    bytes += queue_.front().bytes;
    taken->push_back(std::move(queue_.front()));
    queue_.pop_front();
  }
  return true;
}

void RocksDbSampleLog::CommitOnceThereIsRoom(std::vector<PendingSubmission>* taken) {
  do {
    const absl::Status room = AwaitRoom();
    if (!room.ok()) return Answer(taken, room);
  } while (!Commit(taken));
}

// What was taken has its sequences, so it waits until the disk has room; meanwhile Submit refuses.
absl::Status RocksDbSampleLog::AwaitRoom() {
  while (true) {
    absl::Status room = disk_->Check(0);
    if (room.ok()) room = engine_->GoOn();
    if (room.ok() || !engine_->Health().ok()) return absl::OkStatus();
    {
      base::MutexLock lock(&mutex_);
      if (stopping_) return room;
      work_.WaitFor(&mutex_, DiskWatch::kMeasurePeriod);
    }
    disk_->Refresh();
    engine_->Witness();
  }
}

bool RocksDbSampleLog::Commit(std::vector<PendingSubmission>* taken) {
  const auto begin = std::chrono::steady_clock::now();
  std::map<ModelUid, LogProgress> progress;
  {
    base::MutexLock lock(&mutex_);
    for (const PendingSubmission& pending : *taken) {
      const ModelLog& log = models_.at(pending.submission.model);
      LogProgress& entry = progress[pending.submission.model];
      entry.tail = log.durable;
      entry.last_indexed = log.index.last();
    }
  }
  absl::Status outcome = engine_->Health();
  if (outcome.ok()) {
    batch_.Begin(options_.now_ms(), std::move(progress));
    for (const PendingSubmission& pending : *taken) batch_.Add(pending);
    if (ENGRAM_BUG("bug.ack_before_sync")) Tell(taken, absl::OkStatus());
    ENGRAM_FAILPOINT("log.before_write");
    outcome = batch_.Write();
    if (absl::IsResourceExhausted(outcome)) return false;
    ENGRAM_FAILPOINT("log.after_sync");
  }
  Answer(taken, outcome);
  ENGRAM_FAILPOINT("log.after_answer");
  if (!outcome.ok()) return true;
  std::function<void(double)> observer;
  {
    base::MutexLock lock(&mutex_);
    observer = observer_;
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - begin;
  if (observer != nullptr) observer(seconds.count());
  return true;
}

void RocksDbSampleLog::Answer(std::vector<PendingSubmission>* taken,
                              const absl::Status& outcome) {
  Finish(*taken, outcome);
  Tell(taken, outcome);
}

void RocksDbSampleLog::Tell(std::vector<PendingSubmission>* taken, const absl::Status& outcome) {
  for (PendingSubmission& pending : *taken) {
    const OnDurable told = std::exchange(pending.on_durable, nullptr);
    if (told != nullptr) told(outcome);
  }
}

void RocksDbSampleLog::Finish(const std::vector<PendingSubmission>& taken,
                              const absl::Status& outcome) {
  base::MutexLock lock(&mutex_);
  for (const PendingSubmission& pending : taken) {
    models_.at(pending.submission.model).pending -= 1;
    statistics_.queued_bytes -= pending.bytes;
  }
  if (outcome.ok()) {
    for (const auto& [model, progress] : batch_.progress()) {
      ModelLog& log = models_.at(model);
      log.durable = progress.tail;
      for (const LogPosition& position : progress.indexed) log.index.Append(position);
    }
    statistics_.commits += 1;
    statistics_.committed_records += batch_.records();
    statistics_.committed_bytes += batch_.payload_bytes();
  }
  idle_.NotifyAll();
}

Sequence RocksDbSampleLog::DurableSequence(ModelUid model) const {
  base::MutexLock lock(&mutex_);
  const ModelLog* log = FindOpen(model);
  return log == nullptr ? 0 : log->durable.sequence;
}

Sequence RocksDbSampleLog::AssignedSequence(ModelUid model) const {
  base::MutexLock lock(&mutex_);
  const ModelLog* log = FindOpen(model);
  return log == nullptr ? 0 : log->assigned;
}

Sequence RocksDbSampleLog::TrimMark(ModelUid model) const {
  base::MutexLock lock(&mutex_);
  const ModelLog* log = FindOpen(model);
  return log == nullptr ? 0 : log->index.mark().sequence;
}

absl::StatusOr<std::vector<LogRecord>> RocksDbSampleLog::Read(ModelUid model, Sequence from,
                                                              size_t max_records,
                                                              size_t max_bytes) const {
  Sequence durable = 0;
  {
    base::MutexLock lock(&mutex_);
    const ModelLog* log = FindOpen(model);
    if (log == nullptr) return NotOpen(model);
    durable = log->durable.sequence;
    if (from <= log->index.mark().sequence) return Trimmed(model, from, log->index.mark());
  }
  RecordCollector collector(model, from, max_records, max_bytes);
  absl::Status outcome;
  if (from <= durable && !collector.full()) {
    outcome = engine_->Scan(ColumnFamily::kLog, ToView(MakeLogKey(model, from)),
                            ToView(MakeLogKey(model, durable + 1)),
                            [&collector](absl::string_view key, absl::string_view value) {
                              return collector.Take(key, value);
                            });
    outcome = collector.Judge(outcome, durable);
  }
  if (outcome.ok()) return collector.TakeRecords();
  // A trim may have overtaken the scan: what is missing then is not damage.
  base::MutexLock lock(&mutex_);
  const ModelLog* log = FindOpen(model);
  if (log == nullptr) return NotOpen(model);
  if (from <= log->index.mark().sequence) return Trimmed(model, from, log->index.mark());
  return outcome;
}

absl::Status RocksDbSampleLog::Health() const { return engine_->Health(); }

void RocksDbSampleLog::ObserveCommits(std::function<void(double seconds)> observer) {
  base::MutexLock lock(&mutex_);
  observer_ = std::move(observer);
}

StoreStatistics RocksDbSampleLog::Statistics() const {
  base::MutexLock lock(&mutex_);
  return statistics_;
}

}  // namespace engram::storage
