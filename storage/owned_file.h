// A file descriptor that closes itself, and the loop that reads what it opens. Private to this
// room.
#pragma once

#include <unistd.h>

#include <cstdint>
#include <string>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace engram::storage {

class OwnedFile {
 public:
  explicit OwnedFile(int file) : file_(file) {}
  ~OwnedFile() {
    if (file_ >= 0) ::close(file_);
  }
  OwnedFile(const OwnedFile&) = delete;
  OwnedFile& operator=(const OwnedFile&) = delete;
  int get() const { return file_; }
  bool ok() const { return file_ >= 0; }

 private:
  const int file_;
};

// Hands out the bytes [begin, end) of a file in pieces, or those up to where it ends. UNAVAILABLE
// "cannot read WHAT" for an I/O error.
absl::Status ReadPieces(int file, uint64_t begin, uint64_t end, absl::string_view what,
                        absl::FunctionRef<void(absl::string_view piece)> take);
// The whole of it.
absl::StatusOr<std::string> ReadWhole(int file, absl::string_view what);

}  // namespace engram::storage
