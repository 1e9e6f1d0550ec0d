// A file of lines that only grows, put aside when it is large: STEM.jsonl, then STEM.1.jsonl (the
// newest of the old) up to STEM.N.jsonl, which goes.
//
// Threading: one thread at a time.
// Failure: UNAVAILABLE or RESOURCE_EXHAUSTED; lines that failed are there in part or not at all,
//   and later ones begin on a line of their own.
// Bounds: `files` files of about `file_bytes`.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace engram::server {

struct RotatingFileOptions {
  std::string folder;  // exists
  std::string stem;
  int64_t file_bytes = 4 << 20;
  int files = 8;
};

class RotatingFile {
 public:
  static absl::StatusOr<std::unique_ptr<RotatingFile>> Open(RotatingFileOptions options);
  ~RotatingFile();
  RotatingFile(const RotatingFile&) = delete;
  RotatingFile& operator=(const RotatingFile&) = delete;

  // Lines, each with its end; on the disk on return.
  absl::Status Append(absl::string_view lines);
  // Whole lines without their ends, the newest first, until `take` says that it has enough. A file
  // that cannot be read is passed over.
  void ReadBack(const std::function<bool(absl::string_view line)>& take) const;

 private:
  explicit RotatingFile(RotatingFileOptions options) : options_(std::move(options)) {}

  std::string Name(int age) const;
  std::string Path(int age) const;
  absl::Status OpenCurrent();
  absl::Status Rotate();

  const RotatingFileOptions options_;
  int file_ = -1;
  int64_t bytes_ = 0;
  bool line_open_ = false;  // the last line has no end: a crash, or a write that failed
};

}  // namespace engram::server
