#include <algorithm>

#include "storage/base/status_macros.h"
#include "storage/sha256.h"
#include "tests/testing/storage/fake_parts.h"

namespace engram::testing {

using storage::CheckpointRow;
using storage::ModelUid;
using storage::Sequence;

absl::Status FakeStore::Checkpoints::CheckRoom(ModelUid model, absl::string_view label) const {
  ENGRAM_RETURN_IF_ERROR(shared_->Refusal());
  const auto rows = rows_.find(model);
  if (rows == rows_.end()) return absl::OkStatus();
  for (const auto& [id, row] : rows->second) {
    if (!label.empty() && row.label == label) {
      return absl::AlreadyExistsError(
          absl::StrCat("checkpoint label \"", label, "\" is taken by ", id));
    }
  }
  if (static_cast<int64_t>(rows->second.size()) >= shared_->options.checkpoints_max) {
    return absl::OutOfRangeError(
        absl::StrCat("model ", model, " keeps ", rows->second.size(), " checkpoints, the limit"));
  }
  return absl::OkStatus();
}

absl::StatusOr<CheckpointRow> FakeStore::Checkpoints::Put(ModelUid model,
                                                          storage::NewCheckpoint checkpoint) {
  base::MutexLock lock(&mutex_);
  ENGRAM_RETURN_IF_ERROR(CheckRoom(model, checkpoint.label));
  CheckpointRow row;
  row.create_time_ms = shared_->options.now_ms();
  row.id = ids_.Next(row.create_time_ms);
  row.label = std::move(checkpoint.label);
  row.automatic = checkpoint.automatic;
  row.applied = checkpoint.applied;
  row.file = absl::StrCat(model, "/", row.id, ".safetensors");
  row.bytes = static_cast<int64_t>(checkpoint.tensors.size());
  row.sha256 = storage::Sha256Hex(checkpoint.tensors);
  row.format_version = kFormatVersion;
  row.compute = std::move(checkpoint.compute);
  row.stream_state = std::move(checkpoint.stream_state);
  row.members = std::move(checkpoint.members);
  files_[row.file] = std::move(checkpoint.tensors);
  rows_[model][row.id] = row;
  return row;
}

absl::StatusOr<CheckpointRow> FakeStore::Checkpoints::PutAlias(ModelUid model,
                                                               absl::string_view source_id,
                                                               Sequence applied,
                                                               std::string stream_state) {
  base::MutexLock lock(&mutex_);
  ENGRAM_ASSIGN_OR_RETURN(CheckpointRow row, FindLocked(model, source_id));
  ENGRAM_RETURN_IF_ERROR(CheckRoom(model, ""));
  row.create_time_ms = shared_->options.now_ms();
  row.id = ids_.Next(row.create_time_ms);
  row.label.clear();
  row.automatic = true;
  row.applied = applied;
  row.stream_state = std::move(stream_state);
  rows_[model][row.id] = row;
  return row;
}

absl::StatusOr<CheckpointRow> FakeStore::Checkpoints::FindLocked(ModelUid model,
                                                                 absl::string_view id) const {
  std::string present;
  if (const auto rows = rows_.find(model); rows != rows_.end()) {
    for (const auto& [row_id, row] : rows->second) {
      if (row_id == id || (!row.label.empty() && row.label == id)) return row;
      absl::StrAppend(&present, present.empty() ? "" : ", ", row_id);
    }
  }
  return absl::NotFoundError(absl::StrCat(
      "checkpoint \"", id, "\" is not there; available: ", present.empty() ? "none" : present));
}

absl::StatusOr<CheckpointRow> FakeStore::Checkpoints::Find(ModelUid model,
                                                           absl::string_view id) const {
  if (id.empty() || id.find('/') != absl::string_view::npos) {
    return absl::InvalidArgumentError("checkpoint id has invalid form");
  }
  base::MutexLock lock(&mutex_);
  return FindLocked(model, id);
}

absl::StatusOr<std::vector<CheckpointRow>> FakeStore::Checkpoints::List(ModelUid model) const {
  base::MutexLock lock(&mutex_);
  std::vector<CheckpointRow> list;
  if (const auto rows = rows_.find(model); rows != rows_.end()) {
    for (const auto& [id, row] : rows->second) list.push_back(row);
  }
  std::stable_sort(list.begin(), list.end(), [](const CheckpointRow& a, const CheckpointRow& b) {
    return a.applied != b.applied ? a.applied > b.applied : a.id > b.id;
  });
  return list;
}

absl::StatusOr<std::string> FakeStore::Checkpoints::Load(ModelUid model,
                                                         const CheckpointRow& row) const {
  base::MutexLock lock(&mutex_);
  const auto file = files_.find(row.file);
  if (file == files_.end()) {
    return absl::DataLossError(absl::StrCat("checkpoint ", row.id, ": its file is gone"));
  }
  const std::string found = storage::Sha256Hex(file->second);
  if (found != row.sha256) {
    return absl::DataLossError(
        absl::StrCat("checkpoint ", row.id, ": sha256 expected ", row.sha256, ", found ", found));
  }
  return file->second;
}

absl::Status FakeStore::Checkpoints::Delete(ModelUid model, absl::string_view id) {
  shared_->while_deleting();
  base::MutexLock lock(&mutex_);
  ENGRAM_ASSIGN_OR_RETURN(const CheckpointRow row, FindLocked(model, id));
  Rows& rows = rows_[model];
  rows.erase(row.id);
  const bool shared = std::any_of(rows.begin(), rows.end(), [&row](const auto& other) {
    return other.second.file == row.file;
  });
  if (!shared) files_.erase(row.file);
  return absl::OkStatus();
}

absl::Status FakeStore::Checkpoints::RemoveAll(ModelUid model) {
  base::MutexLock lock(&mutex_);
  for (const auto& [id, row] : rows_[model]) files_.erase(row.file);
  rows_.erase(model);
  return absl::OkStatus();
}

void FakeStore::Checkpoints::Corrupt(ModelUid model, std::string id) {
  base::MutexLock lock(&mutex_);
  absl::StatusOr<CheckpointRow> row = FindLocked(model, id);
  if (row.ok()) files_[row->file] += "!";
}

}  // namespace engram::testing
