// A number for a set of bytes: FNV-1a, 64 bits. Fast enough for a set of images, and the same on
// any machine. It tells sets apart that differ by accident, not those that somebody made to agree.
//
// Threading: one thread. Ownership: a plain value. Failure: none. Bounds: 8 bytes.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/str_format.h"
#include "absl/strings/string_view.h"

namespace engram::datasets {

class Fingerprint {
 public:
  void Add(absl::string_view bytes) {
    for (const char byte : bytes) {
      hash_ = (hash_ ^ static_cast<unsigned char>(byte)) * 0x100000001b3;
    }
  }
  // The bytes of a flat array.
  template <typename Array>
  void AddAll(const Array& values) {
    Add({reinterpret_cast<const char*>(values.data()), values.size() * sizeof(values[0])});
  }
  // 16 digits.
  std::string Hex() const { return absl::StrFormat("%016x", hash_); }

 private:
  uint64_t hash_ = 0xcbf29ce484222325;
};

}  // namespace engram::datasets
