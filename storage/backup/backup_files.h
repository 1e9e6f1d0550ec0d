// The file work of backups: copies that are summed while they are written, and durable when they
// are said to be.
//
// Threading: free functions; `cancelled` is asked on the calling thread.
// Failure: DATA_LOSS naming a file that is missing or not what was expected, FAILED_PRECONDITION
//   for one that is not a regular file, RESOURCE_EXHAUSTED for a full disk, CANCELLED, UNAVAILABLE
//   for other I/O errors. Messages name files by their path inside the store.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "storage/backup/backup_manifest.h"

namespace engram::storage {

using Cancelled = std::function<bool()>;  // null: never

// The size and sum of FOLDER/PATH; `path` is also how messages name it.
absl::StatusOr<BackedUpFile> SumFile(const std::string& folder, const std::string& path,
                                     const Cancelled& cancelled);
// The same while copying it to a new file TARGET/PATH, whose folders are made and which is synced.
absl::StatusOr<BackedUpFile> CopyFile(const std::string& folder, const std::string& path,
                                      const std::string& target, const Cancelled& cancelled);
// DATA_LOSS where `found` is not what `expected` says.
absl::Status CheckSum(const BackedUpFile& expected, const BackedUpFile& found);

// A new file with this text, synced.
absl::Status WriteSynced(const std::string& path, absl::string_view text);
// Every regular file below `folder`, by its path inside; sorted.
absl::StatusOr<std::vector<std::string>> ListFiles(const std::string& folder);
// Syncs `folder` and every folder in it.
absl::Status SyncFolders(const std::string& folder);
// OK when it is not there.
absl::Status RemoveTree(const std::string& folder);
// RESOURCE_EXHAUSTED when the disk of `folder` has no room for `bytes` beside `reserve_bytes`.
absl::Status AskForRoom(const std::string& folder, int64_t bytes, int64_t reserve_bytes);

}  // namespace engram::storage
