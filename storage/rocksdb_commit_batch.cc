#include "storage/rocksdb_commit_batch.h"

#include <algorithm>
#include <utility>

#include "storage/base/check.h"
#include "storage/codec.h"
#include "storage/log_record.h"
#include "storage/meta_keys.h"

namespace engram::storage {

void CommitBatch::Begin(int64_t now_ms, std::map<ModelUid, LogProgress> progress) {
  batch_.Clear();
  producers_.clear();
  now_ms_ = now_ms;
  records_ = 0;
  payload_bytes_ = 0;
  progress_ = std::move(progress);
}

void CommitBatch::Add(const PendingSubmission& pending) {
  const ModelUid model = pending.submission.model;
  LogProgress& progress = progress_.at(model);
  const std::vector<NewRecord>& records = pending.submission.records;
  if (!records.empty()) ENGRAM_CHECK(pending.first == progress.tail.sequence + 1);
  const absl::string_view producer = pending.submission.mark.has_value()
                                         ? absl::string_view(pending.submission.mark->producer)
                                         : absl::string_view();
  for (size_t i = 0; i < records.size(); ++i) {
    const auto size = static_cast<int64_t>(records[i].payload.size());
    progress.tail.sequence += 1;
    progress.tail.bytes += size;
    progress.tail.time_ms = std::max(progress.tail.time_ms, now_ms_);
    payload_bytes_ += records[i].payload.size();
    AddRecord(model, progress.tail, records[i],
              records[i].producer.empty() ? producer : records[i].producer,
              pending.payload_crcs[i]);
  }
  for (const auto& [i, names] : pending.names) AddNames(model, pending.first + i, names);
  records_ += records.size();
  if (progress.tail.bytes - progress.last_indexed.bytes >= kIndexStepBytes) {
    AddIndexRow(model, &progress);
  }
  if (pending.submission.mark.has_value()) AddMark(pending);
}

void CommitBatch::AddRecord(ModelUid model, const LogPosition& position, const NewRecord& record,
                            absl::string_view producer, uint32_t payload_crc) {
  const LogKey key = MakeLogKey(model, position.sequence);
  MakeRecordHeader(key, {record.kind, position.time_ms, producer}, payload_crc, &header_);
  const rocksdb::Slice key_part(key.data(), key.size());
  const rocksdb::Slice value_parts[] = {ToSlice(header_), ToSlice(record.payload)};
  batch_.Put(engine_->handle_of(ColumnFamily::kLog), rocksdb::SliceParts(&key_part, 1),
             rocksdb::SliceParts(value_parts, 2));
}

void CommitBatch::AddNames(ModelUid model, Sequence sequence, const NameDigests& names) {
  rocksdb::ColumnFamilyHandle* const meta = engine_->handle_of(ColumnFamily::kMeta);
  const std::string key = MetaKey(MetaTag::kNamed, model, sequence);
  batch_.Put(meta, key, EncodeNames(key, names));
  for (const std::string& row : NameKeys(model, sequence, names)) {
    batch_.Put(meta, row, Seal(row, ""));
  }
}

void CommitBatch::AddIndexRow(ModelUid model, LogProgress* progress) {
  const std::string key = MetaKey(MetaTag::kLogIndex, model, progress->tail.sequence);
  batch_.Put(engine_->handle_of(ColumnFamily::kMeta), key, EncodePosition(key, progress->tail));
  progress->last_indexed = progress->tail;
  progress->indexed.push_back(progress->tail);
}

void CommitBatch::AddMark(const PendingSubmission& pending) {
  const ModelUid model = pending.submission.model;
  const ProducerMark& mark = *pending.submission.mark;
  ProducerRow row;
  row.epoch = mark.epoch;
  row.last_sequence = mark.sequence;
  row.last_seen_ms = now_ms_;
  if (mark.sequence == 0) {
    producers_[HelloKey(model, mark.producer)] = row;
    return;
  }
  producers_[LastMessageKey(model, mark.producer)] = row;
  ProducerMessage message;
  message.sequence = mark.sequence;
  message.count = static_cast<uint32_t>(pending.submission.records.size());
  message.first = message.count == 0 ? 0 : pending.first;
  message.content_hash = mark.content_hash;
  const std::string key = MessageKey(model, mark.producer, mark.sequence);
  batch_.Put(engine_->handle_of(ColumnFamily::kMeta), key, EncodeMessage(key, message));
}

absl::Status CommitBatch::Write() {
  for (const auto& [key, row] : producers_) {
    batch_.Put(engine_->handle_of(ColumnFamily::kMeta), key, EncodeProducerRow(key, row));
  }
  return engine_->Write(&batch_, RocksDbEngine::Durability::kSynced,
                        RocksDbEngine::Room::kGranted);
}

}  // namespace engram::storage
