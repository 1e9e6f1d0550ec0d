// Reads images and labels in the idx format (big-endian: magic 2051 for images, 2049 for labels,
// then the dimensions, then bytes), gzip'd or plain, and the usual folder of four such files.
//
// Threading: free functions without state.
// Ownership: the result owns its bytes; files are closed before the return.
// Failure: NOT_FOUND when a file cannot be opened; INVALID_ARGUMENT for a wrong magic number, a
// dimension beyond the bounds, or images and labels that differ in number; DATA_LOSS for a file
// that ends early, goes on after its last row, or fails its gzip checksum. Each names the file,
// what was expected and what was found. Bounds: at most 1 GiB of pixels a file, images at most 4096
// pixels a side.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "client/datasets/row_set.h"

namespace engram::datasets {

// The images of one file, labels empty.
absl::StatusOr<RowSet> ReadIdxImages(const std::string& path);

absl::StatusOr<std::vector<uint8_t>> ReadIdxLabels(const std::string& path);

// Both files of one set. Labels above 9 are refused: a digit is what the scenarios expect.
absl::StatusOr<RowSet> ReadIdxSet(const std::string& images_path, const std::string& labels_path);

// train-images-idx3-ubyte, train-labels-idx1-ubyte and their t10k counterparts, each with or
// without ".gz".
absl::StatusOr<RowSplit> LoadDigitFolder(const std::string& folder);

}  // namespace engram::datasets
