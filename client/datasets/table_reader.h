// Reads tables of numbers with a class in the last column, in the order of the file: CSV with a
// header, and ARFF (numeric and nominal attributes).
//
// CSV: the class is a whole number, 0 to 255. ARFF: the class is nominal, its label the position of
// its name; a nominal feature becomes a column a value, 0 or 1, and one of two values a single
// column.
//
// Threading: free functions without state.
// Ownership: the result owns its rows; files are closed before the return.
// Failure: NOT_FOUND when a file cannot be opened; INVALID_ARGUMENT naming file and line for a row
//   of another width, what is no finite number, a value or class that was not declared, a missing
//   value, no row at all; DATA_LOSS when the gzip checksum fails.
// Bounds: files of 256 MiB, 256 classes.
#pragma once

#include <string>

#include "absl/status/statusor.h"
#include "client/datasets/row_set.h"

namespace engram::datasets {

absl::StatusOr<RowSet> ReadCsvTable(const std::string& path);
absl::StatusOr<RowSet> ReadArffTable(const std::string& path);

// By the ending of the name: ".arff" or anything else, before ".gz".
absl::StatusOr<RowSet> ReadTable(const std::string& path);

}  // namespace engram::datasets
