// A file descriptor that closes itself. Private to this room.
#pragma once

#include <unistd.h>

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

}  // namespace engram::storage
