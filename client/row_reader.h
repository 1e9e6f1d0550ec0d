// Reads examples from lines of text: CSV, or one JSON object a line.
//
// CSV: numbers separated by commas, the label in the first column, or in the one that the header
// names; a cell may stand in quotes, without a comma between them. A byte order mark at the
// beginning is passed over. JSONL: {"features": [...], "label": 3 or "cat"} and optionally task,
// weight, id, subject_id, event_time_ms, split ("TRAIN" or "HELD_OUT"). A label that reads as a
// whole number is a number, anything else is text.
//
// Threading: one thread.
// Ownership: borrows the stream.
// Failure: INVALID_ARGUMENT naming file, line and column; the reader is then of no further use.
// Bounds: one line in memory.
#pragma once

#include <cstdint>
#include <istream>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "engram/v1/example.pb.h"

namespace engram::client {

struct RowReaderOptions {
  enum class Format {
    // JSONL when the first line opens with '{', CSV otherwise.
    kGuess,
    kCsv,
    kJsonLines,
  };
  Format format = Format::kGuess;
  // CSV: the label's column by its name in the header line. Empty: the first column, and no header.
  std::string label_column;
  // CSV: the first line is a header even without label_column.
  bool header = false;
  // Rows hold features only (predict); a JSON label is ignored.
  bool unlabelled = false;
  // Every feature is divided by this, e.g. 255 for bytes.
  double divide_by = 1.0;
  // Of the file, before the line in messages; empty: none.
  std::string name;
};

class RowReader {
 public:
  RowReader(RowReaderOptions options, std::istream* in);

  // False at the end of the input. Replaces what `example` held.
  absl::StatusOr<bool> Next(engram::v1::Example* example);

 private:
  absl::Status Start(const std::string& line);
  absl::Status ReadHeader(const std::string& line);
  absl::Status ReadCsv(const std::string& line, engram::v1::Example* example);
  absl::Status ReadJson(const std::string& line, engram::v1::Example* example);
  absl::Status At(absl::string_view message) const;
  void SetFeatures(engram::v1::Example* example);

  const RowReaderOptions options_;
  std::istream* const in_;
  bool json_ = false;
  bool started_ = false;
  int64_t line_number_ = 0;
  int label_index_ = 0;
  std::vector<float> values_;
};

}  // namespace engram::client
