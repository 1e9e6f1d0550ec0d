// Reads the binary form of CIFAR-10 (Krizhevsky 2009): records of 3 073 bytes, the label (0 to 9)
// and 32 x 32 pixels in three planes, red, green, blue.
//
// Threading: free functions without state.
// Ownership: the result owns its bytes; files are closed before the return.
// Failure: NOT_FOUND when there is no file; INVALID_ARGUMENT for a label above 9 or an empty file;
//   DATA_LOSS for a file that ends inside a record or fails its gzip checksum. Each names the file,
//   what was expected and what was found.
// Bounds: at most 1 GiB of pixels a set.
#pragma once

#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/datasets/row_set.h"

namespace engram::datasets {

// The records of one file, after those that `set` holds already.
absl::Status AppendCifar10(const std::string& path, RowSet* set);

// Training images are the files data_batch*.bin or train*.bin of a folder, test images test*.bin,
// in the order of their names.
absl::StatusOr<RowSplit> LoadCifar10Folder(const std::string& folder);

}  // namespace engram::datasets
