#include "tests/testing/storage/fake_log.h"

#include <algorithm>
#include <iterator>
#include <utility>

namespace engram::testing {

using storage::LogRecord;
using storage::ModelUid;
using storage::NewRecord;
using storage::ProducerMark;
using storage::ProducerMessage;
using storage::Sequence;

namespace {

absl::Status NotOpen(ModelUid model) {
  return absl::NotFoundError(absl::StrCat("log of model ", model, " is not open"));
}

}  // namespace

FakeStore::Log::Log(Shared* shared) : shared_(shared) {
  if (shared_->options.commit == CommitMode::kThread) {
    committer_ = std::thread([this] { CommitLoop(); });
  }
}

FakeStore::Log::~Log() {
  {
    base::MutexLock lock(&mutex_);
    stopping_ = true;
    wake_.NotifyAll();
  }
  if (committer_.joinable()) committer_.join();
  Commit();
}

void FakeStore::Log::CommitLoop() {
  for (;;) {
    {
      base::MutexLock lock(&mutex_);
      while (queue_.empty() && !stopping_) wake_.Wait(&mutex_);
      if (stopping_) return;
    }
    Commit();
  }
}

absl::Status FakeStore::Log::Open(ModelUid model) {
  base::MutexLock lock(&mutex_);
  Model& entry = models_[model];
  if (!entry.open) entry.assigned = entry.durable;
  entry.open = true;
  return absl::OkStatus();
}

absl::Status FakeStore::Log::Remove(ModelUid model) {
  Commit();
  base::MutexLock lock(&mutex_);
  models_.erase(model);
  return absl::OkStatus();
}

const FakeStore::Log::Model* FakeStore::Log::FindOpen(ModelUid model) const {
  const auto found = models_.find(model);
  return found == models_.end() || !found->second.open ? nullptr : &found->second;
}

absl::Status FakeStore::Log::CheckSubmit(const storage::Submission& submission,
                                         int64_t bytes) const {
  if (submission.records.empty() && !submission.mark.has_value()) {
    return absl::InvalidArgumentError("a submission needs records or a producer mark");
  }
  for (const NewRecord& record : submission.records) {
    if (record.kind == 0 || record.kind > 127) {
      return absl::InvalidArgumentError(
          absl::StrCat("record kind: expected 1 to 127, got ", record.kind));
    }
  }
  if (!failure_.ok()) return failure_;
  if (absl::Status refusal = shared_->Refusal(); !refusal.ok()) return refusal;
  if (FindOpen(submission.model) == nullptr) return NotOpen(submission.model);
  if (statistics_.queued_bytes + bytes > shared_->options.queue_bytes_max) {
    return absl::ResourceExhaustedError(
        absl::StrCat("log queue is full: ", statistics_.queued_bytes, " of ",
                     shared_->options.queue_bytes_max, " bytes wait"));
  }
  return absl::OkStatus();
}

absl::StatusOr<Sequence> FakeStore::Log::Submit(storage::Submission submission,
                                                storage::OnDurable on_durable) {
  Sequence first = 0;
  {
    base::MutexLock lock(&mutex_);
    int64_t bytes = 0;
    for (const NewRecord& record : submission.records) {
      bytes += static_cast<int64_t>(record.payload.size());
    }
    if (absl::Status status = CheckSubmit(submission, bytes); !status.ok()) return status;
    Model& model = models_[submission.model];
    first = model.assigned + 1;
    model.assigned += submission.records.size();
    statistics_.queued_bytes += bytes;
    queue_.push_back({std::move(submission), first, bytes, std::move(on_durable)});
    wake_.NotifyOne();
  }
  if (shared_->options.commit == CommitMode::kInline) {
    while (Commit() > 0) {  // again: a callback may have submitted more
    }
  }
  return first;
}

void FakeStore::Log::ApplyMark(const Pending& pending, Model* model) {
  const ProducerMark& mark = *pending.submission.mark;
  Producer& producer = model->producers[mark.producer];
  producer.state.producer = mark.producer;
  producer.state.epoch = mark.epoch;
  producer.state.last_seen_ms = shared_->options.now_ms();
  if (mark.sequence == 0) return;
  producer.state.last_sequence = mark.sequence;
  ProducerMessage message;
  message.sequence = mark.sequence;
  message.count = static_cast<uint32_t>(pending.submission.records.size());
  message.first = message.count == 0 ? 0 : pending.first;
  message.content_hash = mark.content_hash;
  producer.window[mark.sequence % kProducerWindow] = message;
}

void FakeStore::Log::Apply(const Pending& pending) {
  Model& model = models_[pending.submission.model];
  Sequence sequence = pending.first;
  for (const NewRecord& record : pending.submission.records) {
    Stored stored;
    stored.record.sequence = sequence++;
    stored.record.kind = record.kind;
    stored.record.payload = record.payload;
    if (pending.submission.mark.has_value()) {
      stored.record.producer = pending.submission.mark->producer;
    }
    if (!record.producer.empty()) stored.record.producer = record.producer;
    if (!record.id.empty() || !record.subject.empty()) {
      model.names[stored.record.sequence] = {record.id, record.subject};
    }
    stored.time_ms = shared_->options.now_ms();
    statistics_.committed_records += 1;
    statistics_.committed_bytes += record.payload.size();
    model.records.push_back(std::move(stored));
  }
  model.durable = std::max(model.durable, sequence - 1);
  if (pending.submission.mark.has_value()) ApplyMark(pending, &model);
}

size_t FakeStore::Log::Commit() {
  if (committing_.load() == std::this_thread::get_id()) return 0;  // called from a callback
  base::MutexLock commit_lock(&commit_mutex_);
  committing_.store(std::this_thread::get_id());
  const size_t count = CommitOnce();
  committing_.store(std::thread::id());
  return count;
}

size_t FakeStore::Log::CommitOnce() {
  std::deque<Pending> taken;
  absl::Status outcome;
  std::function<void(double)> observer;
  {
    base::MutexLock lock(&mutex_);
    taken.swap(queue_);
    if (taken.empty()) return 0;
    outcome = failure_;
    for (const Pending& pending : taken) {
      if (outcome.ok()) Apply(pending);
      statistics_.queued_bytes -= pending.bytes;
    }
    if (outcome.ok()) statistics_.commits += 1;
    observer = observer_;
  }
  for (Pending& pending : taken) {
    if (pending.on_durable != nullptr) pending.on_durable(outcome);
  }
  if (observer != nullptr && outcome.ok()) observer(0.0);
  return taken.size();
}

Sequence FakeStore::Log::DurableSequence(ModelUid model) const {
  base::MutexLock lock(&mutex_);
  const Model* entry = FindOpen(model);
  return entry == nullptr ? 0 : entry->durable;
}

Sequence FakeStore::Log::AssignedSequence(ModelUid model) const {
  base::MutexLock lock(&mutex_);
  const Model* entry = FindOpen(model);
  return entry == nullptr ? 0 : entry->assigned;
}

absl::StatusOr<std::vector<LogRecord>> FakeStore::Log::Read(ModelUid model, Sequence from,
                                                            size_t max_records,
                                                            size_t max_bytes) const {
  base::MutexLock lock(&mutex_);
  const Model* entry = FindOpen(model);
  if (entry == nullptr) return NotOpen(model);
  if (from <= entry->mark) {
    return absl::OutOfRangeError(
        absl::StrCat("sequence ", from, " is trimmed; the log begins at ", entry->mark + 1));
  }
  std::vector<LogRecord> records;
  size_t bytes = 0;
  for (size_t i = from - entry->mark - 1; i < entry->records.size(); ++i) {
    if (records.size() >= max_records || (bytes >= max_bytes && !records.empty())) break;
    bytes += entry->records[i].record.payload.size();
    records.push_back(entry->records[i].record);
  }
  return records;
}

absl::Status FakeStore::Log::Trim(ModelUid model, Sequence up_to) {
  base::MutexLock lock(&mutex_);
  if (FindOpen(model) == nullptr) return NotOpen(model);
  Model& entry = models_[model];
  if (up_to > entry.durable) {
    return absl::OutOfRangeError(absl::StrCat("cannot trim model ", model, " up to ", up_to,
                                              ": durable is ", entry.durable));
  }
  while (entry.mark < up_to) {
    entry.records.pop_front();
    entry.mark += 1;
  }
  return absl::OkStatus();
}

Sequence FakeStore::Log::TrimMark(ModelUid model) const {
  base::MutexLock lock(&mutex_);
  const Model* entry = FindOpen(model);
  return entry == nullptr ? 0 : entry->mark;
}

Sequence FakeStore::Log::TrimCandidate(ModelUid model, Sequence limit, int64_t keep_seconds,
                                       int64_t keep_bytes, int64_t now_ms) const {
  base::MutexLock lock(&mutex_);
  const Model* entry = FindOpen(model);
  if (entry == nullptr) return 0;
  int64_t left = 0;
  for (const Stored& stored : entry->records) {
    left += static_cast<int64_t>(stored.record.payload.size());
  }
  Sequence candidate = entry->mark;
  for (const Stored& stored : entry->records) {
    left -= static_cast<int64_t>(stored.record.payload.size());
    const bool young = now_ms - stored.time_ms < keep_seconds * 1000;
    if (stored.record.sequence > limit || left < keep_bytes || young) break;
    candidate = stored.record.sequence;
  }
  return candidate;
}

absl::StatusOr<std::vector<Sequence>> FakeStore::Log::FindNamed(ModelUid model,
                                                                storage::RecordName kind,
                                                                absl::string_view name) const {
  base::MutexLock lock(&mutex_);
  const Model* entry = FindOpen(model);
  if (entry == nullptr) return NotOpen(model);
  std::vector<Sequence> sequences;
  for (const auto& [sequence, names] : entry->names) {
    const bool by_id = kind == storage::RecordName::kId;
    if ((by_id ? names.first : names.second) == name) sequences.push_back(sequence);
  }
  return sequences;
}

absl::StatusOr<Sequence> FakeStore::Log::UnnamedThrough(ModelUid /*model*/) const { return 0; }

absl::Status FakeStore::Log::TrimNames(ModelUid model,
                                       const std::function<std::vector<Sequence>()>& keep) {
  const std::vector<Sequence> kept = keep();
  base::MutexLock lock(&mutex_);
  Model& entry = models_[model];
  for (auto it = entry.names.begin(); it != entry.names.end() && it->first <= entry.mark;) {
    const bool stays = std::find(kept.begin(), kept.end(), it->first) != kept.end();
    it = stays ? std::next(it) : entry.names.erase(it);
  }
  return absl::OkStatus();
}

absl::Status FakeStore::Log::RemoveNames(ModelUid model, absl::Span<const Sequence> sequences) {
  base::MutexLock lock(&mutex_);
  for (const Sequence sequence : sequences) models_[model].names.erase(sequence);
  return failure_;
}

absl::Status FakeStore::Log::Rewrite(ModelUid model,
                                     absl::Span<const storage::RewrittenRecord> records) {
  base::MutexLock lock(&mutex_);
  if (FindOpen(model) == nullptr) return NotOpen(model);
  if (!failure_.ok()) return failure_;
  Model& entry = models_[model];
  for (const storage::RewrittenRecord& record : records) {
    if (record.sequence <= entry.mark || record.sequence > entry.durable) {
      return absl::OutOfRangeError(absl::StrCat("cannot rewrite record ", record.sequence));
    }
  }
  for (const storage::RewrittenRecord& record : records) {
    LogRecord& stored = entry.records[record.sequence - entry.mark - 1].record;
    stored.kind = record.kind;
    stored.payload = record.payload;
    stored.producer.clear();
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<storage::ProducerState>> FakeStore::Log::Producers(
    ModelUid model) const {
  base::MutexLock lock(&mutex_);
  const Model* entry = FindOpen(model);
  if (entry == nullptr) return NotOpen(model);
  std::vector<storage::ProducerState> states;
  for (const auto& [name, producer] : entry->producers) states.push_back(producer.state);
  return states;
}

absl::StatusOr<absl::optional<ProducerMessage>> FakeStore::Log::FindMessage(
    ModelUid model, absl::string_view producer, uint64_t sequence) const {
  base::MutexLock lock(&mutex_);
  const Model* entry = FindOpen(model);
  if (entry == nullptr) return NotOpen(model);
  const auto found = entry->producers.find(std::string(producer));
  if (found == entry->producers.end()) return absl::optional<ProducerMessage>();
  const auto slot = found->second.window.find(sequence % kProducerWindow);
  if (slot == found->second.window.end() || slot->second.sequence != sequence) {
    return absl::optional<ProducerMessage>();
  }
  return absl::optional<ProducerMessage>(slot->second);
}

absl::Status FakeStore::Log::RemoveProducer(ModelUid model, absl::string_view producer) {
  base::MutexLock lock(&mutex_);
  if (FindOpen(model) == nullptr) return NotOpen(model);
  models_[model].producers.erase(std::string(producer));
  return absl::OkStatus();
}

absl::Status FakeStore::Log::Health() const {
  base::MutexLock lock(&mutex_);
  return failure_;
}

void FakeStore::Log::FailCommits(std::string reason) {
  const absl::Status failure = absl::FailedPreconditionError(
      absl::StrCat("storage is read-only: ", reason, "; restart required"));
  std::function<void(const absl::Status&)> observer;
  {
    base::MutexLock lock(&mutex_);
    if (failure_.ok()) observer = health_observer_;
    failure_ = failure;
  }
  if (observer != nullptr) observer(failure);
}

void FakeStore::Log::ObserveHealth(std::function<void(const absl::Status&)> observer) {
  const absl::Status health = Health();
  if (!health.ok()) observer(health);
  base::MutexLock lock(&mutex_);
  health_observer_ = std::move(observer);
}

void FakeStore::Log::Crash() {
  base::MutexLock lock(&mutex_);
  queue_.clear();
  statistics_.queued_bytes = 0;
  failure_ = absl::OkStatus();
  for (auto& [uid, model] : models_) model.open = false;
}

void FakeStore::Log::Observe(std::function<void(double)> observer) {
  base::MutexLock lock(&mutex_);
  observer_ = std::move(observer);
}

storage::StoreStatistics FakeStore::Log::Statistics() const {
  base::MutexLock lock(&mutex_);
  return statistics_;
}

}  // namespace engram::testing
