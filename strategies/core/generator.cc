#include "strategies/core/generator.h"

#include <cmath>

namespace engram::strategies {
namespace {

constexpr uint64_t kGolden = 0x9e3779b97f4a7c15u;

uint64_t RotateLeft(uint64_t value, int bits) { return (value << bits) | (value >> (64 - bits)); }

}  // namespace

uint64_t MixBits(uint64_t value) {
  value = (value ^ (value >> 30)) * 0xbf58476d1ce4e5b9u;
  value = (value ^ (value >> 27)) * 0x94d049bb133111ebu;
  return value ^ (value >> 31);
}

Generator::Generator(uint64_t seed) {
  for (uint64_t& word : state_) word = MixBits(seed += kGolden);
}

uint64_t Generator::Next() {
  const uint64_t result = RotateLeft(state_[1] * 5, 7) * 9;
  const uint64_t shifted = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= shifted;
  state_[3] = RotateLeft(state_[3], 45);
  return result;
}

uint64_t Generator::Below(uint64_t limit) {
  // Values below 2^64 mod limit would make the low residues likelier.
  const uint64_t excess = (0 - limit) % limit;
  uint64_t value = Next();
  while (value < excess) value = Next();
  return value % limit;
}

float Generator::Uniform() { return static_cast<float>(Next() >> 40) * 0x1.0p-24f; }

void Generator::FillNormal(float* values, int64_t count) {
  constexpr float kTurn = 6.2831853f;
  for (int64_t i = 0; i < count; i += 2) {
    const float radius = std::sqrt(-2 * std::log(1 - Uniform()));
    const float angle = kTurn * Uniform();
    values[i] = radius * std::cos(angle);
    if (i + 1 < count) values[i + 1] = radius * std::sin(angle);
  }
}

}  // namespace engram::strategies
