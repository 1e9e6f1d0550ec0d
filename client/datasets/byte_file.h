// A file read from its beginning to its end, gzip'd or plain; zlib tells them apart and checks.
//
// Threading: one thread. Ownership: owns the open file; movable.
// Failure: NOT_FOUND when it cannot be opened; DATA_LOSS when it ends early, goes on too long or
//   fails its gzip checksum. Each names the file, what was expected and what was found.
// Bounds: one read buffer of zlib's.
#pragma once

#include <zlib.h>

#include <cstdint>
#include <initializer_list>
#include <string>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace engram::datasets {

class ByteFile {
 public:
  static absl::StatusOr<ByteFile> Open(const std::string& path);
  ByteFile(ByteFile&& other) noexcept;
  ByteFile& operator=(ByteFile&&) = delete;
  ~ByteFile();

  const std::string& path() const { return path_; }

  // Exactly `bytes`; `what` they are goes into the message.
  absl::Status Read(absl::string_view what, uint8_t* out, int64_t bytes);

  // At most `bytes`; 0 at the end, whose gzip checksum is then checked.
  absl::StatusOr<int64_t> ReadSome(uint8_t* out, int64_t bytes);

  // Nothing may follow.
  absl::Status ExpectEnd();

 private:
  ByteFile(std::string path, gzFile file);
  absl::Status Damaged() const;

  std::string path_;
  gzFile file_;
};

// All of a file, at most `bytes_max` (else INVALID_ARGUMENT).
absl::StatusOr<std::string> ReadWhole(const std::string& path, int64_t bytes_max);

// `path` itself when it is a file; else the first of `names` that the folder `path` holds, as it is
// or with ".gz". NOT_FOUND lists what was looked for.
absl::StatusOr<std::string> FindFile(const std::string& path,
                                     std::initializer_list<absl::string_view> names);

}  // namespace engram::datasets
