// A file of labelled rows that can be read again from its beginning and gives the same rows: what
// `engram learn --csv|--jsonl|--idx` streams, and where it goes on from after a break.
//
// Text files and idx files may be gzip'd. A file is read twice: once to count its rows, to see that
// each can be read and to tell the file from any other (its fingerprint), once to send it.
//
// Threading: one thread. Ownership: owns the open files.
// Failure: NOT_FOUND when a file cannot be opened; INVALID_ARGUMENT naming file and line, or byte
//   count, for what cannot be read; DATA_LOSS for a cut or damaged gzip file.
// Bounds: text: one line in memory; idx: the whole set, at most 1 GiB.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "client/row_reader.h"
#include "engram/v1/example.pb.h"

namespace engram::client {

class RowFile {
 public:
  virtual ~RowFile() = default;

  // As a person would name it.
  virtual const std::string& name() const = 0;
  virtual int64_t rows() const = 0;
  // Equal for equal content read with equal options.
  virtual const std::string& fingerprint() const = 0;

  // False after the last row. Replaces what `example` held.
  virtual absl::StatusOr<bool> Next(engram::v1::Example* example) = 0;
};

// CSV or JSON lines, by `options.format`.
absl::StatusOr<std::unique_ptr<RowFile>> OpenTextFile(const std::string& path,
                                                      const RowReaderOptions& options);

// Images and their labels (0 to 255); a pixel's feature is its byte / 255.
absl::StatusOr<std::unique_ptr<RowFile>> OpenIdxFiles(const std::string& images_path,
                                                      const std::string& labels_path);

}  // namespace engram::client
