#include "strategies/memory/priority_key.h"

namespace engram::strategies {
namespace {

uint64_t RotateLeft(uint64_t x, int bits) { return (x << bits) | (x >> (64 - bits)); }

struct SipState {
  uint64_t v0, v1, v2, v3;

  void Round() {
    v0 += v1;
    v1 = RotateLeft(v1, 13) ^ v0;
    v0 = RotateLeft(v0, 32);
    v2 += v3;
    v3 = RotateLeft(v3, 16) ^ v2;
    v0 += v3;
    v3 = RotateLeft(v3, 21) ^ v0;
    v2 += v1;
    v1 = RotateLeft(v1, 17) ^ v2;
    v2 = RotateLeft(v2, 32);
  }

  void Absorb(uint64_t word) {
    v3 ^= word;
    Round();
    Round();
    v0 ^= word;
  }
};

uint64_t LittleEndian(absl::Span<const uint8_t> bytes) {
  uint64_t word = 0;
  for (size_t i = 0; i < bytes.size(); ++i) word |= uint64_t{bytes[i]} << (8 * i);
  return word;
}

}  // namespace

uint64_t SipHash24(uint64_t k0, uint64_t k1, absl::Span<const uint8_t> message) {
  SipState state{k0 ^ 0x736f6d6570736575ull, k1 ^ 0x646f72616e646f6dull, k0 ^ 0x6c7967656e657261ull,
                 k1 ^ 0x7465646279746573ull};
  const size_t whole = message.size() / 8;
  for (size_t i = 0; i < whole; ++i) state.Absorb(LittleEndian(message.subspan(8 * i, 8)));
  // The last word carries the message length in its top byte.
  state.Absorb(uint64_t{message.size()} << 56 | LittleEndian(message.subspan(8 * whole)));
  state.v2 ^= 0xff;
  for (int i = 0; i < 4; ++i) state.Round();
  return state.v0 ^ state.v1 ^ state.v2 ^ state.v3;
}

uint64_t SipHash24(uint64_t k0, uint64_t k1, uint64_t message) {
  uint8_t bytes[8];
  for (int i = 0; i < 8; ++i) bytes[i] = static_cast<uint8_t>(message >> (8 * i));
  return SipHash24(k0, k1, bytes);
}

uint64_t PriorityKey(uint64_t seed, uint32_t memory, uint64_t sequence) {
  return SipHash24(seed, memory, sequence);
}

uint64_t ContentKey(uint64_t seed, uint32_t memory, int32_t class_index, int32_t task,
                    absl::Span<const uint8_t> features) {
  const uint64_t label =
      uint64_t{static_cast<uint32_t>(class_index)} << 32 | static_cast<uint32_t>(task);
  return SipHash24(PriorityKey(seed, memory, label), memory, features);
}

}  // namespace engram::strategies
