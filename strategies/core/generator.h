// The one source of randomness of a learner: xoshiro256** (Blackman & Vigna 2018), seeded by
// splitmix64. Held as a member and saved with the learner, so that equal calls give equal bits on
// every standard library.
//
// Threading: none. Failure: none.
#pragma once

#include <array>
#include <cstdint>

namespace engram::strategies {

// A well-mixed 64-bit hash of one value (splitmix64's finaliser).
uint64_t MixBits(uint64_t value);

class Generator {
 public:
  using State = std::array<uint64_t, 4>;

  explicit Generator(uint64_t seed);

  uint64_t Next();
  // Uniform in [0, limit), without modulo bias. limit > 0.
  uint64_t Below(uint64_t limit);
  // Uniform in [0, 1), 24 bits.
  float Uniform();
  // Independent standard normal values (Box & Muller 1958), two draws a pair.
  void FillNormal(float* values, int64_t count);

  const State& state() const { return state_; }
  void set_state(const State& state) { state_ = state; }

 private:
  State state_;
};

}  // namespace engram::strategies
