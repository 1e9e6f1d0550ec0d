#include "tests/testing/storage/fake_parts.h"

#include <algorithm>

namespace engram::testing {

using storage::ExemplarKey;
using storage::HeldOutRow;
using storage::ImportanceRow;
using storage::ModelRow;
using storage::ModelUid;
using storage::Sequence;

absl::Status FakeStore::Episodic::Put(
    ModelUid model, absl::Span<const std::pair<ExemplarKey, std::string>> payloads) {
  base::MutexLock lock(&mutex_);
  for (const auto& [key, payload] : payloads) payloads_[model][key] = payload;
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::string>> FakeStore::Episodic::Read(
    ModelUid model, absl::Span<const ExemplarKey> keys) const {
  base::MutexLock lock(&mutex_);
  std::vector<std::string> payloads;
  const auto stored = payloads_.find(model);
  for (const ExemplarKey& key : keys) {
    if (stored == payloads_.end() || stored->second.count(key) == 0) {
      return absl::DataLossError(absl::StrCat("exemplar (memory ", key.memory, ", sequence ",
                                              key.sequence, ", revision ", key.revision,
                                              ") of model ", model, " is missing"));
    }
    payloads.push_back(stored->second.at(key));
  }
  return payloads;
}

absl::StatusOr<std::vector<ExemplarKey>> FakeStore::Episodic::Keys(ModelUid model) const {
  base::MutexLock lock(&mutex_);
  std::vector<ExemplarKey> keys;
  if (const auto stored = payloads_.find(model); stored != payloads_.end()) {
    for (const auto& [key, payload] : stored->second) keys.push_back(key);
  }
  return keys;
}

absl::StatusOr<int64_t> FakeStore::Episodic::Sweep(ModelUid model, std::vector<ExemplarKey> keep) {
  base::MutexLock lock(&mutex_);
  std::sort(keep.begin(), keep.end());
  int64_t removed = 0;
  auto& stored = payloads_[model];
  for (auto it = stored.begin(); it != stored.end();) {
    const bool kept = std::binary_search(keep.begin(), keep.end(), it->first);
    removed += kept ? 0 : 1;
    it = kept ? std::next(it) : stored.erase(it);
  }
  return removed;
}

absl::Status FakeStore::Episodic::RemoveAll(ModelUid model) {
  base::MutexLock lock(&mutex_);
  payloads_.erase(model);
  return absl::OkStatus();
}

absl::Status FakeStore::Importance::Put(ModelUid model, const ImportanceRow& row,
                                        int64_t bytes_max) {
  base::MutexLock lock(&mutex_);
  ImportanceRow stored = row;
  stored.bytes = static_cast<int64_t>(row.tensors.size());
  if (stored.bytes > bytes_max) {
    return absl::ResourceExhaustedError(absl::StrCat("importance snapshot of ", stored.bytes,
                                                     " bytes is above the limit of ", bytes_max));
  }
  auto& rows = rows_[model];
  rows[{row.boundary, row.position}] = stored;
  int64_t total = 0;
  for (const auto& [key, kept] : rows) total += kept.bytes;
  while (total > bytes_max) {
    total -= rows.begin()->second.bytes;
    rows.erase(rows.begin());
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<ImportanceRow>> FakeStore::Importance::List(ModelUid model) const {
  base::MutexLock lock(&mutex_);
  std::vector<ImportanceRow> list;
  if (const auto rows = rows_.find(model); rows != rows_.end()) {
    for (const auto& [key, row] : rows->second) {
      list.push_back(row);
      list.back().tensors.clear();
    }
  }
  return list;
}

absl::StatusOr<ImportanceRow> FakeStore::Importance::Read(ModelUid model, Sequence boundary,
                                                          uint32_t position) const {
  base::MutexLock lock(&mutex_);
  const auto rows = rows_.find(model);
  if (rows == rows_.end() || rows->second.count({boundary, position}) == 0) {
    return absl::NotFoundError(
        absl::StrCat("no importance snapshot of boundary ", boundary, ", strategy ", position));
  }
  return rows->second.at({boundary, position});
}

absl::Status FakeStore::Importance::RemoveRange(ModelUid model, Sequence after, Sequence up_to) {
  base::MutexLock lock(&mutex_);
  auto& rows = rows_[model];
  rows.erase(rows.lower_bound({after + 1, 0}), rows.upper_bound({up_to, UINT32_MAX}));
  return absl::OkStatus();
}

absl::Status FakeStore::Importance::RemoveAll(ModelUid model) {
  base::MutexLock lock(&mutex_);
  rows_.erase(model);
  return absl::OkStatus();
}

absl::Status FakeStore::HeldOut::Put(ModelUid model, absl::Span<const HeldOutRow> rows) {
  base::MutexLock lock(&mutex_);
  for (const HeldOutRow& row : rows) rows_[model][{row.task, row.sequence}] = row.payload;
  return absl::OkStatus();
}

absl::Status FakeStore::HeldOut::Delete(ModelUid model, absl::string_view task, Sequence sequence) {
  base::MutexLock lock(&mutex_);
  rows_[model].erase({std::string(task), sequence});
  return absl::OkStatus();
}

absl::Status FakeStore::HeldOut::ForEach(ModelUid model,
                                         const std::function<bool(HeldOutRow)>& visit) const {
  std::map<Key, std::string> rows;
  {
    base::MutexLock lock(&mutex_);
    if (const auto found = rows_.find(model); found != rows_.end()) rows = found->second;
  }
  for (const auto& [key, payload] : rows) {
    if (!visit({key.first, key.second, payload})) break;
  }
  return absl::OkStatus();
}

absl::Status FakeStore::HeldOut::RemoveAll(ModelUid model) {
  base::MutexLock lock(&mutex_);
  rows_.erase(model);
  return absl::OkStatus();
}

absl::StatusOr<ModelRow> FakeStore::Catalog::Create(absl::string_view name, std::string spec,
                                                    const storage::StartingWeights& weights) {
  base::MutexLock lock(&mutex_);
  for (const auto& [uid, row] : rows_) {
    if (row.name == name) {
      return absl::AlreadyExistsError(absl::StrCat("model \"", name, "\" exists"));
    }
  }
  ModelRow row;
  row.uid = ++last_uid_;
  row.name = std::string(name);
  row.spec = std::move(spec);
  row.create_time_ms = shared_->options.now_ms();
  if (!weights.bytes.empty()) {
    row.weights = {"fake", static_cast<int64_t>(weights.bytes.size()), std::string(weights.sha256)};
    weights_[row.uid] = std::string(weights.bytes);
  }
  rows_[row.uid] = row;
  return row;
}

absl::StatusOr<std::string> FakeStore::Catalog::LoadWeights(ModelUid model) const {
  base::MutexLock lock(&mutex_);
  ++weights_loads_;
  const auto found = weights_.find(model);
  return found == weights_.end() ? std::string() : found->second;
}

int64_t FakeStore::Catalog::weights_loads() const {
  base::MutexLock lock(&mutex_);
  return weights_loads_;
}

absl::StatusOr<std::vector<ModelRow>> FakeStore::Catalog::List() const {
  base::MutexLock lock(&mutex_);
  std::vector<ModelRow> list;
  for (const auto& [uid, row] : rows_) list.push_back(row);
  return list;
}

absl::Status FakeStore::Catalog::SetPaused(ModelUid model, bool paused) {
  base::MutexLock lock(&mutex_);
  const auto row = rows_.find(model);
  if (row == rows_.end()) return absl::NotFoundError(absl::StrCat("no model with uid ", model));
  row->second.paused = paused;
  if (!paused) row->second.pause_reason.clear();
  return absl::OkStatus();
}

absl::Status FakeStore::Catalog::PauseFor(ModelUid model, std::string reason) {
  const absl::Status paused = SetPaused(model, true);
  base::MutexLock lock(&mutex_);
  if (paused.ok()) rows_[model].pause_reason = std::move(reason);
  return paused;
}

absl::Status FakeStore::Catalog::Remove(ModelUid model) {
  base::MutexLock lock(&mutex_);
  if (rows_.erase(model) == 0) {
    return absl::NotFoundError(absl::StrCat("no model with uid ", model));
  }
  orphans_.insert(model);
  weights_.erase(model);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<ModelUid>> FakeStore::Catalog::Orphans() const {
  base::MutexLock lock(&mutex_);
  return std::vector<ModelUid>(orphans_.begin(), orphans_.end());
}

absl::Status FakeStore::Catalog::ForgetOrphan(ModelUid model) {
  base::MutexLock lock(&mutex_);
  orphans_.erase(model);
  return absl::OkStatus();
}

absl::Status FakeStore::Catalog::PutReportRow(ModelUid model, Sequence boundary, std::string row) {
  base::MutexLock lock(&mutex_);
  report_rows_[model][boundary] = std::move(row);
  return absl::OkStatus();
}

absl::StatusOr<std::vector<std::pair<Sequence, std::string>>> FakeStore::Catalog::ReportRows(
    ModelUid model) const {
  base::MutexLock lock(&mutex_);
  std::vector<std::pair<Sequence, std::string>> rows;
  if (const auto found = report_rows_.find(model); found != report_rows_.end()) {
    rows.assign(found->second.begin(), found->second.end());
  }
  return rows;
}

absl::Status FakeStore::Catalog::RemoveReportRows(ModelUid model) {
  base::MutexLock lock(&mutex_);
  report_rows_.erase(model);
  return absl::OkStatus();
}

absl::Status FakeStore::Catalog::PutErasure(ModelUid model, absl::string_view name,
                                            std::string row) {
  base::MutexLock lock(&mutex_);
  erasures_[model][std::string(name)] = std::move(row);
  return absl::OkStatus();
}

absl::StatusOr<absl::optional<std::string>> FakeStore::Catalog::FindErasure(
    ModelUid model, absl::string_view name) const {
  base::MutexLock lock(&mutex_);
  const auto rows = erasures_.find(model);
  if (rows == erasures_.end()) return absl::optional<std::string>();
  const auto row = rows->second.find(std::string(name));
  if (row == rows->second.end()) return absl::optional<std::string>();
  return absl::optional<std::string>(row->second);
}

absl::Status FakeStore::Catalog::RemoveErasure(ModelUid model, absl::string_view name) {
  base::MutexLock lock(&mutex_);
  erasures_[model].erase(std::string(name));
  return absl::OkStatus();
}

absl::Status FakeStore::Catalog::RemoveErasures(ModelUid model) {
  base::MutexLock lock(&mutex_);
  erasures_.erase(model);
  return absl::OkStatus();
}

}  // namespace engram::testing
