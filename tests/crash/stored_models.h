// The stored state of a server that has stopped, read and written through the storage contracts:
// logs out of one folder, the same logs into a new one.
//
// Threading: free functions. Failure: statuses of storage.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/sample_log.h"
#include "storage/types.h"

namespace engram::crash {

struct StoredModel {
  std::string name;
  std::string spec;
  std::vector<storage::LogRecord> records;
  // Members of the checkpoint that was asked for.
  std::vector<storage::ExemplarKey> members;
};

// Every model with its log behind the trim mark; `checkpoints` names one checkpoint a model by id,
// its members are read too.
absl::StatusOr<std::vector<StoredModel>> ReadModels(
    const std::string& folder, const std::map<std::string, std::string>& checkpoints);

// Opens the store and reads everything in it: tables, checkpoints, weights.
absl::Status ScrubStored(const std::string& folder);

struct ModelToWrite {
  std::string name;
  std::string spec;
  std::vector<storage::NewRecord> records;
};
// Into an empty folder: catalogue rows, then every record by Submit.
absl::Status WriteModels(const std::string& folder, const std::vector<ModelToWrite>& models);

}  // namespace engram::crash
