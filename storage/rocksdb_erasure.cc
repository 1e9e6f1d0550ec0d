// What erasing examples takes: records found by name and rewritten, the rows of erasures, and files
// without a trace of what was there before.

#include <algorithm>
#include <iterator>
#include <utility>

#include "absl/strings/str_cat.h"
#include "storage/base/status_macros.h"
#include "storage/codec.h"
#include "storage/crc32c.h"
#include "storage/log_record.h"
#include "storage/log_rows.h"
#include "storage/meta_keys.h"
#include "storage/rocksdb_model_catalog.h"
#include "storage/rocksdb_sample_log.h"
#include "storage/rocksdb_store.h"

namespace engram::storage {
namespace {

using Durability = RocksDbEngine::Durability;

// Records closer together than this are compacted as one range.
constexpr Sequence kNearRecords = 4096;
constexpr int kRemoveBatchKeys = 4096;

std::string ModelKey(ModelUid model) {
  std::string key;
  AppendBig64(&key, model);
  return key;
}

}  // namespace

absl::StatusOr<std::vector<Sequence>> RocksDbSampleLog::FindNamed(ModelUid model, RecordName kind,
                                                                  absl::string_view name) const {
  ENGRAM_RETURN_IF_ERROR(CheckOpen(model));
  std::vector<Sequence> sequences;
  const std::string prefix = NamePrefix(model, static_cast<char>(kind), DigestOfName(name));
  std::string end = prefix;
  AppendBig64(&end, UINT64_MAX);
  ENGRAM_RETURN_IF_ERROR(engine_->Scan(ColumnFamily::kMeta, prefix, end,
                                       [&](absl::string_view key, absl::string_view /*value*/) {
                                         sequences.push_back(LastNumber(key));
                                         return true;
                                       }));
  return sequences;
}

absl::StatusOr<Sequence> RocksDbSampleLog::UnnamedThrough(ModelUid model) const {
  const std::string key = MetaKey(MetaTag::kUnnamed, model);
  ENGRAM_ASSIGN_OR_RETURN(const absl::optional<std::string> stored,
                          engine_->Get(ColumnFamily::kMeta, key));
  if (!stored.has_value()) return Sequence{0};
  const absl::optional<LogPosition> position = DecodePosition(key, *stored);
  if (position.has_value()) return position->sequence;
  return absl::DataLossError(absl::StrCat("mark of format 1 of model ", model,
                                          " fails its checksum"));
}

absl::Status RocksDbSampleLog::AddNameRemoval(ModelUid model, Sequence sequence,
                                              absl::string_view row,
                                              rocksdb::WriteBatch* batch) const {
  rocksdb::ColumnFamilyHandle* const meta = engine_->handle_of(ColumnFamily::kMeta);
  const std::string key = MetaKey(MetaTag::kNamed, model, sequence);
  const absl::optional<NameDigests> names = DecodeNames(key, row);
  if (!names.has_value()) {
    return absl::DataLossError(absl::StrCat("names of record ", sequence, " of model ", model,
                                            " fail their checksum"));
  }
  for (const std::string& name : NameKeys(model, sequence, *names)) batch->Delete(meta, name);
  batch->Delete(meta, key);
  if (batch->Count() < kRemoveBatchKeys) return absl::OkStatus();
  const absl::Status written = engine_->Write(batch, Durability::kWithTheNext);
  batch->Clear();
  return written;
}

absl::Status RocksDbSampleLog::TrimNames(ModelUid model,
                                         const std::function<std::vector<Sequence>()>& keep) {
  std::vector<Sequence> kept;
  bool asked = false;
  rocksdb::WriteBatch batch;
  absl::Status removed;
  ENGRAM_RETURN_IF_ERROR(engine_->Scan(
      ColumnFamily::kMeta, MetaKey(MetaTag::kNamed, model, 0),
      MetaKey(MetaTag::kNamed, model, TrimMark(model) + 1),
      [&](absl::string_view key, absl::string_view value) {
        if (!std::exchange(asked, true)) {
          kept = keep();
          std::sort(kept.begin(), kept.end());
        }
        const Sequence sequence = LastNumber(key);
        if (std::binary_search(kept.begin(), kept.end(), sequence)) return true;
        removed = AddNameRemoval(model, sequence, value, &batch);
        return removed.ok();
      }));
  ENGRAM_RETURN_IF_ERROR(removed);
  return batch.Count() == 0 ? absl::OkStatus() : engine_->Write(&batch, Durability::kWithTheNext);
}

absl::Status RocksDbSampleLog::RemoveNames(ModelUid model, absl::Span<const Sequence> sequences) {
  rocksdb::WriteBatch batch;
  for (const Sequence sequence : sequences) {
    ENGRAM_ASSIGN_OR_RETURN(
        const absl::optional<std::string> row,
        engine_->Get(ColumnFamily::kMeta, MetaKey(MetaTag::kNamed, model, sequence)));
    if (row.has_value()) ENGRAM_RETURN_IF_ERROR(AddNameRemoval(model, sequence, *row, &batch));
  }
  return engine_->Write(&batch, Durability::kSynced);
}

absl::Status RocksDbSampleLog::Rewrite(ModelUid model, absl::Span<const RewrittenRecord> records) {
  base::MutexLock maintenance(&maintenance_mutex_);
  ENGRAM_RETURN_IF_ERROR(CheckOpen(model));
  const Sequence mark = TrimMark(model);
  const Sequence durable = DurableSequence(model);
  rocksdb::WriteBatch batch;
  for (const RewrittenRecord& record : records) {
    const std::string name = absl::StrCat("record ", record.sequence, " of model ", model);
    if (record.sequence <= mark || record.sequence > durable) {
      return absl::OutOfRangeError(absl::StrCat("cannot rewrite ", name, ": the log holds ",
                                                mark + 1, " to ", durable));
    }
    const LogKey key = MakeLogKey(model, record.sequence);
    ENGRAM_ASSIGN_OR_RETURN(const absl::optional<std::string> stored,
                            engine_->Get(ColumnFamily::kLog, ToView(key)));
    if (!stored.has_value()) return absl::DataLossError(absl::StrCat(name, " is missing"));
    const absl::optional<RecordView> before = ParseRecord(ToView(key), *stored);
    if (!before.has_value()) {
      return absl::DataLossError(absl::StrCat(name, " fails its checksum"));
    }
    std::string value;
    MakeRecordHeader(key, {record.kind, before->time_ms, ""}, Crc32c(record.payload), &value);
    value.append(record.payload);
    batch.Put(engine_->handle_of(ColumnFamily::kLog), ToSlice(ToView(key)), value);
  }
  return engine_->Write(&batch, Durability::kSynced);
}

absl::Status RocksDbModelCatalog::PutErasure(ModelUid model, absl::string_view name,
                                             std::string row) {
  const std::string key = ErasureKey(model, name);
  return engine_->Put(ColumnFamily::kMeta, key, Seal(key, std::move(row)), Durability::kSynced);
}

absl::StatusOr<absl::optional<std::string>> RocksDbModelCatalog::FindErasure(
    ModelUid model, absl::string_view name) const {
  const std::string key = ErasureKey(model, name);
  ENGRAM_ASSIGN_OR_RETURN(const absl::optional<std::string> stored,
                          engine_->Get(ColumnFamily::kMeta, key));
  if (!stored.has_value()) return absl::optional<std::string>();
  const absl::optional<absl::string_view> body = Unseal(key, *stored);
  if (body.has_value()) return absl::optional<std::string>(std::string(*body));
  return absl::DataLossError(
      absl::StrCat("row of an erasure of model ", model, " fails its checksum"));
}

absl::Status RocksDbModelCatalog::RemoveErasure(ModelUid model, absl::string_view name) {
  return engine_->Delete(ColumnFamily::kMeta, ErasureKey(model, name), Durability::kSynced);
}

absl::Status RocksDbModelCatalog::RemoveErasures(ModelUid model) {
  const std::string prefix = MetaKey(MetaTag::kErasure, model);
  return engine_
      ->RemoveRange(ColumnFamily::kMeta, prefix, PrefixEnd(prefix), prefix, Durability::kSynced)
      .status();
}

absl::Status RocksDbEngine::Purge(const std::vector<KeyRange>& ranges) {
  ENGRAM_RETURN_IF_ERROR(Health());
  // Every memtable goes to a table, so that no write-ahead log of now is needed any more.
  ENGRAM_RETURN_IF_ERROR(Convert(db_->Flush(rocksdb::FlushOptions(), handles_)));
  rocksdb::CompactRangeOptions options;
  options.exclusive_manual_compaction = false;
  options.bottommost_level_compaction = rocksdb::BottommostLevelCompaction::kForceOptimized;
  for (const KeyRange& range : ranges) {
    const rocksdb::Slice begin = ToSlice(range.begin);
    const rocksdb::Slice end = ToSlice(range.end);
    ENGRAM_RETURN_IF_ERROR(
        Convert(db_->CompactRange(options, handle_of(range.family), &begin, &end)));
  }
  // Files that nothing names go now and not when RocksDB next looks for them.
  ENGRAM_RETURN_IF_ERROR(Convert(db_->DisableFileDeletions()));
  ENGRAM_RETURN_IF_ERROR(Convert(db_->EnableFileDeletions(/*force=*/false)));
  uint64_t enabled = 1;  // what the property really says in 7.8.3
  db_->GetIntProperty(rocksdb::DB::Properties::kIsFileDeletionsEnabled, &enabled);
  if (enabled != 0) return absl::OkStatus();
  return absl::UnavailableError("files with what was erased are held by a copy being made");
}

absl::Status RocksDbStore::Purge(ModelUid model, absl::Span<const Sequence> rewritten) {
  std::vector<Sequence> sequences(rewritten.begin(), rewritten.end());
  std::sort(sequences.begin(), sequences.end());
  std::vector<RocksDbEngine::KeyRange> ranges;
  const std::string meta_end(1, '\xff');
  ranges.push_back({ColumnFamily::kMeta, "", meta_end});
  for (const ColumnFamily family : {ColumnFamily::kEpisodic, ColumnFamily::kHeldOut,
                                    ColumnFamily::kCheckpoints}) {
    ranges.push_back({family, ModelKey(model), ModelKey(model + 1)});
  }
  for (const char part : {'h', 't'}) {
    ranges.push_back(
        {ColumnFamily::kImportance, part + ModelKey(model), part + ModelKey(model + 1)});
  }
  for (size_t begin = 0; begin < sequences.size();) {
    size_t last = begin;
    while (last + 1 < sequences.size() && sequences[last + 1] - sequences[last] < kNearRecords) {
      ++last;
    }
    ranges.push_back({ColumnFamily::kLog, std::string(ToView(MakeLogKey(model, sequences[begin]))),
                      std::string(ToView(MakeLogKey(model, sequences[last])))});
    begin = last + 1;
  }
  return engine_->Purge(ranges);
}

}  // namespace engram::storage
