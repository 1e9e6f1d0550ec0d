// What a backup holds, file by file, as it is written beside the files: the last of them to be
// written, so that a folder without it is no backup.
//
// The form is text, a line a fact: "engram-backup FORMAT", "name NAME", "created MILLISECONDS",
// "model UID NAME SEQUENCE", "file SHA256 BYTES PATH", and last "end SHA256" over all lines before.
//
// Threading: free functions.
// Failure: DATA_LOSS for text that is not whole or not of this form (a path that leaves the backup
//   among it), FAILED_PRECONDITION for a newer format.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "storage/types.h"

namespace engram::storage {

struct BackedUpModel {
  ModelUid uid = 0;
  std::string name;
  Sequence durable = 0;  // the log is in the backup up to here
};

struct BackedUpFile {
  std::string path;  // in the store's folder
  int64_t bytes = 0;
  std::string sha256;  // hex
};

struct BackupManifest {
  std::string name;
  int64_t create_time_ms = 0;
  std::vector<BackedUpModel> models;
  std::vector<BackedUpFile> files;
  // How long writes waited while this was made; not part of the text.
  double pause_seconds = 0;

  int64_t Bytes() const;
};

constexpr int kBackupFormat = 1;
constexpr int64_t kManifestBytesMax = 64 << 20;

std::string EncodeManifest(const BackupManifest& manifest);
absl::StatusOr<BackupManifest> ParseManifest(absl::string_view text);

// [A-Za-z0-9_-][A-Za-z0-9._-]{0,63}: a folder of its own, and never one that is not finished.
bool IsBackupName(absl::string_view name);

}  // namespace engram::storage
