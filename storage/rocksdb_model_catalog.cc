#include "storage/rocksdb_model_catalog.h"

#include "absl/strings/str_cat.h"
#include "storage/base/failpoint.h"
#include "storage/base/status_macros.h"
#include "storage/codec.h"
#include "storage/meta_keys.h"

namespace engram::storage {
namespace {

using Durability = RocksDbEngine::Durability;

constexpr ColumnFamily kFamily = ColumnFamily::kMeta;

std::string NameOfWeights(ModelUid model) { return absl::StrCat("weights of model ", model); }

std::string EncodeRow(absl::string_view key, const ModelRow& row) {
  ByteWriter writer;
  writer.Text(row.name);
  writer.Text(row.spec);
  writer.Varint(row.paused ? 1 : 0);
  writer.SignedVarint(row.create_time_ms);
  if (row.weights.has_value()) {
    writer.Text(row.weights->file);
    writer.SignedVarint(row.weights->bytes);
    writer.Text(row.weights->sha256);
  }
  return Seal(key, writer.Take());
}

absl::StatusOr<ModelRow> DecodeRow(absl::string_view key, absl::string_view value) {
  const absl::optional<absl::string_view> body = Unseal(key, value);
  ByteReader reader(body.value_or(""));
  ModelRow row;
  row.uid = LastNumber(key);
  row.name = reader.Text();
  row.spec = reader.Text();
  row.paused = reader.Varint() != 0;
  row.create_time_ms = reader.SignedVarint();
  if (reader.ok() && !reader.AtEnd()) {
    row.weights.emplace();
    row.weights->file = reader.Text();
    row.weights->bytes = reader.SignedVarint();
    row.weights->sha256 = reader.Text();
  }
  if (!reader.ok() || !reader.AtEnd()) {
    return absl::DataLossError(
        absl::StrCat("catalog row of model ", row.uid, " fails its checksum"));
  }
  return row;
}

std::string EncodeUid(absl::string_view key, ModelUid uid) {
  ByteWriter writer;
  writer.Fixed64(uid);
  return Seal(key, writer.Take());
}

absl::Status Unknown(ModelUid model) {
  return absl::NotFoundError(absl::StrCat("no model with uid ", model));
}

}  // namespace

RocksDbModelCatalog::RocksDbModelCatalog(RocksDbEngine* engine, DiskWatch* disk,
                                         const StoreOptions& options)
    : engine_(engine),
      disk_(disk),
      now_ms_(options.now_ms),
      weights_folder_(absl::StrCat(options.folder, "/weights")) {}

absl::Status RocksDbModelCatalog::Recover() {
  base::MutexLock lock(&mutex_);
  ENGRAM_RETURN_IF_ERROR(RecoverUidCounter());
  ENGRAM_RETURN_IF_ERROR(RecoverRows());
  ENGRAM_RETURN_IF_ERROR(RecoverPauseReasons());
  return RecoverOrphans();
}

absl::Status RocksDbModelCatalog::RecoverUidCounter() {
  const std::string key = MetaKey(MetaTag::kUidCounter);
  ENGRAM_ASSIGN_OR_RETURN(const absl::optional<std::string> stored, engine_->Get(kFamily, key));
  if (!stored.has_value()) return absl::OkStatus();
  const absl::optional<absl::string_view> body = Unseal(key, *stored);
  ByteReader reader(body.value_or(""));
  last_uid_ = reader.Fixed64();
  return reader.ok() ? absl::OkStatus()
                     : absl::DataLossError("the counter of model uids fails its checksum");
}

absl::Status RocksDbModelCatalog::RecoverRows() {
  absl::Status damage;
  std::map<ModelUid, ModelRow> rows;
  const std::string prefix = MetaKey(MetaTag::kModel);
  ENGRAM_RETURN_IF_ERROR(
      engine_->Scan(kFamily, prefix, PrefixEnd(prefix),
                    [&rows, &damage](absl::string_view key, absl::string_view value) {
                      absl::StatusOr<ModelRow> row = DecodeRow(key, value);
                      damage = row.status();
                      if (row.ok()) rows[row->uid] = *std::move(row);
                      return damage.ok();
                    }));
  ENGRAM_RETURN_IF_ERROR(damage);
  if (!rows.empty() && rows.rbegin()->first > last_uid_) {
    return absl::DataLossError(
        absl::StrCat("model ", rows.rbegin()->first, " is above the last uid ", last_uid_));
  }
  rows_ = std::move(rows);
  return absl::OkStatus();
}

// In rows of their own, which an engramd that knows none passes over. Such a one may have resumed
// or removed the model.
absl::Status RocksDbModelCatalog::RecoverPauseReasons() {
  absl::Status damage;
  const std::string prefix = MetaKey(MetaTag::kReason);
  ENGRAM_RETURN_IF_ERROR(engine_->Scan(
      kFamily, prefix, PrefixEnd(prefix), [&](absl::string_view key, absl::string_view value) {
        const auto row = rows_.find(LastNumber(key));
        if (row == rows_.end() || !row->second.paused) return true;
        const absl::optional<absl::string_view> reason = Unseal(key, value);
        if (reason.has_value()) {
          row->second.pause_reason = std::string(*reason);
        } else {
          damage = absl::DataLossError(
              absl::StrCat("the pause reason of model ", row->first, " fails its checksum"));
        }
        return damage.ok();
      }));
  return damage;
}

absl::Status RocksDbModelCatalog::RecoverOrphans() {
  std::set<ModelUid> orphans;
  const std::string prefix = MetaKey(MetaTag::kOrphan);
  ENGRAM_RETURN_IF_ERROR(
      engine_->Scan(kFamily, prefix, PrefixEnd(prefix),
                    [&orphans](absl::string_view key, absl::string_view /*value*/) {
                      orphans.insert(LastNumber(key));
                      return true;
                    }));
  orphans_ = std::move(orphans);
  return absl::OkStatus();
}

absl::Status RocksDbModelCatalog::SweepWeights() {
  base::MutexLock lock(&mutex_);
  ENGRAM_RETURN_IF_ERROR(weights_folder_.Prepare());
  std::map<ModelUid, std::string> named;
  for (const auto& [uid, row] : rows_) {
    if (row.weights.has_value()) named[uid] = row.weights->file;
  }
  return weights_folder_
      .Sweep([&named](ModelUid model, absl::string_view file) -> absl::StatusOr<bool> {
        const auto found = named.find(model);
        return found != named.end() && found->second == file;
      })
      .status();
}

absl::StatusOr<WeightsFile> RocksDbModelCatalog::WriteWeights(ModelUid model, int64_t now_ms,
                                                              const StartingWeights& weights) {
  WeightsFile stored;
  stored.file = CheckpointFileName(ids_.Next(now_ms));
  stored.bytes = static_cast<int64_t>(weights.bytes.size());
  stored.sha256 = std::string(weights.sha256);
  disk_->Refresh();
  ENGRAM_RETURN_IF_ERROR(disk_->Check(stored.bytes));
  ENGRAM_RETURN_IF_ERROR(weights_folder_.Write(model, stored.file, weights.bytes));
  return stored;
}

absl::Status RocksDbModelCatalog::VerifyWeights(const ModelRow& row) const {
  const absl::Status found =
      weights_folder_.Verify(row.uid, row.weights->file, {row.weights->bytes, row.weights->sha256},
                             NameOfWeights(row.uid));
  base::MutexLock lock(&mutex_);
  return rows_.count(row.uid) > 0 ? found : absl::OkStatus();
}

absl::StatusOr<std::string> RocksDbModelCatalog::LoadWeights(ModelUid model) const {
  absl::optional<WeightsFile> stored;
  {
    base::MutexLock lock(&mutex_);
    const auto found = rows_.find(model);
    if (found == rows_.end()) return Unknown(model);
    stored = found->second.weights;
  }
  if (!stored.has_value()) return std::string();
  return weights_folder_.Read(model, stored->file, {stored->bytes, stored->sha256},
                              NameOfWeights(model));
}

absl::StatusOr<ModelRow> RocksDbModelCatalog::Create(absl::string_view name, std::string spec,
                                                     const StartingWeights& weights) {
  base::MutexLock lock(&mutex_);
  for (const auto& [uid, row] : rows_) {
    if (row.name == name) {
      return absl::AlreadyExistsError(absl::StrCat("model \"", name, "\" exists"));
    }
  }
  ModelRow row;
  row.uid = last_uid_ + 1;
  row.name = std::string(name);
  row.spec = std::move(spec);
  row.create_time_ms = now_ms_();
  if (!weights.bytes.empty()) {
    ENGRAM_ASSIGN_OR_RETURN(row.weights, WriteWeights(row.uid, row.create_time_ms, weights));
  }
  rocksdb::WriteBatch batch;
  const std::string counter_key = MetaKey(MetaTag::kUidCounter);
  const std::string row_key = MetaKey(MetaTag::kModel, row.uid);
  batch.Put(engine_->handle_of(kFamily), counter_key, EncodeUid(counter_key, row.uid));
  batch.Put(engine_->handle_of(kFamily), row_key, EncodeRow(row_key, row));
  ENGRAM_RETURN_IF_ERROR(ENGRAM_FAILPOINT_STATUS("create.before_row"));
  // A row whose write failed may still be there after a restart, so its file stays; the sweep at
  // open decides.
  ENGRAM_RETURN_IF_ERROR(engine_->Write(&batch, Durability::kSynced));
  ENGRAM_FAILPOINT("create.after_row");
  last_uid_ = row.uid;
  rows_[row.uid] = row;
  return row;
}

absl::StatusOr<std::vector<ModelRow>> RocksDbModelCatalog::List() const {
  base::MutexLock lock(&mutex_);
  std::vector<ModelRow> list;
  for (const auto& [uid, row] : rows_) list.push_back(row);
  return list;
}

absl::Status RocksDbModelCatalog::SetPaused(ModelUid model, bool paused) {
  base::MutexLock lock(&mutex_);
  const auto found = rows_.find(model);
  if (found == rows_.end()) return Unknown(model);
  ModelRow row = found->second;
  row.paused = paused;
  if (!paused) row.pause_reason.clear();
  return PutPause(std::move(row));
}

absl::Status RocksDbModelCatalog::PauseFor(ModelUid model, std::string reason) {
  base::MutexLock lock(&mutex_);
  const auto found = rows_.find(model);
  if (found == rows_.end()) return Unknown(model);
  ModelRow row = found->second;
  row.paused = true;
  row.pause_reason = std::move(reason);
  return PutPause(std::move(row));
}

absl::Status RocksDbModelCatalog::PutPause(ModelRow row) {
  rocksdb::WriteBatch batch;
  const std::string row_key = MetaKey(MetaTag::kModel, row.uid);
  const std::string reason_key = MetaKey(MetaTag::kReason, row.uid);
  batch.Put(engine_->handle_of(kFamily), row_key, EncodeRow(row_key, row));
  if (row.pause_reason.empty()) {
    batch.Delete(engine_->handle_of(kFamily), reason_key);
  } else {
    batch.Put(engine_->handle_of(kFamily), reason_key, Seal(reason_key, row.pause_reason));
  }
  ENGRAM_RETURN_IF_ERROR(engine_->Write(&batch, Durability::kSynced));
  ModelRow& kept = rows_[row.uid];
  kept = std::move(row);
  return absl::OkStatus();
}

absl::Status RocksDbModelCatalog::Remove(ModelUid model) {
  base::MutexLock lock(&mutex_);
  const auto row = rows_.find(model);
  if (row == rows_.end()) return Unknown(model);
  rocksdb::WriteBatch batch;
  batch.Delete(engine_->handle_of(kFamily), MetaKey(MetaTag::kModel, model));
  batch.Delete(engine_->handle_of(kFamily), MetaKey(MetaTag::kReason, model));
  batch.Put(engine_->handle_of(kFamily), MetaKey(MetaTag::kOrphan, model), "");
  ENGRAM_RETURN_IF_ERROR(ENGRAM_FAILPOINT_STATUS("delete.before_row"));
  ENGRAM_RETURN_IF_ERROR(engine_->Write(&batch, Durability::kSynced));
  ENGRAM_FAILPOINT("delete.after_row");
  const absl::optional<WeightsFile> weights = std::move(row->second.weights);
  rows_.erase(row);
  orphans_.insert(model);
  if (!weights.has_value()) return absl::OkStatus();
  // What cannot be removed now, the sweep at open will.
  weights_folder_.Remove(model, weights->file).IgnoreError();
  weights_folder_.RemoveFolder(model);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<ModelUid>> RocksDbModelCatalog::Orphans() const {
  base::MutexLock lock(&mutex_);
  return std::vector<ModelUid>(orphans_.begin(), orphans_.end());
}

absl::Status RocksDbModelCatalog::ForgetOrphan(ModelUid model) {
  base::MutexLock lock(&mutex_);
  ENGRAM_RETURN_IF_ERROR(ENGRAM_FAILPOINT_STATUS("delete.before_forget"));
  ENGRAM_RETURN_IF_ERROR(
      engine_->Delete(kFamily, MetaKey(MetaTag::kOrphan, model), Durability::kSynced));
  orphans_.erase(model);
  return absl::OkStatus();
}

absl::Status RocksDbModelCatalog::PutReportRow(ModelUid model, Sequence boundary, std::string row) {
  const std::string key = MetaKey(MetaTag::kReport, model, boundary);
  return engine_->Put(kFamily, key, Seal(key, std::move(row)), Durability::kSynced);
}

absl::StatusOr<std::vector<std::pair<Sequence, std::string>>> RocksDbModelCatalog::ReportRows(
    ModelUid model) const {
  std::vector<std::pair<Sequence, std::string>> rows;
  absl::Status damage;
  const std::string prefix = MetaKey(MetaTag::kReport, model);
  ENGRAM_RETURN_IF_ERROR(engine_->Scan(
      kFamily, prefix, PrefixEnd(prefix), [&](absl::string_view key, absl::string_view value) {
        const absl::optional<absl::string_view> body = Unseal(key, value);
        if (body.has_value()) {
          rows.emplace_back(LastNumber(key), std::string(*body));
        } else {
          damage = absl::DataLossError(absl::StrCat("report row ", LastNumber(key), " of model ",
                                                    model, " fails its checksum"));
        }
        return damage.ok();
      }));
  ENGRAM_RETURN_IF_ERROR(damage);
  return rows;
}

absl::Status RocksDbModelCatalog::RemoveReportRows(ModelUid model) {
  const std::string prefix = MetaKey(MetaTag::kReport, model);
  return engine_->RemoveRange(kFamily, prefix, PrefixEnd(prefix), prefix, Durability::kSynced)
      .status();
}

}  // namespace engram::storage
