// The slow side of RocksDbSampleLog: opening, trimming and removing logs, and the producer rows.

#include <algorithm>
#include <map>
#include <utility>

#include "absl/strings/str_cat.h"
#include "storage/base/failpoint.h"
#include "storage/base/status_macros.h"
#include "storage/codec.h"
#include "storage/log_record.h"
#include "storage/log_rows.h"
#include "storage/meta_keys.h"
#include "storage/rocksdb_sample_log.h"

namespace engram::storage {
namespace {

using Durability = RocksDbEngine::Durability;

constexpr int64_t kMillisecondsPerSecond = 1000;

CutLimits NoLimits() {
  CutLimits limits;
  limits.sequence_max = UINT64_MAX;
  limits.bytes_max = INT64_MAX;
  limits.time_ms_max = INT64_MAX;
  return limits;
}

absl::Status DamagedRow(absl::string_view what, ModelUid model) {
  return absl::DataLossError(absl::StrCat(what, " of model ", model, " fails its checksum"));
}

absl::Status RemovePrefix(RocksDbEngine* engine, const std::string& prefix) {
  return engine
      ->RemoveRange(ColumnFamily::kMeta, prefix, PrefixEnd(prefix), prefix,
                    Durability::kWithTheNext)
      .status();
}

}  // namespace

absl::Status RocksDbSampleLog::Open(ModelUid model) {
  base::MutexLock maintenance(&maintenance_mutex_);
  if (CheckOpen(model).ok()) return absl::OkStatus();
  ENGRAM_ASSIGN_OR_RETURN(ModelLog log, Recover(model));
  base::MutexLock lock(&mutex_);
  models_[model] = std::move(log);
  return absl::OkStatus();
}

absl::StatusOr<RocksDbSampleLog::ModelLog> RocksDbSampleLog::Recover(ModelUid model) const {
  ModelLog log;
  ENGRAM_RETURN_IF_ERROR(RecoverIndex(model, &log));
  ENGRAM_RETURN_IF_ERROR(RecoverTail(model, &log));
  log.assigned = log.durable.sequence;
  return log;
}

absl::Status RocksDbSampleLog::RecoverIndex(ModelUid model, ModelLog* log) const {
  const std::string mark_key = MetaKey(MetaTag::kTrimMark, model);
  ENGRAM_ASSIGN_OR_RETURN(const absl::optional<std::string> stored,
                          engine_->Get(ColumnFamily::kMeta, mark_key));
  LogPosition mark;
  if (stored.has_value()) {
    const absl::optional<LogPosition> decoded = DecodePosition(mark_key, *stored);
    if (!decoded.has_value()) return DamagedRow("trim mark", model);
    mark = *decoded;
  }
  log->index.Reset(mark);
  bool damaged = false;
  ENGRAM_RETURN_IF_ERROR(engine_->Scan(
      ColumnFamily::kMeta, MetaKey(MetaTag::kLogIndex, model, mark.sequence + 1),
      MetaKey(MetaTag::kLogIndex, model + 1), [&](absl::string_view key, absl::string_view value) {
        const absl::optional<LogPosition> position = DecodePosition(key, value);
        damaged = !position.has_value();
        if (!damaged) log->index.Append(*position);
        return !damaged;
      }));
  return damaged ? DamagedRow("log index", model) : absl::OkStatus();
}

// The index rows were written with the records: a log that ends before its last row has lost
// acknowledged records, whatever RocksDB says.
absl::Status RocksDbSampleLog::RecoverTail(ModelUid model, ModelLog* log) const {
  const Sequence mark = log->index.mark().sequence;
  ENGRAM_ASSIGN_OR_RETURN(const absl::optional<std::string> last_key,
                          engine_->LastKey(ColumnFamily::kLog, ToView(MakeLogKey(model, mark + 1)),
                                           ToView(MakeLogKey(model + 1, 0))));
  const Sequence last = last_key.has_value() ? SequenceOf(*last_key) : mark;
  if (last > mark) {
    ENGRAM_ASSIGN_OR_RETURN(const absl::optional<std::string> first,
                            engine_->Get(ColumnFamily::kLog, ToView(MakeLogKey(model, mark + 1))));
    if (!first.has_value()) {
      return absl::DataLossError(absl::StrCat("log of model ", model, ": record ", mark + 1,
                                              " is missing, the trim mark is ", mark));
    }
  }
  if (last < log->index.last().sequence) {
    return absl::DataLossError(absl::StrCat("log of model ", model, " ends at record ", last,
                                            "; record ", log->index.last().sequence,
                                            " was committed"));
  }
  ENGRAM_ASSIGN_OR_RETURN(log->durable, Walk(model, log->index.last(), NoLimits()));
  if (log->durable.sequence != last) {
    return absl::DataLossError(absl::StrCat("log of model ", model, ": record ",
                                            log->durable.sequence + 1, " is missing, the last is ",
                                            last));
  }
  return absl::OkStatus();
}

absl::StatusOr<LogPosition> RocksDbSampleLog::Walk(ModelUid model, LogPosition start,
                                                   const CutLimits& limits) const {
  LogPosition position = start;
  absl::Status damage;
  ENGRAM_RETURN_IF_ERROR(engine_->Scan(
      ColumnFamily::kLog, ToView(MakeLogKey(model, start.sequence + 1)),
      ToView(MakeLogKey(model + 1, 0)), [&](absl::string_view key, absl::string_view value) {
        if (SequenceOf(key) != position.sequence + 1) return false;
        const absl::optional<RecordView> record = ParseRecord(key, value);
        if (!record.has_value()) {
          damage = absl::DataLossError(absl::StrCat("record ", position.sequence + 1, " of model ",
                                                    model, " fails its checksum"));
          return false;
        }
        LogPosition next;
        next.sequence = position.sequence + 1;
        next.bytes = position.bytes + static_cast<int64_t>(record->payload.size());
        next.time_ms = record->time_ms;
        if (!limits.Allows(next)) return false;
        position = next;
        return true;
      }));
  ENGRAM_RETURN_IF_ERROR(damage);
  return position;
}

absl::Status RocksDbSampleLog::Remove(ModelUid model) {
  base::MutexLock maintenance(&maintenance_mutex_);
  {
    base::MutexLock lock(&mutex_);
    const auto found = models_.find(model);
    if (found != models_.end()) {
      found->second.closing = true;
      while (found->second.pending > 0) idle_.Wait(&mutex_);
      models_.erase(found);
    }
  }
  const LogKey begin = MakeLogKey(model, 0);
  ENGRAM_RETURN_IF_ERROR(engine_
                             ->RemoveRange(ColumnFamily::kLog, ToView(begin),
                                           ToView(MakeLogKey(model + 1, 0)), ToView(begin),
                                           Durability::kWithTheNext)
                             .status());
  for (const MetaTag tag : {MetaTag::kLogIndex, MetaTag::kProducer, MetaTag::kMessage,
                            MetaTag::kName, MetaTag::kNamed, MetaTag::kUnnamed}) {
    ENGRAM_RETURN_IF_ERROR(RemovePrefix(engine_, MetaKey(tag, model)));
  }
  return engine_->Delete(ColumnFamily::kMeta, MetaKey(MetaTag::kTrimMark, model),
                         Durability::kSynced);
}

// First the mark, durably; then the records: reads never look below the mark, so what a crash
// leaves there is only waste, which the next trim after a start finds.
absl::Status RocksDbSampleLog::Trim(ModelUid model, Sequence up_to) {
  base::MutexLock maintenance(&maintenance_mutex_);
  LogPosition start;
  Sequence swept = 0;
  {
    base::MutexLock lock(&mutex_);
    const ModelLog* log = FindOpen(model);
    if (log == nullptr) return NotOpen(model);
    if (up_to <= log->index.mark().sequence) return absl::OkStatus();
    if (up_to > log->durable.sequence) {
      return absl::OutOfRangeError(absl::StrCat("cannot trim model ", model, " up to ", up_to,
                                                ": durable is ", log->durable.sequence));
    }
    start = log->index.Before(up_to);
    swept = log->swept;
  }
  CutLimits limits = NoLimits();
  limits.sequence_max = up_to;
  ENGRAM_ASSIGN_OR_RETURN(const LogPosition mark, Walk(model, start, limits));
  if (mark.sequence != up_to) {
    return absl::DataLossError(
        absl::StrCat("record ", mark.sequence + 1, " of model ", model, " is missing"));
  }
  const std::string mark_key = MetaKey(MetaTag::kTrimMark, model);
  ENGRAM_RETURN_IF_ERROR(ENGRAM_FAILPOINT_STATUS("trim.before_mark"));
  ENGRAM_RETURN_IF_ERROR(engine_->Put(ColumnFamily::kMeta, mark_key, EncodePosition(mark_key, mark),
                                      Durability::kSynced));
  ENGRAM_FAILPOINT("trim.after_mark");
  {
    base::MutexLock lock(&mutex_);
    models_.at(model).index.TrimTo(mark);
  }
  return SweepTrimmed(model, swept, up_to);
}

absl::Status RocksDbSampleLog::SweepTrimmed(ModelUid model, Sequence swept, Sequence up_to) {
  ENGRAM_RETURN_IF_ERROR(engine_
                             ->RemoveRange(ColumnFamily::kLog, ToView(MakeLogKey(model, 0)),
                                           ToView(MakeLogKey(model, up_to + 1)),
                                           ToView(MakeLogKey(model, swept + 1)),
                                           Durability::kWithTheNext)
                             .status());
  ENGRAM_RETURN_IF_ERROR(
      engine_
          ->RemoveRange(ColumnFamily::kMeta, MetaKey(MetaTag::kLogIndex, model, 0),
                        MetaKey(MetaTag::kLogIndex, model, up_to + 1),
                        MetaKey(MetaTag::kLogIndex, model, swept + 1), Durability::kWithTheNext)
          .status());
  ENGRAM_FAILPOINT("trim.after_sweep");
  base::MutexLock lock(&mutex_);
  models_.at(model).swept = up_to;
  return absl::OkStatus();
}

Sequence RocksDbSampleLog::TrimCandidate(ModelUid model, Sequence limit, int64_t keep_seconds,
                                         int64_t keep_bytes, int64_t now_ms) const {
  CutLimits limits;
  LogPosition start;
  {
    base::MutexLock lock(&mutex_);
    const ModelLog* log = FindOpen(model);
    if (log == nullptr) return 0;
    limits.sequence_max = std::min(limit, log->durable.sequence);
    limits.bytes_max = log->durable.bytes - keep_bytes;
    limits.time_ms_max = now_ms - keep_seconds * kMillisecondsPerSecond;
    start = log->index.LastAllowed(limits);
  }
  // Damage is for Read to report; retention just keeps what it cannot judge.
  const absl::StatusOr<LogPosition> end = Walk(model, start, limits);
  return end.ok() ? end->sequence : start.sequence;
}

absl::StatusOr<std::vector<ProducerState>> RocksDbSampleLog::Producers(ModelUid model) const {
  ENGRAM_RETURN_IF_ERROR(CheckOpen(model));
  std::map<std::string, ProducerState> states;
  bool damaged = false;
  const std::string prefix = MetaKey(MetaTag::kProducer, model);
  ENGRAM_RETURN_IF_ERROR(
      engine_->Scan(ColumnFamily::kMeta, prefix, PrefixEnd(prefix),
                    [&](absl::string_view key, absl::string_view value) {
                      absl::string_view rest = key.substr(prefix.size());
                      const absl::optional<std::string> producer = TakeOrderedText(&rest);
                      const absl::optional<ProducerRow> row = DecodeProducerRow(key, value);
                      damaged = !producer.has_value() || !row.has_value();
                      if (damaged) return false;
                      ProducerState& state = states[*producer];
                      state.producer = *producer;
                      state.epoch = std::max(state.epoch, row->epoch);
                      state.last_sequence = std::max(state.last_sequence, row->last_sequence);
                      state.last_seen_ms = std::max(state.last_seen_ms, row->last_seen_ms);
                      return true;
                    }));
  if (damaged) return DamagedRow("producer row", model);
  std::vector<ProducerState> list;
  for (auto& [name, state] : states) list.push_back(std::move(state));
  return list;
}

absl::StatusOr<absl::optional<ProducerMessage>> RocksDbSampleLog::FindMessage(
    ModelUid model, absl::string_view producer, uint64_t sequence) const {
  ENGRAM_RETURN_IF_ERROR(CheckOpen(model));
  const std::string key = MessageKey(model, producer, sequence);
  ENGRAM_ASSIGN_OR_RETURN(const absl::optional<std::string> stored,
                          engine_->Get(ColumnFamily::kMeta, key));
  if (!stored.has_value()) return absl::optional<ProducerMessage>();
  absl::optional<ProducerMessage> message = DecodeMessage(key, *stored);
  if (!message.has_value()) return DamagedRow("producer message", model);
  if (message->sequence != sequence) message.reset();
  return message;
}

absl::Status RocksDbSampleLog::RemoveProducer(ModelUid model, absl::string_view producer) {
  ENGRAM_RETURN_IF_ERROR(CheckOpen(model));
  rocksdb::WriteBatch batch;
  batch.Delete(engine_->handle_of(ColumnFamily::kMeta), HelloKey(model, producer));
  batch.Delete(engine_->handle_of(ColumnFamily::kMeta), LastMessageKey(model, producer));
  ENGRAM_RETURN_IF_ERROR(engine_->Write(&batch, Durability::kWithTheNext));
  return RemovePrefix(engine_, MessagePrefix(model, producer));
}

}  // namespace engram::storage
