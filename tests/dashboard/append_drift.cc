// append_drift DATA_DIR MODEL NEXT_TASK: puts a boundary of source DRIFT behind the log of a model,
// whose server is stopped. The log, the report and the page know such boundaries, and nothing in
// the server sets one yet: so what shows them is tested before a real server all the same.
#include <iostream>
#include <string>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/str_cat.h"
#include "absl/synchronization/notification.h"
#include "engram/internal/records.pb.h"
#include "server/record_kind.h"
#include "storage/base/status_macros.h"
#include "storage/store.h"

namespace engram {
namespace {

absl::Status AppendDrift(const std::string& folder, const std::string& name,
                         const std::string& next_task) {
  storage::StoreOptions options;
  options.folder = folder;
  ENGRAM_ASSIGN_OR_RETURN(const auto store, storage::OpenStore(options));
  ENGRAM_ASSIGN_OR_RETURN(const auto models, store->catalog().List());
  storage::Submission submission;
  for (const storage::ModelRow& model : models) {
    if (model.name == name) submission.model = model.uid;
  }
  if (submission.model == 0) return absl::NotFoundError(absl::StrCat("no model ", name));
  ENGRAM_RETURN_IF_ERROR(store->log().Open(submission.model));
  internal::BoundaryRecord boundary;
  boundary.set_next_task(next_task);
  boundary.set_source(internal::BoundaryRecord::DRIFT);
  submission.records.push_back(
      {static_cast<uint8_t>(server::RecordKind::kBoundary), boundary.SerializeAsString()});
  absl::Notification done;
  absl::Status outcome;
  ENGRAM_RETURN_IF_ERROR(store->log()
                             .Submit(std::move(submission),
                                     [&](const absl::Status& status) {
                                       outcome = status;
                                       done.Notify();
                                     })
                             .status());
  done.WaitForNotification();
  return outcome;
}

}  // namespace
}  // namespace engram

int main(int count, char** words) {
  if (count != 4) {
    std::cerr << "usage: append_drift DATA_DIR MODEL NEXT_TASK\n";
    return 2;
  }
  const absl::Status status = engram::AppendDrift(words[1], words[2], words[3]);
  if (!status.ok()) std::cerr << status << "\n";
  return status.ok() ? 0 : 1;
}
