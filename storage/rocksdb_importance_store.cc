#include "storage/rocksdb_importance_store.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "storage/base/status_macros.h"
#include "storage/codec.h"

namespace engram::storage {
namespace {

using Durability = RocksDbEngine::Durability;

constexpr ColumnFamily kFamily = ColumnFamily::kImportance;
constexpr size_t kPieceBytes = 1 << 20;
constexpr char kHead = 'h';
constexpr char kPiece = 't';

std::string ModelPrefix(char part, ModelUid model) {
  std::string key(1, part);
  AppendBig64(&key, model);
  return key;
}

std::string HeadKey(ModelUid model, Sequence boundary, uint32_t position) {
  std::string key = ModelPrefix(kHead, model);
  AppendBig64(&key, boundary);
  AppendBig32(&key, position);
  return key;
}

std::string PieceKey(ModelUid model, const ImportanceRow& row, size_t piece) {
  std::string key = ModelPrefix(kPiece, model);
  AppendBig64(&key, row.boundary);
  AppendBig32(&key, row.position);
  AppendBig32(&key, static_cast<uint32_t>(piece));
  return key;
}

size_t PieceCount(int64_t bytes) {
  return (static_cast<size_t>(bytes) + kPieceBytes - 1) / kPieceBytes;
}

std::string Name(const ImportanceRow& row) {
  return absl::StrCat("importance snapshot of boundary ", row.boundary, ", strategy ",
                      row.position);
}

std::string EncodeHead(absl::string_view key, const ImportanceRow& row) {
  ByteWriter writer;
  writer.Text(row.strategy);
  writer.Text(row.task);
  writer.Text(row.estimator);
  writer.Text(row.label_mode);
  writer.SignedVarint(row.examples);
  writer.Varint(row.tensors.size());
  return Seal(key, writer.Take());
}

absl::StatusOr<ImportanceRow> DecodeHead(absl::string_view key, absl::string_view value) {
  ImportanceRow row;
  row.boundary = ReadBig64(key.data() + 9);
  row.position = ReadBig32(key.data() + 17);
  const absl::optional<absl::string_view> body = Unseal(key, value);
  ByteReader reader(body.value_or(""));
  row.strategy = reader.Text();
  row.task = reader.Text();
  row.estimator = reader.Text();
  row.label_mode = reader.Text();
  row.examples = reader.SignedVarint();
  row.bytes = static_cast<int64_t>(reader.Varint());
  if (!reader.ok() || !reader.AtEnd()) {
    return absl::DataLossError(absl::StrCat(Name(row), " fails its checksum"));
  }
  return row;
}

}  // namespace

void RocksDbImportanceStore::AddRemoval(ModelUid model, const ImportanceRow& row,
                                        rocksdb::WriteBatch* batch) const {
  batch->Delete(engine_->handle_of(kFamily), HeadKey(model, row.boundary, row.position));
  for (size_t piece = 0; piece < PieceCount(row.bytes); ++piece) {
    batch->Delete(engine_->handle_of(kFamily), PieceKey(model, row, piece));
  }
}

absl::Status RocksDbImportanceStore::PutPieces(ModelUid model, const ImportanceRow& row) {
  for (size_t piece = 0; piece * kPieceBytes < row.tensors.size(); ++piece) {
    const std::string key = PieceKey(model, row, piece);
    ENGRAM_RETURN_IF_ERROR(
        engine_->Put(kFamily, key, Seal(key, row.tensors.substr(piece * kPieceBytes, kPieceBytes)),
                     Durability::kWithTheNext));
  }
  return absl::OkStatus();
}

absl::Status RocksDbImportanceStore::Put(ModelUid model, const ImportanceRow& row,
                                         int64_t bytes_max) {
  int64_t total = static_cast<int64_t>(row.tensors.size());
  if (total > bytes_max) {
    return absl::ResourceExhaustedError(
        absl::StrCat(Name(row), ": ", total, " bytes are above the limit of ", bytes_max));
  }
  base::MutexLock lock(&mutex_);
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<ImportanceRow> rows, List(model));
  rocksdb::WriteBatch batch;
  for (const ImportanceRow& old : rows) {
    const bool replaced = old.boundary == row.boundary && old.position == row.position;
    if (replaced) {
      // A head never stands before pieces of another snapshot.
      rocksdb::WriteBatch removal;
      AddRemoval(model, old, &removal);
      ENGRAM_RETURN_IF_ERROR(engine_->Write(&removal, Durability::kWithTheNext));
    } else {
      total += old.bytes;
    }
  }
  ENGRAM_RETURN_IF_ERROR(PutPieces(model, row));
  for (const ImportanceRow& old : rows) {
    if (total <= bytes_max) break;
    if (old.boundary == row.boundary && old.position == row.position) continue;
    AddRemoval(model, old, &batch);
    total -= old.bytes;
  }
  const std::string key = HeadKey(model, row.boundary, row.position);
  batch.Put(engine_->handle_of(kFamily), key, EncodeHead(key, row));
  return engine_->Write(&batch, Durability::kSynced);
}

absl::StatusOr<std::vector<ImportanceRow>> RocksDbImportanceStore::List(ModelUid model) const {
  std::vector<ImportanceRow> rows;
  absl::Status damage;
  ENGRAM_RETURN_IF_ERROR(engine_->Scan(kFamily, ModelPrefix(kHead, model),
                                       ModelPrefix(kHead, model + 1),
                                       [&](absl::string_view key, absl::string_view value) {
                                         absl::StatusOr<ImportanceRow> row = DecodeHead(key, value);
                                         damage = row.status();
                                         if (row.ok()) rows.push_back(*std::move(row));
                                         return damage.ok();
                                       }));
  ENGRAM_RETURN_IF_ERROR(damage);
  return rows;
}

absl::StatusOr<ImportanceRow> RocksDbImportanceStore::Read(ModelUid model, Sequence boundary,
                                                           uint32_t position) const {
  const std::string head_key = HeadKey(model, boundary, position);
  ENGRAM_ASSIGN_OR_RETURN(const absl::optional<std::string> head, engine_->Get(kFamily, head_key));
  if (!head.has_value()) {
    return absl::NotFoundError(
        absl::StrCat("no importance snapshot of boundary ", boundary, ", strategy ", position));
  }
  ENGRAM_ASSIGN_OR_RETURN(ImportanceRow row, DecodeHead(head_key, *head));
  row.tensors.reserve(static_cast<size_t>(row.bytes));
  for (size_t piece = 0; piece < PieceCount(row.bytes); ++piece) {
    const std::string key = PieceKey(model, row, piece);
    ENGRAM_ASSIGN_OR_RETURN(const absl::optional<std::string> stored, engine_->Get(kFamily, key));
    const absl::optional<absl::string_view> body =
        stored.has_value() ? Unseal(key, *stored) : absl::nullopt;
    if (!body.has_value()) {
      return absl::DataLossError(
          absl::StrCat(Name(row), ": piece ", piece,
                       stored.has_value() ? " fails its checksum" : " is missing"));
    }
    row.tensors.append(body->data(), body->size());
  }
  if (static_cast<int64_t>(row.tensors.size()) != row.bytes) {
    return absl::DataLossError(
        absl::StrCat(Name(row), ": expected ", row.bytes, " bytes, found ", row.tensors.size()));
  }
  return row;
}

absl::Status RocksDbImportanceStore::RemoveRange(ModelUid model, Sequence after, Sequence up_to) {
  base::MutexLock lock(&mutex_);
  ENGRAM_ASSIGN_OR_RETURN(const std::vector<ImportanceRow> rows, List(model));
  rocksdb::WriteBatch batch;
  for (const ImportanceRow& row : rows) {
    if (row.boundary > after && row.boundary <= up_to) AddRemoval(model, row, &batch);
  }
  return batch.Count() == 0 ? engine_->Health() : engine_->Write(&batch, Durability::kSynced);
}

absl::Status RocksDbImportanceStore::RemoveAll(ModelUid model) {
  base::MutexLock lock(&mutex_);
  for (const char part : {kHead, kPiece}) {
    const std::string begin = ModelPrefix(part, model);
    ENGRAM_RETURN_IF_ERROR(
        engine_
            ->RemoveRange(kFamily, begin, ModelPrefix(part, model + 1), begin, Durability::kSynced)
            .status());
  }
  return absl::OkStatus();
}

}  // namespace engram::storage
