#include "tests/crash/stored_models.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "absl/synchronization/notification.h"
#include "storage/base/status_macros.h"
#include "storage/store.h"

namespace engram::crash {
namespace {

constexpr size_t kChunk = 1000;

absl::StatusOr<std::unique_ptr<storage::Store>> Open(const std::string& folder) {
  storage::StoreOptions options;
  options.folder = folder;
  return storage::OpenStore(options);
}

absl::StatusOr<std::vector<storage::LogRecord>> ReadLog(storage::SampleLog& log,
                                                        storage::ModelUid model) {
  std::vector<storage::LogRecord> records;
  const storage::Sequence begin = log.TrimMark(model) + 1;
  while (true) {
    ENGRAM_ASSIGN_OR_RETURN(auto more,
                            log.Read(model, begin + records.size(), kChunk, 16 << 20));
    if (more.empty()) return records;
    for (auto& record : more) records.push_back(std::move(record));
  }
}

absl::Status SubmitAndWait(storage::SampleLog& log, storage::Submission submission) {
  absl::Notification done;
  absl::Status outcome;
  const auto submitted = log.Submit(std::move(submission), [&](const absl::Status& status) {
    outcome = status;
    done.Notify();
  });
  ENGRAM_RETURN_IF_ERROR(submitted.status());
  done.WaitForNotification();
  return outcome;
}

}  // namespace

absl::StatusOr<std::vector<StoredModel>> ReadModels(
    const std::string& folder, const std::map<std::string, std::string>& checkpoints) {
  ENGRAM_ASSIGN_OR_RETURN(auto store, Open(folder));
  ENGRAM_ASSIGN_OR_RETURN(const auto rows, store->catalog().List());
  std::vector<StoredModel> models;
  for (const storage::ModelRow& row : rows) {
    StoredModel model{row.name, row.spec, {}, {}};
    ENGRAM_RETURN_IF_ERROR(store->log().Open(row.uid));
    ENGRAM_ASSIGN_OR_RETURN(model.records, ReadLog(store->log(), row.uid));
    const auto wanted = checkpoints.find(row.name);
    if (wanted != checkpoints.end()) {
      ENGRAM_ASSIGN_OR_RETURN(auto checkpoint, store->checkpoints().Find(row.uid, wanted->second));
      model.members = std::move(checkpoint.members);
    }
    models.push_back(std::move(model));
  }
  return models;
}

absl::Status ScrubStored(const std::string& folder) {
  ENGRAM_ASSIGN_OR_RETURN(auto store, Open(folder));
  return store->Scrub();
}

absl::Status WriteModels(const std::string& folder, const std::vector<ModelToWrite>& models) {
  ENGRAM_ASSIGN_OR_RETURN(auto store, Open(folder));
  for (const ModelToWrite& model : models) {
    ENGRAM_ASSIGN_OR_RETURN(const auto row, store->catalog().Create(model.name, model.spec, {}));
    ENGRAM_RETURN_IF_ERROR(store->log().Open(row.uid));
    for (size_t at = 0; at < model.records.size(); at += kChunk) {
      const size_t end = std::min(model.records.size(), at + kChunk);
      storage::Submission submission;
      submission.model = row.uid;
      submission.records.assign(model.records.begin() + static_cast<ptrdiff_t>(at),
                                model.records.begin() + static_cast<ptrdiff_t>(end));
      ENGRAM_RETURN_IF_ERROR(SubmitAndWait(store->log(), std::move(submission)));
    }
  }
  return absl::OkStatus();
}

}  // namespace engram::crash
