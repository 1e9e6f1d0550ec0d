// Tensor files of checkpoints, and under another root the weights that models were started from:
// ROOT/<model uid>/<id>.safetensors, written beside their place, synced and renamed. Every name is
// built here from a number and a checked id, and opened relative to the folder without following
// links.
//
// Threading: every method from any thread; one file is written once.
// Failure: INVALID_ARGUMENT for a malformed file name, DATA_LOSS for a file that is missing or not
//   what was written, FAILED_PRECONDITION for what is not a regular file, RESOURCE_EXHAUSTED for a
//   full disk, UNAVAILABLE for other I/O errors.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "storage/types.h"

namespace engram::storage {

// "<id>.safetensors"
std::string CheckpointFileName(absl::string_view id);

// What was said of a tensor file when it was written.
struct TensorSum {
  int64_t bytes = 0;
  std::string sha256;  // hex
};

class CheckpointFolder {
 public:
  explicit CheckpointFolder(std::string root) : root_(std::move(root)) {}

  // Makes the root folder.
  absl::Status Prepare() const;
  // Durable, under its final name, when this returns OK; nothing is left behind otherwise.
  absl::Status Write(ModelUid model, absl::string_view file, absl::string_view bytes) const;
  // DATA_LOSS "<name>: ..." where the file is missing or not what `expected` says.
  absl::StatusOr<std::string> Read(ModelUid model, absl::string_view file,
                                   const TensorSum& expected, absl::string_view name) const;
  // The same, keeping none of it.
  absl::Status Verify(ModelUid model, absl::string_view file, const TensorSum& expected,
                      absl::string_view name) const;
  absl::Status Remove(ModelUid model, absl::string_view file) const;
  // Removes an empty folder of a model; OK when it is not there or not empty.
  void RemoveFolder(ModelUid model) const;

  // Deletes every file of ours, finished or not, that `is_named` does not claim, and the folders
  // that are empty then. Foreign files stay. Returns how many files went.
  absl::StatusOr<int64_t> Sweep(
      const std::function<absl::StatusOr<bool>(ModelUid model, absl::string_view file)>& is_named)
      const;

 private:
  std::string FolderOf(ModelUid model) const;
  absl::Status ReadChecked(ModelUid model, absl::string_view file, const TensorSum& expected,
                           absl::string_view name,
                           absl::FunctionRef<void(absl::string_view piece)> take) const;

  const std::string root_;
};

}  // namespace engram::storage
