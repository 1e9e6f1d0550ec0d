#include "storage/rocksdb_checkpoint_store.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "storage/base/check.h"
#include "storage/base/failpoint.h"
#include "storage/base/status_macros.h"
#include "storage/checkpoint_row.h"
#include "storage/codec.h"
#include "storage/sha256.h"

namespace engram::storage {
namespace {

using Durability = RocksDbEngine::Durability;

constexpr size_t kLabelBytesMax = 256;

std::string RowKey(ModelUid model, absl::string_view id) {
  std::string key;
  AppendBig64(&key, model);
  key.append(id.data(), id.size());
  return key;
}

std::string NameOf(const CheckpointRow& row) { return absl::StrCat("checkpoint ", row.id); }

// What may be a label; whatever has the form of an id is looked up as one.
absl::Status CheckLabel(absl::string_view label) {
  const bool printable = std::all_of(label.begin(), label.end(),
                                     [](char c) { return c >= ' ' && c <= '~' && c != '/'; });
  if (label.size() > kLabelBytesMax || !printable || IsCheckpointId(label) || label == "." ||
      label == "..") {
    return absl::InvalidArgumentError(
        absl::StrCat("checkpoint label: expected at most ", kLabelBytesMax,
                     " printable characters without '/', and not the form of a checkpoint id"));
  }
  return absl::OkStatus();
}

}  // namespace

RocksDbCheckpointStore::RocksDbCheckpointStore(RocksDbEngine* engine, DiskWatch* disk,
                                               const StoreOptions& options)
    : engine_(engine),
      disk_(disk),
      options_(options),
      folder_(absl::StrCat(options.folder, "/checkpoints")) {
  ENGRAM_CHECK(options_.now_ms != nullptr);
}

absl::Status RocksDbCheckpointStore::Prepare() {
  ENGRAM_RETURN_IF_ERROR(folder_.Prepare());
  return folder_
      .Sweep([this](ModelUid model, absl::string_view file) -> absl::StatusOr<bool> {
        ENGRAM_ASSIGN_OR_RETURN(const std::vector<CheckpointRow> rows, List(model));
        return std::any_of(rows.begin(), rows.end(),
                           [file](const CheckpointRow& row) { return row.file == file; });
      })
      .status();
}

base::Mutex* RocksDbCheckpointStore::MutexOf(ModelUid model) {
  base::MutexLock lock(&mutex_);
  std::unique_ptr<base::Mutex>& mutex = model_mutexes_[model];
  if (mutex == nullptr) mutex = std::make_unique<base::Mutex>();
  return mutex.get();
}

absl::Status RocksDbCheckpointStore::CheckRoom(ModelUid model, absl::string_view label) const {
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<CheckpointRow> rows, List(model));
  for (const CheckpointRow& row : rows) {
    if (!label.empty() && row.label == label) {
      return absl::AlreadyExistsError(
          absl::StrCat("checkpoint label \"", label, "\" is taken by ", row.id));
    }
  }
  if (static_cast<int64_t>(rows.size()) >= options_.checkpoints_max) {
    return absl::OutOfRangeError(absl::StrCat(
        "model keeps ", rows.size(), " checkpoints, the limit is ", options_.checkpoints_max,
        ": delete one, or raise limits.checkpoints"));
  }
  return absl::OkStatus();
}

absl::Status RocksDbCheckpointStore::PutRow(ModelUid model, const CheckpointRow& row) {
  const std::string key = RowKey(model, row.id);
  ENGRAM_RETURN_IF_ERROR(ENGRAM_FAILPOINT_STATUS("checkpoint.before_row"));
  ENGRAM_RETURN_IF_ERROR(engine_->Put(ColumnFamily::kCheckpoints, key,
                                      EncodeCheckpointRow(key, row), Durability::kSynced));
  ENGRAM_FAILPOINT("checkpoint.after_row");
  return absl::OkStatus();
}

absl::StatusOr<CheckpointRow> RocksDbCheckpointStore::Put(ModelUid model,
                                                          NewCheckpoint checkpoint) {
  ENGRAM_RETURN_IF_ERROR(CheckLabel(checkpoint.label));
  ENGRAM_RETURN_IF_ERROR(engine_->Health());
  disk_->Refresh();
  ENGRAM_RETURN_IF_ERROR(disk_->Check(static_cast<int64_t>(checkpoint.tensors.size())));
  base::MutexLock lock(MutexOf(model));
  ENGRAM_RETURN_IF_ERROR(CheckRoom(model, checkpoint.label));
  CheckpointRow row;
  row.create_time_ms = options_.now_ms();
  row.id = ids_.Next(row.create_time_ms);
  row.label = std::move(checkpoint.label);
  row.automatic = checkpoint.automatic;
  row.applied = checkpoint.applied;
  row.file = CheckpointFileName(row.id);
  row.bytes = static_cast<int64_t>(checkpoint.tensors.size());
  row.sha256 = Sha256Hex(checkpoint.tensors);
  row.format_version = kFormatVersion;
  row.compute = std::move(checkpoint.compute);
  row.stream_state = std::move(checkpoint.stream_state);
  row.members = std::move(checkpoint.members);
  ENGRAM_RETURN_IF_ERROR(folder_.Write(model, row.file, checkpoint.tensors));
  // A row whose write failed may still be there after a restart, so its file stays; the sweep at
  // open decides.
  ENGRAM_RETURN_IF_ERROR(PutRow(model, row));
  return row;
}

absl::StatusOr<CheckpointRow> RocksDbCheckpointStore::PutAlias(ModelUid model,
                                                               absl::string_view source_id,
                                                               Sequence applied,
                                                               std::string stream_state) {
  base::MutexLock lock(MutexOf(model));
  ENGRAM_ASSIGN_OR_RETURN(CheckpointRow row, Find(model, source_id));
  ENGRAM_RETURN_IF_ERROR(CheckRoom(model, ""));
  row.create_time_ms = options_.now_ms();
  row.id = ids_.Next(row.create_time_ms);
  row.label.clear();
  row.automatic = true;
  row.applied = applied;
  row.stream_state = std::move(stream_state);
  ENGRAM_RETURN_IF_ERROR(PutRow(model, row));
  return row;
}

absl::StatusOr<CheckpointRow> RocksDbCheckpointStore::Find(ModelUid model,
                                                           absl::string_view id) const {
  if (IsCheckpointId(id)) {
    const std::string key = RowKey(model, id);
    ENGRAM_ASSIGN_OR_RETURN(const absl::optional<std::string> stored,
                            engine_->Get(ColumnFamily::kCheckpoints, key));
    if (stored.has_value()) return DecodeCheckpointRow(key, id, *stored);
  } else if (id.empty() || !CheckLabel(id).ok()) {
    return absl::InvalidArgumentError(
        "checkpoint id has invalid form: expected 26 characters of base32 or a label");
  }
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<CheckpointRow> rows, List(model));
  for (const CheckpointRow& row : rows) {
    if (row.label == id) return row;
  }
  const std::string available = absl::StrJoin(
      rows, ", ", [](std::string* out, const CheckpointRow& row) { absl::StrAppend(out, row.id); });
  return absl::NotFoundError(absl::StrCat(
      "checkpoint \"", id, "\" is not there; available: ", available.empty() ? "none" : available));
}

absl::StatusOr<std::vector<CheckpointRow>> RocksDbCheckpointStore::List(ModelUid model) const {
  std::vector<CheckpointRow> rows;
  absl::Status damage;
  const std::string begin = RowKey(model, "");
  ENGRAM_RETURN_IF_ERROR(engine_->Scan(ColumnFamily::kCheckpoints, begin, RowKey(model + 1, ""),
                                       [&](absl::string_view key, absl::string_view value) {
                                         absl::StatusOr<CheckpointRow> row = DecodeCheckpointRow(
                                             key, key.substr(begin.size()), value);
                                         damage = row.status();
                                         if (row.ok()) rows.push_back(*std::move(row));
                                         return damage.ok();
                                       }));
  ENGRAM_RETURN_IF_ERROR(damage);
  std::sort(rows.begin(), rows.end(), [](const CheckpointRow& a, const CheckpointRow& b) {
    return a.applied != b.applied ? a.applied > b.applied : a.id > b.id;
  });
  return rows;
}

std::string RocksDbCheckpointStore::NewestValid(ModelUid model,
                                                const CheckpointRow& damaged) const {
  const absl::StatusOr<std::vector<CheckpointRow>> rows = List(model);
  if (!rows.ok()) return "unknown";
  for (const CheckpointRow& row : *rows) {
    if (row.file != damaged.file && VerifyFile(model, row).ok()) return row.id;
  }
  return "none";
}

absl::Status RocksDbCheckpointStore::VerifyFile(ModelUid model, const CheckpointRow& row) const {
  return folder_.Verify(model, row.file, {row.bytes, row.sha256}, NameOf(row));
}

absl::Status RocksDbCheckpointStore::Verify(ModelUid model, const CheckpointRow& row) const {
  absl::Status found = VerifyFile(model, row);
  // A Delete may have taken the file since the caller read the row.
  if (absl::IsDataLoss(found) && absl::IsNotFound(Find(model, row.id).status())) {
    return absl::OkStatus();
  }
  return found;
}

absl::optional<CheckpointRow> RocksDbCheckpointStore::NewestWhole(ModelUid model) const {
  const absl::StatusOr<std::vector<CheckpointRow>> rows = List(model);
  if (!rows.ok()) return absl::nullopt;
  for (const CheckpointRow& row : *rows) {
    if (VerifyFile(model, row).ok()) return row;
  }
  return absl::nullopt;
}

absl::StatusOr<std::string> RocksDbCheckpointStore::Load(ModelUid model,
                                                         const CheckpointRow& row) const {
  absl::StatusOr<std::string> tensors =
      folder_.Read(model, row.file, {row.bytes, row.sha256}, NameOf(row));
  if (!absl::IsDataLoss(tensors.status())) return tensors;
  // A Delete may have taken the file since the caller read the row.
  if (absl::Status found = Find(model, row.id).status(); absl::IsNotFound(found)) return found;
  return absl::DataLossError(
      absl::StrCat(tensors.status().message(), "; newest valid: ", NewestValid(model, row)));
}

absl::Status RocksDbCheckpointStore::Delete(ModelUid model, absl::string_view id) {
  base::MutexLock lock(MutexOf(model));
  ENGRAM_ASSIGN_OR_RETURN(const CheckpointRow gone, Find(model, id));
  ENGRAM_RETURN_IF_ERROR(ENGRAM_FAILPOINT_STATUS("checkpoint.before_delete"));
  ENGRAM_RETURN_IF_ERROR(
      engine_->Delete(ColumnFamily::kCheckpoints, RowKey(model, gone.id), Durability::kSynced));
  ENGRAM_FAILPOINT("checkpoint.row_deleted");
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<CheckpointRow> rows, List(model));
  const bool shared = std::any_of(rows.begin(), rows.end(), [&gone](const CheckpointRow& row) {
    return row.file == gone.file;
  });
  return shared ? absl::OkStatus() : folder_.Remove(model, gone.file);
}

absl::Status RocksDbCheckpointStore::RemoveAll(ModelUid model) {
  base::MutexLock lock(MutexOf(model));
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<CheckpointRow> rows, List(model));
  rocksdb::WriteBatch batch;
  for (const CheckpointRow& row : rows) {
    batch.Delete(engine_->handle_of(ColumnFamily::kCheckpoints), RowKey(model, row.id));
  }
  ENGRAM_RETURN_IF_ERROR(engine_->Write(&batch, Durability::kSynced));
  for (const CheckpointRow& row : rows) {
    ENGRAM_RETURN_IF_ERROR(folder_.Remove(model, row.file));
  }
  folder_.RemoveFolder(model);
  return absl::OkStatus();
}

}  // namespace engram::storage
