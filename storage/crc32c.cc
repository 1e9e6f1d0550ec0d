#include "storage/crc32c.h"

#include <array>
#include <cstring>

#if defined(__x86_64__)
#include <nmmintrin.h>
#endif

namespace engram::storage {
namespace {

constexpr uint32_t kReversedPolynomial = 0x82f63b78;

std::array<uint32_t, 256> MakeTable() {
  std::array<uint32_t, 256> table{};
  for (uint32_t byte = 0; byte < 256; ++byte) {
    uint32_t crc = byte;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) != 0 ? kReversedPolynomial : 0);
    table[byte] = crc;
  }
  return table;
}

#if defined(__x86_64__)
// One checksum instruction has a latency of three cycles: 8 bytes in 3 cycles is above the speed of
// the copy that follows, so nothing is interleaved here.
__attribute__((target("sse4.2"))) uint32_t ExtendWithInstruction(uint32_t crc,
                                                                 absl::string_view bytes) {
  uint64_t state = ~crc;
  const char* next = bytes.data();
  size_t left = bytes.size();
  for (; left >= sizeof(uint64_t); left -= sizeof(uint64_t), next += sizeof(uint64_t)) {
    uint64_t word;
    std::memcpy(&word, next, sizeof(word));
    state = _mm_crc32_u64(state, word);
  }
  for (; left > 0; --left, ++next) {
    state = _mm_crc32_u8(static_cast<uint32_t>(state), static_cast<uint8_t>(*next));
  }
  return ~static_cast<uint32_t>(state);
}
#endif

}  // namespace

uint32_t ExtendCrc32cPortable(uint32_t crc, absl::string_view bytes) {
  static const std::array<uint32_t, 256> table = MakeTable();
  uint32_t state = ~crc;
  for (const char byte : bytes) {
    state = table[(state ^ static_cast<uint8_t>(byte)) & 0xff] ^ (state >> 8);
  }
  return ~state;
}

uint32_t ExtendCrc32c(uint32_t crc, absl::string_view bytes) {
#if defined(__x86_64__)
  static const bool has_instruction = __builtin_cpu_supports("sse4.2");
  if (has_instruction) return ExtendWithInstruction(crc, bytes);
#endif
  return ExtendCrc32cPortable(crc, bytes);
}

}  // namespace engram::storage
