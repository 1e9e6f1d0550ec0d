#include "client/datasets/hashed_text.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstdint>

#include "absl/strings/ascii.h"

namespace engram::datasets {
namespace {

// FNV-1a: the same on any machine, unlike absl::Hash.
constexpr uint64_t kFnvBasis = 0xcbf29ce484222325;
constexpr uint64_t kFnvPrime = 0x100000001b3;

uint64_t Absorb(uint64_t hash, char c) {
  return (hash ^ static_cast<unsigned char>(c)) * kFnvPrime;
}

// FNV's high bits are weak on short words, and both the place and the sign are taken from there.
uint64_t Finish(uint64_t hash) {
  hash = (hash ^ (hash >> 30)) * 0xbf58476d1ce4e5b9;
  hash = (hash ^ (hash >> 27)) * 0x94d049bb133111eb;
  return hash ^ (hash >> 31);
}

bool IsWordCharacter(char c) {
  return absl::ascii_isalnum(static_cast<unsigned char>(c)) || c == '\'' ||
         static_cast<unsigned char>(c) >= 0x80;
}

// Takes one word off the front of `text`; its hash, or 0 at the end.
uint64_t NextWord(absl::string_view* text) {
  while (!text->empty() && !IsWordCharacter(text->front())) {
    const size_t tag_end = text->front() == '<' ? text->find('>') : absl::string_view::npos;
    text->remove_prefix(tag_end == absl::string_view::npos ? 1 : tag_end + 1);
  }
  if (text->empty()) return 0;
  uint64_t hash = kFnvBasis;
  while (!text->empty() && IsWordCharacter(text->front())) {
    hash = Absorb(hash, absl::ascii_tolower(static_cast<unsigned char>(text->front())));
    text->remove_prefix(1);
  }
  return hash;
}

void Count(uint64_t hash, absl::Span<float> out) {
  hash = Finish(hash);
  out[(hash >> 1) % out.size()] += (hash & 1) != 0 ? 1.0f : -1.0f;
}

void ScaleToLengthOne(absl::Span<float> out) {
  double squares = 0;
  for (const float value : out) squares += static_cast<double>(value) * value;
  if (squares == 0) return;
  const auto scale = static_cast<float>(1.0 / std::sqrt(squares));
  for (float& value : out) value *= scale;
}

}  // namespace

void HashText(absl::string_view text, absl::Span<float> out) {
  std::fill(out.begin(), out.end(), 0.0f);
  uint64_t previous = 0;
  for (uint64_t word = NextWord(&text); word != 0; word = NextWord(&text)) {
    Count(word, out);
    if (previous != 0) Count(previous * kFnvPrime ^ word, out);
    previous = word;
  }
  ScaleToLengthOne(out);
}

}  // namespace engram::datasets
