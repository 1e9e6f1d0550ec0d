// Bytes of keys and values. Keys: big-endian numbers, so that they sort by value. Values: varints,
// fixed little-endian numbers and length-prefixed strings, sealed with a CRC-32C.
//
// Failure: ByteReader never reads beyond its bytes; after a short or malformed read ok() is false
//   and every value read is zero or empty.
#pragma once

#include <cstdint>
#include <string>

#include "absl/strings/string_view.h"
#include "absl/types/optional.h"

namespace engram::storage {

void AppendBig16(std::string* out, uint16_t value);
void AppendBig32(std::string* out, uint32_t value);
void AppendBig64(std::string* out, uint64_t value);
// Sorts as the bytes do and ends itself: no encoded text is a prefix of another.
void AppendOrderedText(std::string* out, absl::string_view text);

uint32_t ReadBig32(const char* bytes);
uint64_t ReadBig64(const char* bytes);
// Takes an ordered text off the front of `key`; nullopt when malformed.
absl::optional<std::string> TakeOrderedText(absl::string_view* key);

void StoreLittle32(char* to, uint32_t value);
void StoreLittle64(char* to, uint64_t value);
uint32_t LoadLittle32(const char* from);
uint64_t LoadLittle64(const char* from);

// The smallest string above every string that begins with `prefix`. The prefix must hold a byte
// other than 0xff.
std::string PrefixEnd(std::string prefix);

class ByteWriter {
 public:
  void Fixed64(uint64_t value);
  void Varint(uint64_t value);
  void SignedVarint(int64_t value);  // zigzag: small magnitudes are short
  void Text(absl::string_view text);
  const std::string& bytes() const { return bytes_; }
  std::string Take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

class ByteReader {
 public:
  explicit ByteReader(absl::string_view bytes) : rest_(bytes) {}

  uint64_t Fixed64();
  uint64_t Varint();
  int64_t SignedVarint();
  std::string Text();

  bool ok() const { return ok_; }
  bool AtEnd() const { return rest_.empty(); }
  size_t Remaining() const { return rest_.size(); }

 private:
  void Fail();

  absl::string_view rest_;
  bool ok_ = true;
};

// `body` followed by its checksum, which also covers the key: a value that turns up under another
// key does not pass.
std::string Seal(absl::string_view key, std::string body);
// The body, or nullopt when the checksum does not match.
absl::optional<absl::string_view> Unseal(absl::string_view key, absl::string_view sealed);

}  // namespace engram::storage
