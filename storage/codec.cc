#include "storage/codec.h"

#include "storage/base/check.h"
#include "storage/crc32c.h"

namespace engram::storage {
namespace {

constexpr size_t kSealSize = sizeof(uint32_t);
constexpr int kVarintBytesMax = 10;

template <typename Number>
void AppendBig(std::string* out, Number value) {
  for (int shift = 8 * (static_cast<int>(sizeof(Number)) - 1); shift >= 0; shift -= 8) {
    out->push_back(static_cast<char>(value >> shift));
  }
}

template <typename Number>
Number ReadBig(const char* bytes) {
  Number value = 0;
  for (size_t i = 0; i < sizeof(Number); ++i) {
    value = static_cast<Number>((value << 8) | static_cast<uint8_t>(bytes[i]));
  }
  return value;
}

template <typename Number>
void StoreLittle(char* to, Number value) {
  for (size_t i = 0; i < sizeof(Number); ++i) to[i] = static_cast<char>(value >> (8 * i));
}

template <typename Number>
Number LoadLittle(const char* from) {
  Number value = 0;
  for (size_t i = 0; i < sizeof(Number); ++i) {
    value |= static_cast<Number>(static_cast<uint8_t>(from[i])) << (8 * i);
  }
  return value;
}

}  // namespace

void AppendBig16(std::string* out, uint16_t value) { AppendBig(out, value); }
void AppendBig32(std::string* out, uint32_t value) { AppendBig(out, value); }
void AppendBig64(std::string* out, uint64_t value) { AppendBig(out, value); }
uint32_t ReadBig32(const char* bytes) { return ReadBig<uint32_t>(bytes); }
uint64_t ReadBig64(const char* bytes) { return ReadBig<uint64_t>(bytes); }
void StoreLittle32(char* to, uint32_t value) { StoreLittle(to, value); }
void StoreLittle64(char* to, uint64_t value) { StoreLittle(to, value); }
uint32_t LoadLittle32(const char* from) { return LoadLittle<uint32_t>(from); }
uint64_t LoadLittle64(const char* from) { return LoadLittle<uint64_t>(from); }

// A NUL in the text becomes NUL 0xff; NUL 0x01 ends it.
void AppendOrderedText(std::string* out, absl::string_view text) {
  for (const char c : text) {
    out->push_back(c);
    if (c == '\0') out->push_back('\xff');
  }
  out->push_back('\0');
  out->push_back('\x01');
}

absl::optional<std::string> TakeOrderedText(absl::string_view* key) {
  std::string text;
  for (size_t i = 0; i + 1 < key->size(); ++i) {
    if ((*key)[i] != '\0') {
      text.push_back((*key)[i]);
      continue;
    }
    ++i;
    if ((*key)[i] == '\x01') {
      key->remove_prefix(i + 1);
      return text;
    }
    if ((*key)[i] != '\xff') return absl::nullopt;
    text.push_back('\0');
  }
  return absl::nullopt;
}

std::string PrefixEnd(std::string prefix) {
  while (!prefix.empty() && prefix.back() == '\xff') prefix.pop_back();
  ENGRAM_CHECK(!prefix.empty());
  prefix.back() = static_cast<char>(static_cast<uint8_t>(prefix.back()) + 1);
  return prefix;
}

void ByteWriter::Fixed64(uint64_t value) {
  char bytes[sizeof(value)];
  StoreLittle64(bytes, value);
  bytes_.append(bytes, sizeof(bytes));
}

void ByteWriter::Varint(uint64_t value) {
  for (; value >= 0x80; value >>= 7) bytes_.push_back(static_cast<char>(value | 0x80));
  bytes_.push_back(static_cast<char>(value));
}

void ByteWriter::SignedVarint(int64_t value) {
  Varint((static_cast<uint64_t>(value) << 1) ^ static_cast<uint64_t>(value >> 63));
}

void ByteWriter::Text(absl::string_view text) {
  Varint(text.size());
  bytes_.append(text.data(), text.size());
}

void ByteReader::Fail() {
  ok_ = false;
  rest_ = {};
}

uint64_t ByteReader::Fixed64() {
  if (rest_.size() < sizeof(uint64_t)) {
    Fail();
    return 0;
  }
  const uint64_t value = LoadLittle64(rest_.data());
  rest_.remove_prefix(sizeof(uint64_t));
  return value;
}

uint64_t ByteReader::Varint() {
  uint64_t value = 0;
  for (int i = 0; i < kVarintBytesMax && !rest_.empty(); ++i) {
    const auto byte = static_cast<uint8_t>(rest_.front());
    rest_.remove_prefix(1);
    value |= static_cast<uint64_t>(byte & 0x7f) << (7 * i);
    if (byte < 0x80) return value;
  }
  Fail();
  return 0;
}

int64_t ByteReader::SignedVarint() {
  const uint64_t value = Varint();
  return static_cast<int64_t>((value >> 1) ^ (~(value & 1) + 1));
}

std::string ByteReader::Text() {
  const uint64_t size = Varint();
  if (size > rest_.size()) {
    Fail();
    return "";
  }
  std::string text(rest_.substr(0, size));
  rest_.remove_prefix(size);
  return text;
}

std::string Seal(absl::string_view key, std::string body) {
  const uint32_t crc = ExtendCrc32c(Crc32c(key), body);
  char bytes[kSealSize];
  StoreLittle32(bytes, crc);
  body.append(bytes, sizeof(bytes));
  return body;
}

absl::optional<absl::string_view> Unseal(absl::string_view key, absl::string_view sealed) {
  if (sealed.size() < kSealSize) return absl::nullopt;
  const absl::string_view body = sealed.substr(0, sealed.size() - kSealSize);
  const uint32_t expected = LoadLittle32(sealed.data() + body.size());
  if (ExtendCrc32c(Crc32c(key), body) != expected) return absl::nullopt;
  return body;
}

}  // namespace engram::storage
