// Draws that depend on nothing but the model's seed and a log sequence: which examples are held
// out, which held-out rows are kept. A replayed log draws the same.
#pragma once

#include <cstdint>

namespace engram::server {

// The finalizer of SplitMix64 (Steele, Lea, Flood 2014): every input bit reaches every output bit.
inline uint64_t MixBits(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

// `purpose` keeps two uses of one sequence independent.
inline uint64_t SequenceHash(uint64_t seed, uint64_t purpose, uint64_t sequence) {
  return MixBits(MixBits(seed + MixBits(purpose)) ^ sequence);
}

inline bool DrawHeldOut(uint64_t seed, uint64_t sequence, double fraction) {
  const double unit = static_cast<double>(SequenceHash(seed, 1, sequence) >> 11) * 0x1.0p-53;
  return unit < fraction;
}

inline uint64_t HeldOutPriority(uint64_t seed, uint64_t sequence) {
  return SequenceHash(seed, 2, sequence);
}

}  // namespace engram::server
